import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import SettingsError, ThresholdError
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.thresholds import check_measurable, check_thresholds, parse_thresholds

HIGHER = (
    "exact_match",
    "character_f1",
    "accuracy",
    "token_accuracy_all",
    "ended_by_itself",
    "chrf",
)
LOWER = (
    *("loss_all", "loss_answer", "perplexity_answer", "bits_per_byte_all", "unknown_share"),
    *("empty", "loops", "loss_gap"),
)
numbers = st.floats(-100, 100)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("exact_match=0.5", {"exact_match": 0.5}),
        (" loss_all = 2 ", {"loss_all": 2.0}),
        ("loss_all=1e-3", {"loss_all": 0.001}),
        ("loss_all=inf", {"loss_all": math.inf}),
    ],
)
def test_a_threshold_is_a_metric_and_a_number(text: str, threshold: dict[str, float]) -> None:
    assert parse_thresholds([text]) == threshold


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "exact_match",
        "exact_match=",
        "=0.5",
        "empty=b",
        "empty=1=2",
        "empty>0.5",
        "empty=nan",
    ],
)
def test_anything_else_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="not of the form METRIC=X") as caught:
        parse_thresholds(["exact_match=0.5", text])
    assert repr(text) in caught.value.message


@pytest.mark.parametrize("text", ["exact_match=50", "bleu4=1.5", "empty=-1"])
def test_a_share_in_percent_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="a share, from 0 to 1") as caught:
        parse_thresholds([text])
    assert "0.5" in caught.value.hint


def test_the_last_threshold_of_a_metric_holds() -> None:
    assert parse_thresholds(["accuracy=0.5", "accuracy=0.7"]) == {"accuracy": 0.7}


@pytest.mark.parametrize("name", HIGHER)
@given(found=numbers, wanted=numbers)
def test_a_score_must_be_at_least_its_threshold(name: str, found: float, wanted: float) -> None:
    assert reaches(name, found, wanted) == (found >= wanted)


@pytest.mark.parametrize("name", LOWER)
@given(found=numbers, wanted=numbers)
def test_a_loss_must_be_at_most_its_threshold(name: str, found: float, wanted: float) -> None:
    assert reaches(name, found, wanted) == (found <= wanted)


def reaches(name: str, found: float, wanted: float) -> bool:
    try:
        check_thresholds({name: found}, {name: wanted})
    except ThresholdError:
        return False
    return True


@pytest.mark.parametrize("name", ["loss_all", "accuracy"])
def test_what_is_not_a_number_reaches_nothing(name: str) -> None:
    assert not reaches(name, math.nan, 0)


def test_every_metric_that_was_missed_is_named() -> None:
    metrics = {"accuracy": 0.25, "loss_all": 3.0, "exact_match": 1.0}
    thresholds = {"accuracy": 0.5, "loss_all": 2.0, "exact_match": 0.9}
    with pytest.raises(ThresholdError) as caught:
        check_thresholds(metrics, thresholds)
    assert caught.value.exit_code == 8
    assert caught.value.message == (
        "accuracy is 0.25, not at least 0.5; loss_all is 3, not at most 2"
    )


def test_a_name_that_no_metric_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match="exact_macth: no such metric") as caught:
        parse_thresholds(["exact_macth=0.5"])
    assert "exact_match" in caught.value.hint


@pytest.mark.parametrize("name", FIGURES)
def test_every_metric_can_have_a_threshold(name: str) -> None:
    thresholds = parse_thresholds([f"{name}=0.5"])
    check_measurable(thresholds, answers=True, accepted=True, training=True, quantized=True)
    assert reaches(name, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "missing", "hint"),
    [
        ("exact_match", "answers", "--no-generate"),
        ("accuracy", "accepted", "`answers`"),
        ("loss_gap", "training", "--train-data"),
        ("memorised", "training", "--train-data"),
        ("memorised", "answers", "--no-generate"),
    ],
)
def test_what_cannot_be_measured_is_refused_beforehand(name: str, missing: str, hint: str) -> None:
    there = {"answers": True, "accepted": True, "training": True}
    with pytest.raises(SettingsError, match=f"{name}: cannot be measured") as caught:
        check_measurable({name: 0.5}, **there | {missing: False})
    assert hint in caught.value.hint
    check_measurable({"loss_all": 0.5}, answers=False, accepted=False, training=False)


def test_what_could_not_be_computed_is_not_reached() -> None:
    with pytest.raises(ThresholdError, match="distinct_2 is nan"):
        check_thresholds({"loss_all": 1.0}, {"distinct_2": 0.1})


def test_no_thresholds_are_always_reached() -> None:
    check_thresholds({}, parse_thresholds([]))
