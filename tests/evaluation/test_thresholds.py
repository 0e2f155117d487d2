import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import SettingsError, ThresholdError
from minigpt.evaluation.thresholds import check_thresholds, parse_thresholds

HIGHER = ("exact_match", "character_f1", "accuracy", "token_accuracy_all", "ended_by_itself")
LOWER = ("loss_all", "loss_answer", "perplexity_answer", "bits_per_character_all", "unknown_share")
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
    "text", ["", "=", "exact_match", "exact_match=", "=0.5", "a=b", "a=1=2", "a>0.5", "a=nan"]
)
def test_anything_else_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="not of the form METRIC=X") as caught:
        parse_thresholds(["exact_match=0.5", text])
    assert repr(text) in caught.value.message


def test_the_last_threshold_of_a_metric_holds() -> None:
    assert parse_thresholds(["accuracy=0.5", "accuracy=0.7"]) == {"accuracy": 0.7}


@pytest.mark.parametrize("name", HIGHER)
@given(found=numbers, wanted=numbers)
def test_a_score_must_be_at_least_its_threshold(name: str, found: float, wanted: float) -> None:
    assert reaches(name, found, wanted) == (found >= wanted)


@pytest.mark.parametrize("name", [*LOWER, "empty"])
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
    assert caught.value.message == "accuracy is 0.25, not 0.5; loss_all is 3, not 2"


def test_a_metric_that_was_not_measured_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="f1: was not measured") as caught:
        check_thresholds({"character_f1": 1.0}, {"f1": 0.5})
    assert "character_f1" in caught.value.hint


def test_no_thresholds_are_always_reached() -> None:
    check_thresholds({}, parse_thresholds([]))
