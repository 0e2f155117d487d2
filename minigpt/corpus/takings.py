"""What is taken from the pairs of a file, part by part, without holding the pairs."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.columns import Columns
from minigpt.corpus.hashing import hash_parts
from minigpt.corpus.repeats import RECORD, Records, in_buckets, make_records

Arrays = dict[str, NDArray[Any]]
Options = Mapping[str, Any]

CODE_POINTS = 0x110000  # Unicode ends at U+10FFFF


class Taker(Protocol):
    """Gathers something from block after block."""

    def take(self, columns: Columns) -> None:
        """Take it from a block."""

    def arrays(self) -> Arrays:
        """All that was taken."""


class Characters:
    """How often each character occurs: `points` [distinct] uint32, `counts` [distinct] int64."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)

    def take(self, columns: Columns) -> None:
        """Count the characters of a block."""
        points = columns.code_points
        self._add(points, 1)
        self._add(points[columns.lengths.ravel().cumsum() - 1], -1)  # what is no text

    def _add(self, points: NDArray[np.uint32], sign: int) -> None:
        counts = np.bincount(points)
        self._counts[: counts.size] += sign * counts

    def arrays(self) -> Arrays:
        """The characters that occur, in code point order."""
        points = np.flatnonzero(self._counts)
        return {"points": points.astype(np.uint32), "counts": self._counts[points]}


class Measures:
    """Everything that `stats` needs.

    Beside the characters: how many questions, answers and pairs have each length, as counts by
    length, a pair's with its two separators; the records of `repeats`, and how many are in each
    bucket.
    """

    def __init__(self) -> None:
        self._characters = Characters()
        self._lengths = [np.zeros(0, dtype=np.int64) for _ in range(3)]
        self._records: list[Records] = []

    def take(self, columns: Columns) -> None:
        """Measure the pairs of a block."""
        self._characters.take(columns)
        questions, answers = columns.lengths.T
        for index, lengths in enumerate((questions - 1, answers - 1, questions + answers)):
            self._lengths[index] = added(self._lengths[index], np.bincount(lengths))
        hashes = hash_parts(columns.code_points, columns.lengths.ravel())
        self._records.append(make_records(hashes[::2], hashes[1::2], columns.spans()[0]))

    def arrays(self) -> Arrays:
        """All measures."""
        records, buckets = in_buckets(np.concatenate([np.empty(0, RECORD), *self._records]))
        names = ("question_lengths", "answer_lengths", "pair_lengths")
        return {
            **self._characters.arrays(),
            **dict(zip(names, self._lengths, strict=True)),
            "records": records,
            "buckets": buckets,
        }


def added(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of two arrays of counts; what is beyond the end of one counts as zero."""
    longer, shorter = (first, second) if first.size > second.size else (second, first)
    longer = longer.copy()
    longer[: shorter.size] += shorter
    return longer


TAKERS: Mapping[str, Callable[..., Taker]] = {"characters": Characters, "measures": Measures}
