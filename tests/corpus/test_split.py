import random
from collections import Counter

import numpy as np
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
            split_lines(count, train_ratio=ratio, seed=seed)
    else:
        train, val = split_lines(count, train_ratio=ratio, seed=seed)
        assert (train.tolist(), val.tolist()) == (shuffled[:cut], shuffled[cut:])


@pytest.mark.parametrize(("ratio", "part"), [(0.1, "training"), (1.0, "validation")])
def test_empty_part_is_named(ratio: float, part: str) -> None:
    with pytest.raises(DataError, match=f"leave no {part} pair"):
        split_lines(3, train_ratio=ratio, seed=42)


# Hashes that differ in their high bits, in their low bits, or in both.
hashes = st.integers(0, 3).flatmap(lambda high: st.integers(0, 3).map(lambda low: high << 62 | low))


@few_examples
@given(train=st.lists(hashes), val=st.lists(hashes, min_size=1))
def test_leak_free_parts_share_no_question_and_lose_no_line(
    train: list[int], val: list[int]
) -> None:
    questions = np.array([*train, *val], dtype=np.uint64)
    numbers = np.arange(questions.size, dtype=np.uint32)
    given_parts = numbers[: len(train)], numbers[len(train) :]
    stays = [asked not in train for asked in val]
    if not any(stays):
        with pytest.raises(DataError, match="every validation question"):
            make_leak_free(questions, *given_parts)
        return
    new_train, new_val, moved = make_leak_free(questions, *given_parts)
    assert not {*questions[new_train].tolist()} & {*questions[new_val].tolist()}
    assert new_val.tolist() == given_parts[1][stays].tolist()
    assert Counter([*new_train.tolist(), *new_val.tolist()]) == Counter(numbers.tolist())
    assert new_train[: len(train)].tolist() == given_parts[0].tolist()
    assert moved == len(new_train) - len(train)
