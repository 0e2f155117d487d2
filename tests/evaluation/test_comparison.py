from pathlib import Path

import pytest

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.comparison import Comparison, Contrast, contrast
from tests.evaluation.examples import measured

PAIRS = [QAPair(f"问{n}", "答" * (n % 3 + 1), answers=("答",)) for n in range(60)]
RIGHT = [pair.answer for pair in PAIRS]
HALF = [text if n % 2 else "错" for n, text in enumerate(RIGHT)]
COSTS = [1 + n % 5 / 5 for n in range(60)]


def between(name: str, mine: list[str], theirs: list[str], *, easier: float = 0.0) -> Contrast:
    this = measured(PAIRS, mine, nats=COSTS)
    other = measured(PAIRS, theirs, nats=[cost - easier for cost in COSTS])
    return contrast(name, this.tally, other.tally, seed=1)


@pytest.mark.parametrize("name", ["accuracy", "exact_match", "character_f1"])
def test_more_right_answers_are_better(name: str) -> None:
    better, worse = between(name, RIGHT, HALF), between(name, HALF, RIGHT)
    assert (better.better, worse.better) == ("this", "other")
    assert better.difference == pytest.approx(better.value - better.other)
    assert worse.difference == -better.difference
    assert better.interval.low <= better.difference <= better.interval.high


@pytest.mark.parametrize("name", ["loss_answer", "bits_per_character_answer"])
def test_less_surprise_is_better(name: str) -> None:
    found = between(name, HALF, HALF, easier=0.2)
    assert found.better == "other"
    assert found.difference == pytest.approx(found.value - found.other)


def test_the_same_answers_are_equal() -> None:
    for name in ("exact_match", "loss_answer"):
        found = between(name, HALF, HALF)
        assert (found.better, found.difference, found.verdict) == ("", 0, "equal")


def test_what_is_equal_is_not_called_chance() -> None:
    contrasts = (between("exact_match", HALF, HALF), between("character_f1", RIGHT, HALF))
    sentences = Comparison(Path("other"), len(PAIRS), contrasts, "").sentences
    assert sentences == (
        "This model is better in character f1.",
        "In exact match they are equal, pair by pair.",
    )


def test_a_single_pair_more_may_be_chance() -> None:
    one_more = ["答", *HALF[1:]]
    assert between("exact_match", one_more, HALF).better == ""


def test_few_pairs_prove_nothing() -> None:
    pairs, right = PAIRS[:9], RIGHT[:9]
    this, other = measured(pairs, right), measured(pairs, ["错"] * 9)
    assert contrast("exact_match", this.tally, other.tally, seed=1).better == ""
