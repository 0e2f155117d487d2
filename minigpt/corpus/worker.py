"""A process that reads parts of a data file for another one; `workers` tells it which."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from minigpt.corpus.parts import Job

# A copy of this process has numpy loaded: it reads at once, where a new one needs 0.2 s to start.
FORKS = sys.platform == "linux"  # elsewhere libraries of the system may not survive it

# The search path is the parent's: the same minigpt, and nothing from where the user stands.
_COMMAND = "import sys; sys.path[:] = sys.argv[1:]; from minigpt.corpus.worker import work; work()"


@dataclass(frozen=True, slots=True)
class Process:
    """A worker that runs.

    Attributes:
        tasks: Where it is told what to do.
        done: Where it says what is done.
        end: Ends it, whatever it does.
    """

    tasks: IO[bytes]
    done: IO[bytes]
    end: Callable[[], None]


def start() -> Process:
    """Start a worker.

    Raises:
        OSError: There is no room for another process.
    """
    return _forked() if FORKS else _spawned()


def _spawned() -> Process:
    process = subprocess.Popen(
        start_command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C is for the parent, which then ends its workers.
        start_new_session=os.name == "posix",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def end() -> None:
        process.kill()
        process.wait()

    return Process(process.stdin, process.stdout, end)


def start_command() -> list[str]:
    """What starts a worker as a new process."""
    return [sys.executable, "-c", _COMMAND, *sys.path]


def _forked() -> Process:
    tasks, done = os.pipe(), os.pipe()
    try:
        pid = _fork(work, stdin=tasks[0], stdout=done[1])
    except OSError:
        for descriptor in (tasks[1], done[0]):
            os.close(descriptor)
        raise
    finally:
        os.close(tasks[0])
        os.close(done[1])
    return Process(open(tasks[1], "wb"), open(done[0], "rb"), partial(_end, pid))


def _fork(job: Callable[[], None], *, stdin: int, stdout: int) -> int:
    """Start a copy of this process that does the job and ends; its number."""
    with warnings.catch_warnings():
        # Of locks that another thread holds: a worker that waits for one is not waited for.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()  # Ctrl-C is for the parent, which then ends its workers
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for own, standard in ((stdin, 0), (stdout, 1), (os.open(os.devnull, os.O_WRONLY), 2)):
            os.dup2(own, standard)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        job()
        code = 0
    finally:
        os._exit(code)  # never back to what the parent does


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@contextlib.contextmanager
def beside(jobs: Sequence[Callable[[], None]]) -> Iterator[Callable[[], bool]]:
    """Do the jobs in copies of this process while the block runs; they end with it.

    Yields:
        What waits for them, and tells whether all were done.
    """
    running: list[int] = []

    def wait() -> bool:
        are_done = len(running) == len(jobs)
        while running:
            _, status = os.waitpid(running[-1], 0)
            running.pop()
            are_done = are_done and not status
        return are_done

    with open(os.devnull, "r+b") as null, contextlib.suppress(OSError):  # no room for one more
        # A lock that another thread holds would never be free in the copy.
        for job in jobs if FORKS and threading.active_count() == 1 else ():
            running.append(_fork(job, stdin=null.fileno(), stdout=null.fileno()))
    try:
        yield wait
    finally:
        for pid in running:
            _end(pid)


def work() -> None:
    """Read a job from the standard input, then ranges; write each part to the file it names.

    What is done is said by a line on the standard output. It ends with its input, or with the first
    error: the parent then reads the range itself and meets the same error.
    """
    with open(0, "rb", closefd=False) as tasks, open(1, "wb", 0, closefd=False) as done:
        job = Job.from_json(tasks.readline().decode())
        for line in tasks:
            index, start, end, name = json.loads(line)
            part = job.run(start, end)
            with Path(name).open("wb") as file:
                part.write(file)
            done.write(b"%d\n" % index)
