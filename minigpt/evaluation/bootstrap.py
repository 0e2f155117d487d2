"""How sure a figure is: 95 % intervals from resampled rows.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentiles);
Koehn 2004, "Statistical significance tests for machine translation evaluation" (paired).
The order of the rows does not matter, and the same seed gives the same interval.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_TAIL = 0.025  # of the resamples lie below the interval, and as many above
_CHUNK = 1 << 20  # drawn rows held at a time

Values = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with 95 % confidence; nan where there is nothing to tell from."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedResult:
    """How two sets of values for the same rows differ.

    Attributes:
        difference: Mean of the first less the mean of the second.
        interval: Of the difference.
        wins: Share of the resamples in which the first has the higher mean; equal is half a win.
    """

    difference: float
    interval: Interval
    wins: float


def mean_interval(values: Values, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The interval of the mean.

    Args:
        values: [N] one for each row.
        seed: Of the resampling.
        resamples: Number of times that N rows are drawn.
    """
    return ratio_interval(values, np.ones(len(values)), seed=seed, resamples=resamples)


def ratio_interval(
    numerators: Values, denominators: Values, *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """The interval of a sum over a sum, such as the loss per token; rows are drawn in pairs.

    Args:
        numerators: [N] such as the summed loss of each row.
        denominators: [N] such as its number of tokens.
        seed: Of the resampling.
        resamples: Number of times that N rows are drawn.
    """
    columns = np.column_stack((numerators, denominators)).astype(np.float64)
    return statistic_interval(columns, _ratio, seed=seed, resamples=resamples)


def statistic_interval(
    counts: Values,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """The interval of anything that is computed from summed counts, such as BLEU.

    Args:
        counts: [N, K] what each row adds.
        statistic: From [R, K] sums to [R] figures.
        seed: Of the resampling.
        resamples: Number of times that N rows are drawn.
    """
    return statistic_intervals(counts, {"": statistic}, seed=seed, resamples=resamples)[""]


def statistic_intervals(
    counts: Values,
    statistics: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """The intervals of many figures that are computed from the same resamples.

    Args:
        counts: [N, K] what each row adds.
        statistics: Each from [R, K] sums to [R] figures.
        seed: Of the resampling.
        resamples: Number of times that N rows are drawn.
    """
    if not len(counts):
        return dict.fromkeys(statistics, Interval(math.nan, math.nan))
    sums = _resampled_sums(counts, seed=seed, resamples=resamples)
    return {name: _percentiles(statistic(sums)) for name, statistic in statistics.items()}


def paired_difference(
    first: Values, second: Values, *, seed: int, resamples: int = RESAMPLES
) -> PairedResult:
    """How much higher the mean of the first is than that of the second, row by row.

    Args:
        first: [N] one for each row, higher is better.
        second: [N] for the same rows.
        seed: Of the resampling.
        resamples: Number of times that N rows are drawn.
    """
    if not len(first):
        return PairedResult(math.nan, Interval(math.nan, math.nan), math.nan)
    differences = first.astype(np.float64) - second.astype(np.float64)
    sums = _resampled_sums(differences[:, np.newaxis], seed=seed, resamples=resamples)
    means = sums[:, 0] / len(differences)
    wins = (np.sign(means).mean() + 1) / 2
    return PairedResult(float(np.mean(differences)), _percentiles(means), float(wins))


def _resampled_sums(columns: Values, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """[resamples, K] sums of N rows drawn with replacement from [N, K] columns."""
    rows = len(columns)
    columns = columns[np.lexsort(columns.T)].astype(np.float64)
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, columns.shape[1]))
    step = max(1, _CHUNK // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        sums[start : start + size] = times.astype(np.float64) @ columns
    return sums


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    above, below = sums[:, 0], sums[:, 1]
    ratios = np.full(len(sums), math.nan)
    np.divide(above, below, out=ratios, where=below != 0)
    return ratios


def _percentiles(figures: NDArray[np.float64]) -> Interval:
    figures = figures[~np.isnan(figures)]
    if not figures.size:
        return Interval(math.nan, math.nan)
    low, high = np.quantile(figures, [_TAIL, 1 - _TAIL])
    return Interval(float(low), float(high))
