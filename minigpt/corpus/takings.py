"""What is taken from the pairs of a file, part by part, without holding the pairs."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.columns import Columns, added
from minigpt.corpus.repeats import RECORD, Records, in_buckets, make_records
from minigpt.corpus.tokenizer import id_table
from minigpt.corpus.vocab import SEP_ID, UNK_ID

Arrays = dict[str, NDArray[Any]]
Options = Mapping[str, Any]


class Taker(Protocol):
    """Gathers something from block after block."""

    def take(self, columns: Columns) -> None:
        """Take it from a block."""

    def arrays(self) -> Arrays:
        """All that was taken."""


class Characters:
    """How often each character occurs: `points` [distinct] uint32, `counts` [distinct] int64."""

    def __init__(self) -> None:
        self._counts = np.zeros(0, dtype=np.int64)

    def take(self, columns: Columns) -> None:
        """Count the characters of a block."""
        self._counts = added(self._counts, columns.counts())

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
        starts, _ = columns.spans()
        self._records.append(make_records(columns.hashes(), starts))

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


class Ids:
    """The pairs of at most `max_length` tokens, encoded; 0 is no limit.

    `ids` of all of them, with their separators; `question_lengths` and `pair_lengths` [pairs] in
    tokens, with separators; `kept` [pairs], where each stands among all pairs; and the numbers of
    `given` pairs and `unknown` tokens.
    """

    def __init__(self, characters: str, max_length: int) -> None:
        self._table = id_table(characters)
        self._max_length = max_length
        self._given = self._unknown = 0
        self._taken: list[tuple[NDArray[Any], ...]] = []

    def take(self, columns: Columns) -> None:
        """Encode the pairs of a block."""
        lengths = columns.lengths
        kept = np.arange(self._given, self._given + len(lengths))
        self._given += len(lengths)
        ids = self._table.take(columns.code_points)
        ids[lengths.ravel().cumsum() - 1] = SEP_ID
        pair_lengths = lengths.sum(axis=1)
        if self._max_length and pair_lengths.max() > self._max_length:
            fits = pair_lengths <= self._max_length
            ids = ids[np.repeat(fits, pair_lengths)]
            kept, lengths, pair_lengths = kept[fits], lengths[fits], pair_lengths[fits]
        self._unknown += int(np.count_nonzero(ids == UNK_ID))
        short = (lengths[:, 0].astype(np.int32), pair_lengths.astype(np.int32))
        self._taken.append((ids, *short, kept))

    def arrays(self) -> Arrays:
        """All that was encoded."""
        nothing = (self._table[:0], *(np.empty(0, kind) for kind in (np.int32, np.int32, np.int64)))
        columns = zip(nothing, *self._taken, strict=True)
        names = ("ids", "question_lengths", "pair_lengths", "kept")
        return {
            **{name: np.concatenate(column) for name, column in zip(names, columns, strict=True)},
            "given": np.array(self._given),
            "unknown": np.array(self._unknown),
        }


class Places:
    """Where the lines of the pairs are: `starts` in the file and `sizes`, in bytes.

    `questions` are their hashes, where they are wanted.
    """

    def __init__(self, questions: bool) -> None:
        self._hashes_questions = questions
        self._taken: list[tuple[NDArray[Any], ...]] = []

    def take(self, columns: Columns) -> None:
        """Find the lines of a block."""
        starts, sizes = columns.spans()
        hashes = np.empty(0, np.uint64)
        if self._hashes_questions:
            hashes = columns.hashes()[:, 0]
        self._taken.append((starts, sizes.astype(np.uint32), hashes))

    def arrays(self) -> Arrays:
        """All places."""
        nothing = (np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint64))
        columns = zip(nothing, *self._taken, strict=True)
        names = ("starts", "sizes", "questions")
        return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


TAKERS: Mapping[str, Callable[..., Taker]] = {
    "characters": Characters,
    "ids": Ids,
    "measures": Measures,
    "places": Places,
}
