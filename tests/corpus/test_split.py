import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.split import make_leak_free, split_lines
from minigpt.errors import DataError
from tests.corpus.examples import few_examples

seeds = st.integers(min_value=0)
ratios = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)


@few_examples
@given(count=st.integers(0, 60), seed=seeds, ratio=ratios)
def test_parts_are_the_tutorials_or_refused(count: int, seed: int, ratio: float) -> None:
    shuffled = list(range(count))
    random.seed(seed)
    random.shuffle(shuffled)
    cut = int(count * ratio)
    if cut in (0, count):
        with pytest.raises(DataError):
            split_lines(range(count), train_ratio=ratio, seed=seed)
    else:
        parts = split_lines(range(count), train_ratio=ratio, seed=seed)
        assert parts == (shuffled[:cut], shuffled[cut:])


def test_given_lines_keep_their_order() -> None:
    lines = list(range(10))
    split_lines(lines, train_ratio=0.5, seed=1)
    assert lines == list(range(10))


@pytest.mark.parametrize(("ratio", "part"), [(0.1, "training"), (1.0, "validation")])
def test_empty_part_is_named(ratio: float, part: str) -> None:
    with pytest.raises(DataError, match=f"leave no {part} pair"):
        split_lines([1, 2, 3], train_ratio=ratio, seed=42)


@few_examples
@given(train=st.lists(st.integers(0, 9)), val=st.lists(st.integers(0, 9)))
def test_leak_free_parts_share_no_key_and_lose_no_line(train: list[int], val: list[int]) -> None:
    def key(line: int) -> int:
        return line // 2

    if {key(line) for line in val} <= {key(line) for line in train}:
        with pytest.raises(DataError):
            make_leak_free(train, val, key)
        return
    new_train, new_val, moved = make_leak_free(train, val, key)
    assert not {key(line) for line in new_train} & {key(line) for line in new_val}
    assert Counter(new_train + new_val) == Counter(train + val)
    assert new_train[: len(train)] == train
    assert moved == len(new_train) - len(train)
