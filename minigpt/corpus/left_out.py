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
        self.shown: list[BadRow] = []

    def add(self, rows: Sequence[BadRow], by_reason: Mapping[str, int]) -> None:
        """Count some bad lines, and report those that are among the first.

        Args:
            rows: They or, where they are more than are ever shown, the first of them.
            by_reason: How many they are.
        """
        for row in rows[: SHOWN_BAD_LINES - len(self.shown)]:
            self.report(BadLine(self.path, row.number, row.reason))
            self.shown.append(row)
        self.by_reason.update(by_reason)

    @property
    def total(self) -> int:
        """Number of bad lines."""
        return self.by_reason.total()

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
            events = [BadLine(self.path, row.number, row.reason) for row in self.shown]
            first, raw = (events[0], self.shown[0].raw) if self.shown else (None, b"")
            raise explain_no_pair(self.path, first, raw, keys=keys)
        if strict and self.total:
            raise DataError(
                f"{self.path}: {self._summary()}, and strict reading allows none",
                hint="correct them, or leave --strict out to skip them",
            )

    def _summary(self) -> str:
        lines = "1 bad line" if self.total == 1 else f"{self.total:,} bad lines"
        first = self.shown[0]
        return f"{lines}, the first is line {first.number}: {first.reason}"
