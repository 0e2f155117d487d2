"""A whole data file read for what is taken from it, without holding its pairs."""

import contextlib
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.corpus.left_out import LeftOut
from minigpt.corpus.parts import Job, Part
from minigpt.corpus.qa import open_data
from minigpt.corpus.takings import CODE_POINTS, Arrays
from minigpt.corpus.workers import helpers_for, read_parts
from minigpt.events import Progress, Report, ignore

RANGE_BYTES = 4 * 1024 * 1024
_MB = 1_000_000
_QUIET_S = 1.0  # a short task needs no line at all


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file and how its lines are read, as `read_file` says."""

    path: Path
    question_key: str = "question"
    answer_key: str = "answer"
    strict: bool = False


class Scan:
    """One pass over a file.

    Attributes:
        pairs: Number of pairs met so far.
    """

    def __init__(self, data: DataFile, taker: str, report: Report, options: dict[str, Any]) -> None:
        self.pairs = 0
        self._lines = 0
        self._data = data
        self._report = report
        self._left_out = LeftOut(data.path, report)
        self._job = Job(str(data.path), data.question_key, data.answer_key, taker, options)

    @property
    def skipped(self) -> int:
        """Number of bad lines met so far."""
        return self._left_out.total

    def parts(self) -> Generator[Arrays]:
        """What was taken, part by part, in the order of the file.

        Raises:
            DataError: The file cannot be read or, in the end, has no pair or is refused.
        """
        with open_data(self._data.path) as file:
            started, task = time.monotonic(), f"read {self._data.path.name}"
            size = file.seek(0, 2)
            ranges = [
                (start, min(start + RANGE_BYTES, size)) for start in range(0, size, RANGE_BYTES)
            ]
            parts = read_parts(self._job, ranges, helpers=helpers_for(size))
            with contextlib.closing(parts):
                for (_, end), part in zip(ranges, parts, strict=True):
                    self._count(part)
                    yield part.arrays
                    if time.monotonic() - started > _QUIET_S:
                        self._report(Progress(task, end // _MB, size // _MB, "MB"))
        self._left_out.finish(
            pairs=self.pairs,
            strict=self._data.strict,
            keys=(self._data.question_key, self._data.answer_key),
        )

    def _count(self, part: Part) -> None:
        rows = [replace(row, number=self._lines + row.number + 1) for row in part.bad]
        self._left_out.add(rows, part.by_reason)
        self._lines += part.lines
        self.pairs += part.pairs


def count_characters_in(data: DataFile, report: Report = ignore) -> tuple[Counter[str], Scan]:
    """How often each character stands in the pairs of a file.

    Returns:
        The counts, in code point order, and the pass that was made.

    Raises:
        DataError: As `read_file` does.
    """
    scan = Scan(data, "characters", report, {})
    total = np.zeros(CODE_POINTS, dtype=np.int64)
    with contextlib.closing(scan.parts()) as parts:
        for arrays in parts:
            total[arrays["points"]] += arrays["counts"]
    points = np.flatnonzero(total)
    return Counter(dict(zip(map(chr, points.tolist()), total[points].tolist(), strict=True))), scan
