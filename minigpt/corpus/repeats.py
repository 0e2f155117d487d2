"""Pairs that stand in a file more than once, and questions with more than one answer."""

import tempfile
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.hashing import Hashes

# A pair: the hashes of its two texts, and where its line begins in the file, in bytes.
RECORD = np.dtype([("question", "<u8"), ("answer", "<u8"), ("start", "<i8")])
BUCKETS = 256
MOST_IN_MEMORY = 32 * 1024 * 1024  # bytes; more go to a file
MOST_AT_ONCE = 1 << 17  # records sorted together: so few stay in a processor's cache

Records = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Contested:
    """A question with `count` different answers; where the first pairs with each begin."""

    count: int
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """What repeats in a file.

    Attributes:
        duplicates: Pairs whose question and answer both stood there before.
        contradictions: Questions with more than one answer.
        examples: Those with the most answers, the earliest first among equals.
    """

    duplicates: int
    contradictions: int
    examples: tuple[Contested, ...]


def make_records(hashes: Hashes, starts: NDArray[np.int64]) -> Records:
    """The records of some pairs, from the [pairs, 2] hashes of their questions and answers."""
    records = np.empty(starts.size, dtype=RECORD)
    (records["question"], records["answer"]), records["start"] = hashes.T, starts
    return records


def in_buckets(records: Records) -> tuple[Records, NDArray[np.int64]]:
    """The records with equal questions closer together, and how many are in each bucket."""
    bucket = (records["question"] >> np.uint64(56)).astype(np.uint8)
    return records[bucket.argsort(kind="stable")], np.bincount(bucket, minlength=BUCKETS)


class Repeats:
    """Finds what repeats; the memory that it needs does not grow with the file.

    Texts are compared by their hashes: one in 10^5 files of ten million different questions would
    count a contradiction that there is not; a pair counts as a duplicate by both hashes.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MOST_IN_MEMORY)  # noqa: SIM115 - __exit__
        self._starts: list[NDArray[np.int64]] = []  # of each bucket of each part, in records
        self._counts = np.zeros(BUCKETS, dtype=np.int64)
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, records: Records, counts: NDArray[np.int64]) -> None:
        """Take a part, as `in_buckets` gives it."""
        self._file.write(records.tobytes())
        self._starts.append(self._size + np.concatenate(([0], counts.cumsum())))
        self._counts += counts
        self._size += records.size

    def find(self, examples: int) -> Repeated:
        """What repeats, with so many examples."""
        duplicates = contradictions = 0
        best: list[tuple[int, int, Contested]] = []
        first = 0
        while first < BUCKETS:
            last = first + 1
            while last < BUCKETS and self._counts[first : last + 1].sum() <= MOST_AT_ONCE:
                last += 1
            groups = _Groups(_repeated(self._read(first, last)))
            duplicates += groups.duplicates
            contradictions += groups.contradictions
            best = sorted([*best, *groups.best(examples)], key=lambda item: item[:2])[:examples]
            first = last
        return Repeated(duplicates, contradictions, tuple(found for _, _, found in best))

    def _read(self, first: int, last: int) -> Records:
        parts = []
        for starts in self._starts:
            self._file.seek(int(starts[first]) * RECORD.itemsize)
            wanted = int(starts[last] - starts[first]) * RECORD.itemsize
            parts.append(np.frombuffer(self._file.read(wanted), dtype=RECORD))
        return np.concatenate(parts) if parts else np.empty(0, dtype=RECORD)


def _repeated(records: Records) -> Records:
    """The records whose question occurs more than once, equal ones together, in file order."""
    ordered = np.sort(records["question"])
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not repeated.size:
        return records[:0]
    place = np.searchsorted(repeated, records["question"]).clip(max=repeated.size - 1)
    found: Records = records[repeated[place] == records["question"]]
    found = found[np.lexsort((found["start"], found["answer"], found["question"]))]
    return found


class _Groups:
    """Records grouped by question, and by answer within."""

    def __init__(self, records: Records) -> None:
        new_question = _differs(records["question"])
        new_answer = new_question | _differs(records["answer"])
        self._questions = np.flatnonzero(new_question)
        answers = np.flatnonzero(new_answer)
        self._starts = records["start"][answers]  # of the first pair with each answer
        self._firsts = np.searchsorted(answers, self._questions)  # answer of each question
        self._counts = np.diff(self._firsts, append=answers.size)
        self.duplicates = records.size - answers.size
        self.contradictions = int((self._counts > 1).sum())

    def best(self, examples: int) -> list[tuple[int, int, Contested]]:
        """The most contested questions, each with what to sort it by."""
        if not self.contradictions:
            return []
        earliest = np.minimum.reduceat(self._starts, self._firsts)
        order = np.lexsort((earliest, -self._counts))
        found: list[Any] = []
        for group in order[:examples].tolist():
            first, count = int(self._firsts[group]), int(self._counts[group])
            if count > 1:
                starts = np.sort(self._starts[first : first + count])[:examples]
                contested = Contested(count, tuple(starts.tolist()))
                found.append((-count, int(earliest[group]), contested))
        return found


def _differs(values: Hashes) -> NDArray[np.bool_]:
    """Whether each value is another one than that before it."""
    return np.concatenate(([True], values[1:] != values[:-1]))[: values.size]
