import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus import shuffle
from minigpt.corpus.shuffle import shuffled
from tests.corpus.examples import few_examples


def as_random_shuffles(count: int, seed: int) -> list[int]:
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    return numbers


@few_examples
@given(count=st.integers(0, 3_000), seed=st.integers())
def test_the_order_is_that_of_random(count: int, seed: int) -> None:
    assert shuffled(count, seed).tolist() == as_random_shuffles(count, seed)


@pytest.mark.parametrize("count", [2**bits + extra for bits in (1, 4, 12) for extra in (-1, 0, 1)])
def test_the_order_is_that_of_random_about_powers_of_two(count: int) -> None:
    for seed in range(5):
        assert shuffled(count, seed).tolist() == as_random_shuffles(count, seed)


def test_many_lines_are_shuffled_as_random_does() -> None:
    assert shuffled(200_000, 42).tolist() == as_random_shuffles(200_000, 42)


def test_more_lines_than_a_word_can_count_are_shuffled_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shuffle, "_MOST", 100)
    order = shuffled(101, 7)
    assert order.dtype == np.uint64
    assert order.tolist() == as_random_shuffles(101, 7)
