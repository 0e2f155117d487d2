"""A whole data file read for what is taken from it, without holding its pairs."""

import contextlib
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.corpus.left_out import LeftOut
from minigpt.corpus.pace import Pace
from minigpt.corpus.parts import Job, Part
from minigpt.corpus.qa import (
    MOST_READ,
    QAPair,
    open_data,
    parse_line,
    raw_lines,
    without_ends,
)
from minigpt.corpus.takings import Arrays
from minigpt.corpus.tokenizer import CODE_POINTS
from minigpt.corpus.workers import helpers_for, read_parts
from minigpt.errors import DataError
from minigpt.events import Report, ignore
from minigpt.memory import keep_freed_memory

RANGE_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file and how its lines are read, as `read_file` says."""

    path: Path
    question_key: str = "question"
    answer_key: str = "answer"
    strict: bool = False

    @property
    def keys(self) -> tuple[str, str]:
        """The fields of the question and the answer."""
        return self.question_key, self.answer_key

    def identity(self) -> tuple[int, ...]:
        """Size, time of the last change and number of the file: another one is another file.

        Raises:
            DataError: There is none any more.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise has_changed(self) from error
        return stat.st_size, stat.st_mtime_ns, stat.st_ino


def has_changed(data: DataFile) -> DataError:
    """The error for a file that was written to while it was read."""
    return DataError(f"{data.path}: has changed while it was read", hint="start again")


class Scan:
    """One pass over a file.

    Attributes:
        pairs: Number of pairs met so far.
        left_out: The bad lines met so far.
        seen: What the file was when the pass began, as `DataFile.identity` says.
    """

    def __init__(self, data: DataFile, taker: str, report: Report, options: dict[str, Any]) -> None:
        self.pairs = 0
        self.seen: tuple[int, ...] = ()
        self._lines = 0
        self._data = data
        self._report = report
        self.left_out = LeftOut(data.path, report)
        self._job = Job(str(data.path), data.question_key, data.answer_key, taker, options)

    @property
    def skipped(self) -> int:
        """Number of bad lines met so far."""
        return self.left_out.total

    def parts(self) -> Generator[Arrays]:
        """What was taken, part by part, in the order of the file.

        Raises:
            DataError: The file cannot be read or, in the end, has no pair or is refused.
        """
        keep_freed_memory()
        with open_data(self._data.path) as file:
            self.seen = self._data.identity()
            size = file.seek(0, 2)
            ranges = [
                (start, min(start + RANGE_BYTES, size)) for start in range(0, size, RANGE_BYTES)
            ]
            pace = Pace(f"read {self._data.path.name}", size, self._report)
            parts = read_parts(self._job, ranges, helpers=helpers_for(size))
            with contextlib.closing(parts):
                for (_, end), part in zip(ranges, parts, strict=True):
                    self._count(part)
                    yield part.arrays
                    pace.reach(end)
        self.left_out.finish(pairs=self.pairs, strict=self._data.strict, keys=self._data.keys)

    def _count(self, part: Part) -> None:
        rows = [replace(row, number=self._lines + row.number + 1) for row in part.bad]
        self.left_out.add(rows, part.by_reason)
        self._lines += part.lines
        self.pairs += part.pairs


class CharacterCounts:
    """How often each character stands in the parts of a file."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)

    def add(self, arrays: Arrays) -> None:
        """Add what `Characters` took."""
        self._counts[arrays["points"]] += arrays["counts"]

    def counter(self) -> Counter[str]:
        """The counts, in code point order."""
        points = np.flatnonzero(self._counts)
        characters = map(chr, points.tolist())
        return Counter(dict(zip(characters, self._counts[points].tolist(), strict=True)))


def count_characters_in(data: DataFile, report: Report = ignore) -> tuple[Counter[str], Scan]:
    """How often each character stands in the pairs of a file.

    Returns:
        The counts, in code point order, and the pass that was made.

    Raises:
        DataError: As `read_file` does.
    """
    scan, counts = Scan(data, "characters", report, {}), CharacterCounts()
    with contextlib.closing(scan.parts()) as parts:
        for arrays in parts:
            counts.add(arrays)
    return counts.counter(), scan


def read_pairs_at(data: DataFile, starts: Sequence[int]) -> list[QAPair]:
    """The pairs of the lines that begin at these bytes.

    Raises:
        DataError: The file cannot be read, or has changed: there is no pair.
    """
    pairs = []
    with open_data(data.path) as file:
        for start in starts:
            file.seek(start)
            raw = without_ends(file.readline(MOST_READ))
            pair = parse_line(raw, question_key=data.question_key, answer_key=data.answer_key)
            if isinstance(pair, str):
                raise has_changed(data)
            pairs.append(pair)
    return pairs


def first_pairs(data: DataFile, count: int) -> list[QAPair]:
    """The first pairs of a file, or all where there are fewer.

    Raises:
        DataError: The file cannot be read.
    """
    with open_data(data.path) as file:
        parsed = (
            parse_line(raw, question_key=data.question_key, answer_key=data.answer_key)
            for raw in raw_lines(file)
        )
        return list(islice((pair for pair in parsed if isinstance(pair, QAPair)), count))
