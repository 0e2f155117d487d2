"""Several processes that read one file.

They are not those of `multiprocessing`: a script that calls minigpt at its top level is not run
again in each of them, and no object that could run anything is sent. Tasks
are short lines through a pipe; what is read comes back through files, so that nobody waits for a
full pipe.
"""

import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

from minigpt.corpus.parts import Job, Part
from minigpt.corpus.worker import FORKS, start

# Less is read before another process has started.
BYTES_PER_PROCESS = (4 if FORKS else 32) * 1024 * 1024
MOST_PROCESSES = 8
_TASKS_AHEAD = 2  # one to do, one to go on with

Range = tuple[int, int]


def helpers_for(size: int) -> int:
    """How many processes besides this one pay for a file of `size` bytes."""
    if not sys.executable:
        return 0
    return max(1, min(_cores(), MOST_PROCESSES, size // BYTES_PER_PROCESS)) - 1


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_parts(job: Job, ranges: Sequence[Range], *, helpers: int = 0) -> Generator[Part]:
    """The part in each range, in order; this process reads as well.

    Raises:
        OSError: The file cannot be read.
    """
    if not helpers:
        yield from (job.run(start, end) for start, end in ranges)
        return
    waiting = deque(range(len(ranges)))
    parts: dict[int, Part] = {}
    with Workers(job, ranges, helpers) as workers:
        for index in range(len(ranges)):
            while index not in parts:
                parts |= workers.collect(waiting)
                workers.feed(waiting)
                if index in parts:
                    break
                # When nothing waits, a helper has it: rather than wait for it, read it here too.
                mine = waiting.popleft() if waiting else index
                parts[mine] = job.run(*ranges[mine])
            yield parts.pop(index)


class Workers:
    """The other processes; they end with the block, quietly, also when it is interrupted."""

    def __init__(self, job: Job, ranges: Sequence[Range], count: int) -> None:
        self._ranges = ranges
        self._said: SimpleQueue[tuple[_Worker, int | None]] = SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="minigpt-", ignore_cleanup_errors=True)
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(_Worker(job, self._said))
        except OSError:  # no room for another process: those that there are will do
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.stop()
        self._folder.cleanup()

    def feed(self, waiting: deque[int]) -> None:
        """Give ranges that wait to those that have little to do."""
        for worker in self._workers:
            while waiting and worker.is_alive and len(worker.tasks) < _TASKS_AHEAD:
                index = waiting.popleft()
                worker.give(index, self._ranges[index], self._file(index))

    def collect(self, waiting: deque[int]) -> dict[int, Part]:
        """The parts that are done; what a dead one had to do waits again."""
        parts: dict[int, Part] = {}
        while True:
            try:
                worker, index = self._said.get_nowait()
            except Empty:
                return parts
            if index is None:
                worker.is_alive = False
                waiting.extendleft(reversed(worker.tasks))
                worker.tasks.clear()
                continue
            worker.tasks.remove(index)
            with self._file(index).open("rb") as file:
                parts[index] = Part.read(file)
            self._file(index).unlink()

    def _file(self, index: int) -> Path:
        return Path(self._folder.name, str(index))


class _Worker:
    """One process and the thread that hears it."""

    def __init__(self, job: Job, said: "SimpleQueue[tuple[_Worker, int | None]]") -> None:
        self.tasks: deque[int] = deque()
        self.is_alive = True
        self._process = start()
        self._said = said
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._send(job.to_json())

    def give(self, index: int, place: Range, file: Path) -> None:
        """Have it read a range."""
        self.tasks.append(index)
        self._send(json.dumps([index, *place, str(file)]))

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.end()
        self._thread.join()
        self._process.done.close()
        try:
            self._process.tasks.close()
        except OSError:  # what it was never told
            return

    def _send(self, line: str) -> None:
        try:
            self._process.tasks.write(line.encode() + b"\n")
            self._process.tasks.flush()
        except OSError:  # it has died; the thread says so
            return

    def _listen(self) -> None:
        for line in self._process.done:
            self._said.put((self, int(line)))
        self._said.put((self, None))
