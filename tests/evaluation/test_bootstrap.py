import math

import numpy as np
import pytest
from numpy.typing import NDArray

from minigpt.evaluation import bootstrap
from minigpt.evaluation.bootstrap import (
    Interval,
    PairedResult,
    mean_interval,
    paired_difference,
    ratio_interval,
    statistic_interval,
)
from minigpt.evaluation.overlap import bleu4, bleu_counts, bleu_of

VALUES = np.random.default_rng(5).random(60)


def covered(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def test_the_mean_is_in_its_interval_about_as_often_as_promised() -> None:
    # The percentile interval of 30 skewed values is a little narrow; so much for the low bound.
    generator = np.random.default_rng(3)
    samples = generator.exponential(2.0, size=(200, 30))
    hits = [covered(mean_interval(row, seed=1, resamples=300), 2.0) for row in samples]
    assert 0.85 < np.mean(hits) < 0.99


def test_the_interval_is_as_wide_as_the_standard_error_says() -> None:
    interval = mean_interval(VALUES, seed=1)
    error = VALUES.std() / math.sqrt(len(VALUES))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert covered(interval, float(VALUES.mean()))


def test_the_seed_decides() -> None:
    assert mean_interval(VALUES, seed=1) == mean_interval(VALUES, seed=1)
    assert mean_interval(VALUES, seed=1) != mean_interval(VALUES, seed=2)


def test_the_order_of_the_rows_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(VALUES))
    weights = np.arange(1, len(VALUES) + 1)
    assert mean_interval(VALUES[order], seed=1) == mean_interval(VALUES, seed=1)
    assert ratio_interval(VALUES[order], weights[order], seed=1) == ratio_interval(
        VALUES, weights, seed=1
    )


def test_the_memory_bound_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mean_interval(VALUES, seed=1)
    monkeypatch.setattr(bootstrap, "_CHUNK", 7 * len(VALUES))
    assert mean_interval(VALUES, seed=1) == whole


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float64])
def test_values_of_any_type_are_averaged(dtype: type[np.generic]) -> None:
    values = np.array([0, 1, 1, 1] * 25).astype(dtype)
    interval = mean_interval(values, seed=0)
    assert 0.6 < interval.low < 0.75 < interval.high < 0.9


def test_a_ratio_draws_its_pairs_together() -> None:
    tokens = np.array([1, 10, 100, 1000])
    interval = ratio_interval(tokens * 3.0, tokens, seed=0)  # each row costs 3 a token
    assert (interval.low, interval.high) == pytest.approx((3, 3))


def test_a_ratio_weighs_long_rows_more() -> None:
    interval = ratio_interval(np.array([0.0, 300.0]), np.array([1, 100]), seed=0)
    assert (interval.low, interval.high) == pytest.approx((0, 3))


def test_a_ratio_over_nothing_is_left_out() -> None:
    interval = ratio_interval(np.array([0.0, 2.0]), np.array([0, 1]), seed=0)
    assert (interval.low, interval.high) == (2, 2)
    nothing = ratio_interval(np.zeros(3), np.zeros(3), seed=0)
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.high)


def test_a_statistic_of_summed_counts_has_an_interval_around_it() -> None:
    answers = ["中国的首都是北京", "北京", "我不知道这个问题", "水在零度结冰"] * 5
    expected = [["中国首都是北京"], ["北京"], ["一九四九年十月一日"], ["水在零度时会结冰"]] * 5
    counts = np.array([bleu_counts(*row) for row in zip(answers, expected, strict=True)])
    interval = statistic_interval(counts, bleu_of, seed=0)
    assert 0 < interval.low < bleu4(answers, expected) < interval.high < 1


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_rows_that_are_alike_leave_no_doubt(rows: int) -> None:
    assert mean_interval(np.full(rows, 0.25), seed=0) == Interval(0.25, 0.25)


def test_no_rows_tell_nothing() -> None:
    nothing: NDArray[np.float64] = np.empty(0)
    result = paired_difference(nothing, nothing, seed=0)
    for interval in (
        mean_interval(nothing, seed=0),
        ratio_interval(nothing, nothing, seed=0),
        statistic_interval(np.empty((0, 10)), bleu_of, seed=0),
        result.interval,
    ):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    assert math.isnan(result.difference)
    assert math.isnan(result.wins)


def test_a_better_first_wins_every_time() -> None:
    result = paired_difference(VALUES + 0.5, VALUES, seed=0)
    assert result.wins == 1
    assert result.difference == pytest.approx(0.5)
    assert (result.interval.low, result.interval.high) == pytest.approx((0.5, 0.5))


def test_the_same_values_win_half_the_time() -> None:
    assert paired_difference(VALUES, VALUES, seed=0) == PairedResult(0.0, Interval(0.0, 0.0), 0.5)


def test_turned_round_a_comparison_says_the_opposite() -> None:
    other = np.random.default_rng(6).random(len(VALUES))
    there = paired_difference(VALUES, other, seed=0)
    back = paired_difference(other, VALUES, seed=1)
    assert there.difference == pytest.approx(-back.difference)
    assert there.wins == pytest.approx(1 - back.wins, abs=0.1)
    assert there.interval.low == pytest.approx(-back.interval.high, abs=0.05)


def test_pairs_tell_apart_what_two_intervals_do_not() -> None:
    better = VALUES + np.random.default_rng(1).normal(0.02, 0.01, len(VALUES))
    assert mean_interval(better, seed=0).low < VALUES.mean()
    assert paired_difference(better, VALUES, seed=0).interval.low > 0
