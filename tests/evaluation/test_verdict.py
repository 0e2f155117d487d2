import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.bootstrap import Interval
from minigpt.evaluation.verdict import CARRIES, FEWEST_PAIRS, KNOWS, Learnt, judge

GUESS = 6.0
shares = st.floats(-0.5, 0.99)


def learnt(share: float, *, pairs: int = 1000, width: float = 0.0) -> Learnt:
    """A model that has removed so much of the surprise of a guess."""
    loss = GUESS * (1 - share)
    return Learnt(pairs, loss, Interval(loss - width, loss + width), GUESS)


@pytest.mark.parametrize(
    ("on_train", "on_new", "better_epoch", "label"),
    [
        (0.02, 0.02, 0, "under-fitted"),  # has not begun
        (0.05, -0.2, 3, "under-fitted"),
        (0.40, 0.38, 0, "under-fitted"),  # as good on new pairs, and much is left to learn
        (0.90, 0.85, 0, "balanced"),
        (0.70, 0.60, 0, "balanced"),
        (0.90, 0.40, 0, "too little data"),
        (0.39, 0.23, 0, "too little data"),
        (0.95, -0.10, 0, "too little data"),
        (0.90, 0.40, 3, "over-fitted"),
        (0.90, 0.85, 3, "balanced"),  # an earlier epoch was better, but by little
    ],
)
def test_the_rules(on_train: float, on_new: float, better_epoch: int, label: str) -> None:
    verdict = judge(learnt(on_train), learnt(on_new), better_epoch=better_epoch)
    assert verdict.label == label
    assert verdict.sure
    assert verdict.advice


def test_the_reason_says_the_numbers() -> None:
    verdict = judge(learnt(0.39), learnt(0.23))
    assert "39% lower on training pairs" in verdict.reason
    assert "23% lower here" in verdict.reason
    assert "5% higher here" in judge(learnt(0.5), learnt(-0.05)).reason


def test_over_fitting_names_the_epoch_that_was_better() -> None:
    assert "epoch 3" in judge(learnt(0.9), learnt(0.4), better_epoch=3).reason


def test_a_verdict_that_hangs_on_chance_says_so() -> None:
    on_train, on_new = 0.7, 0.7 * CARRIES + 0.02
    assert judge(learnt(on_train), learnt(on_new)).sure
    doubtful = judge(learnt(on_train, width=0.3), learnt(on_new, width=0.3))
    assert doubtful.label == "balanced"
    assert not doubtful.sure


@pytest.mark.parametrize("pairs", [(FEWEST_PAIRS - 1, 1000), (1000, FEWEST_PAIRS - 1)])
def test_few_pairs_tell_nothing(pairs: tuple[int, int]) -> None:
    verdict = judge(learnt(0.9, pairs=pairs[0]), learnt(0.2, pairs=pairs[1]))
    assert (verdict.label, verdict.sure) == ("unclear", False)
    assert judge(learnt(0.9, pairs=FEWEST_PAIRS), learnt(0.2)).label != "unclear"


@given(shares, shares, st.integers(0, 5))
def test_there_is_a_verdict_for_every_pair_of_losses(
    on_train: float, on_new: float, better_epoch: int
) -> None:
    verdict = judge(learnt(on_train), learnt(on_new), better_epoch=better_epoch)
    assert verdict.label != "unclear"
    assert verdict.reason


@given(st.floats(0.1, 0.99))
def test_a_model_that_is_as_good_on_new_pairs_is_never_over_fitted(share: float) -> None:
    label = judge(learnt(share), learnt(share), better_epoch=2).label
    assert label == ("balanced" if 1 - GUESS * (1 - share) / GUESS >= KNOWS else "under-fitted")
