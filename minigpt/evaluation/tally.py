"""What each pair adds to each figure; the figures are made of the sums.

So one pass over the pairs gives the figures of all of them, of any part of them, and of the
resamples from which the intervals come.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.vocab import UNK_ID
from minigpt.evaluation.bootstrap import Interval, statistic_intervals
from minigpt.evaluation.encoded import Encoded
from minigpt.evaluation.figures import FIGURES, Figure
from minigpt.evaluation.overlap import bleu_counts, bleu_of, chrf_counts, chrf_of
from minigpt.evaluation.rows import Row
from minigpt.evaluation.surprise import PairSums, Surprises

FEWEST_PAIRS = 10  # of which an interval says anything
LARGEST_LOSS = 700.0  # nats; e to a greater power is no float
SCORES = (
    *("exact_match", "character_f1", "cmrc_exact_match", "cmrc_f1", "rouge_l"),
    *("ended_by_itself", "repeated", "loops"),
)

Values = NDArray[np.float64]
Indices = NDArray[np.int64]
Statistic = Callable[[Values], Values]
OF_COUNTS: dict[str, Statistic] = {"chrf": chrf_of, "bleu4": bleu_of}


@dataclass(frozen=True, eq=False)
class Tally:
    """What each of N pairs adds.

    Attributes:
        columns: By name [N], or [N, K] where a figure is made of K counts.
    """

    columns: Mapping[str, Values]

    def figures(self, rows: Indices | None = None) -> dict[str, float]:
        """Every figure that the columns give, over all pairs or over these."""
        sums = self._counts(rows).sum(axis=0)[np.newaxis]
        return {name: float(figure(sums)[0]) for name, figure in self._statistics.items()}

    def intervals(self, rows: Indices | None = None, *, seed: int) -> dict[str, Interval]:
        """The 95 % interval of each of them; NaN for fewer than FEWEST_PAIRS."""
        counts = self._counts(rows)
        if len(counts) < FEWEST_PAIRS:
            return dict.fromkeys(self._statistics, Interval(math.nan, math.nan))
        intervals = statistic_intervals(counts, self._statistics, seed=seed)
        sums = counts.sum(axis=0)
        return {name: self._widened(name, sums, each) for name, each in intervals.items()}

    def _counts(self, rows: Indices | None) -> Values:
        return self._matrix if rows is None else self._matrix[rows]

    @cached_property
    def _matrix(self) -> Values:
        return np.column_stack(list(self.columns.values()))

    @cached_property
    def _places(self) -> dict[str, slice]:
        """Where each column stands in the matrix."""
        places, start = {}, 0
        for name, values in self.columns.items():
            stop = start + (values.shape[1] if values.ndim == 2 else 1)
            places[name], start = slice(start, stop), stop
        return places

    @cached_property
    def _statistics(self) -> dict[str, Statistic]:
        """How each figure is made of [R, K] sums."""
        statistics = {}
        for name, figure in FIGURES.items():
            if figure.above in self.columns:
                statistics[name] = self._quotient(figure)
            elif name in OF_COUNTS and name in self.columns:
                statistics[name] = self._of_counts(name)
        return statistics

    def _quotient(self, figure: Figure) -> Statistic:
        above, below = self._places[figure.above].start, self._places[figure.below].start

        def quotient(sums: Values) -> Values:
            divisor = sums[:, below]
            found = np.full(len(sums), np.nan)
            np.divide(sums[:, above], divisor, out=found, where=divisor > 0)
            found *= figure.factor
            return np.exp(np.minimum(found, LARGEST_LOSS)) if figure.exponential else found

        return quotient

    def _of_counts(self, name: str) -> Statistic:
        place = self._places[name]
        return lambda sums: OF_COUNTS[name](sums[:, place])

    def _widened(self, name: str, sums: Values, interval: Interval) -> Interval:
        """The interval; wider for a share that is 0 or 1, whose resamples are all alike.

        Source: Hanley and Lippman-Hand 1983, "If nothing goes wrong, is everything all right?"
        (the rule of three).
        """
        figure = FIGURES[name]
        if figure.form != "share" or figure.below not in {"pairs", "judged"}:
            return interval
        room = min(1.0, 3 / float(sums[self._places[figure.below].start]))
        if interval.high == 0:
            return Interval(0.0, room)
        return Interval(1 - room, 1.0) if interval.low == 1 else interval


def tally_surprises(encoded: Encoded, surprises: Surprises) -> Tally:
    """What the true texts add."""
    # Nothing stands before the first character of a question: it is not predicted.
    asked = np.array([_size(pair.question[1:]) for pair in encoded.pairs], dtype=np.float64)
    expected = np.array([_size(pair.answer) for pair in encoded.pairs], dtype=np.float64)
    dataset = encoded.dataset
    columns = {"pairs": np.ones(len(encoded))}
    for part, sums, texts in (
        ("answer", surprises.answer, expected),
        ("all", surprises.all, asked + expected),
    ):
        columns |= _sums(part, sums)
        columns |= {f"characters_{part}": texts[:, 0], f"bytes_{part}": texts[:, 1]}
    unknown = np.add.reduceat(dataset.ids == UNK_ID, dataset.offsets[:-1], dtype=np.float64)
    return Tally(columns | {"unknown": unknown, "tokens": dataset.lengths.astype(np.float64)})


def _size(text: str) -> tuple[int, int]:
    return len(text), len(text.encode("utf-8"))


def _sums(part: str, sums: PairSums) -> dict[str, Values]:
    return {
        f"nats_{part}": sums.nats,
        f"tokens_{part}": sums.tokens,
        f"hits_{part}": sums.hits,
        f"top5_{part}": sums.top5,
    }


def with_rows(tally: Tally, rows: Sequence[Row]) -> Tally:
    """The same, and what the answers add and the training data, where the rows have them."""
    columns = dict(tally.columns)
    answers = [row.answer for row in rows if row.answer is not None]
    if answers:
        columns |= {name: _column(getattr(row, name) for row in rows) for name in SCORES}
        columns |= _text_counts(answers, [row.references for row in rows])
        columns["cut_by_limit"] = 1 - columns["ended_by_itself"]
    if any(row.accuracy is not None for row in rows):
        columns["accuracy"] = _column(row.accuracy for row in rows)
        columns["judged"] = _column(row.accuracy is not None for row in rows)
    for name in ("memorised", "in_training"):
        if any(getattr(row, name) is not None for row in rows):
            columns[name] = _column(getattr(row, name) for row in rows)
    return Tally(columns)


def _text_counts(answers: Sequence[str], expected: Sequence[Sequence[str]]) -> dict[str, Values]:
    return {
        "characters_said": _column(map(len, answers)),
        "empty": _column(not answer.strip() for answer in answers),
        "chrf": np.array([*map(chrf_counts, answers, expected)], dtype=np.float64),
        "bleu4": np.array([*map(bleu_counts, answers, expected)], dtype=np.float64),
    }


def _column(values: Iterable[float | None]) -> Values:
    return np.array([value or 0 for value in values], dtype=np.float64)
