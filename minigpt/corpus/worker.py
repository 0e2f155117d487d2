"""A process that reads parts of a data file for another one; `workers` starts it."""

import json
import sys
from pathlib import Path

from minigpt.corpus.parts import Job

# The search path is the parent's: the same minigpt, and nothing from where the user stands.
COMMAND = "import sys; sys.path[:] = sys.argv[1:]; from minigpt.corpus.worker import work; work()"


def start_command() -> list[str]:
    """What starts a worker."""
    return [sys.executable, "-c", COMMAND, *sys.path]


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
