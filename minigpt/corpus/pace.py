"""How far a long task is; of a short one nothing is told."""

import time

from minigpt.events import Progress, Report

QUIET_S = 1.0  # what is done by then needs no line at all
_MB = 1_000_000


class Pace:
    """Tells how many bytes of a task are done."""

    def __init__(self, task: str, total: int, report: Report) -> None:
        self._task = task
        self._total = total
        self._report = report
        self._started = time.monotonic()

    def reach(self, done: int) -> None:
        """So many bytes are done by now."""
        if time.monotonic() - self._started > QUIET_S:
            self._report(Progress(self._task, done // _MB, self._total // _MB, "MB"))
