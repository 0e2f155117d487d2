"""The lines of a data file that hold no pair: which, why, and what that means for the file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt.corpus.diagnosis import explain_no_pair
from minigpt.errors import DataError
from minigpt.events import BadLine, BadLines, Report

SHOWN_BAD_LINES = 5


@dataclass(frozen=True, slots=True)
class BadRow:
    """A bad line: its number from 1, its bytes without line end or BOM, the reason."""

    number: int
    raw: bytes
    reason: str


class LeftOut:
    """The lines left out of one file: the first reported one by one, all counted."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path = path
        self.report = report
        self.by_reason: Counter[str] = Counter()
        self.first: BadRow | None = None
        self.total = 0
        self._shown = 0

    def add(self, rows: Sequence[BadRow], by_reason: Mapping[str, int]) -> None:
        """Count some bad lines, and report those that are among the first.

        Args:
            rows: They or, where they are more than are ever shown, the first of them.
            by_reason: How many they are.
        """
        for row in rows:
            self.first = self.first or row
            if self._shown < SHOWN_BAD_LINES:
                self.report(BadLine(self.path, row.number, row.reason))
                self._shown += 1
        for reason, count in by_reason.items():
            self.by_reason[reason] += count
        self.total = self.by_reason.total()

    def finish(self, *, pairs: int, strict: bool, keys: tuple[str, str]) -> None:
        """Report all of them by reason, once the file is read.

        Args:
            pairs: Number of valid lines.
            strict: Refuse any bad line.
            keys: The fields expected for the question and the answer.

        Raises:
            DataError: There is no valid pair, or `strict` refuses the file.
        """
        if self.total:
            self.report(BadLines(self.path, self.total, dict(self.by_reason)))
        if not pairs:
            first = self.first
            event = BadLine(self.path, first.number, first.reason) if first else None
            raise explain_no_pair(self.path, event, first.raw if first else b"", keys=keys)
        if strict and self.total:
            raise DataError(
                f"{self.path}: {self._summary()}, and strict reading allows none",
                hint="correct them, or leave --strict out to skip them",
            )

    def _summary(self) -> str:
        assert self.first is not None
        lines = "1 bad line" if self.total == 1 else f"{self.total:,} bad lines"
        return f"{lines}, the first is line {self.first.number}: {self.first.reason}"
