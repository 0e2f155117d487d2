"""Lets every step of writing of every command fail, and looks at what stands there afterwards.

`python -m tests.reliability.faults` lets each step of each command fail with ENOSPC, EIO, EACCES
and EROFS in turn and prints one JSON object; a step that flushes fails after half of its file.
"""

import contextlib
import errno
import io
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from minigpt import files
from minigpt.cli.main import main as minigpt
from minigpt.model.checkpoint import load_checkpoint
from minigpt.model.location import BEST, LAST
from tests.services.tiny import contents, layered_settings, write_pairs

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)
# Latin letters, which every font has: a picture with them can be drawn anywhere.
PAIRS = [(f"{a} + {b} = ?", f"it is {a + b}") for a in range(1, 6) for b in range(1, 7)]
EVAL = ("eval", "val.jsonl", "--no-generate", "--report", "report.json", "--force")
CHAT = ("chat", PAIRS[0][0], "--attention", "seen.png", "--force", "--max-new-tokens", "2")
COMMANDS: dict[str, tuple[str, ...]] = {
    "vocab": ("vocab", "data.jsonl", "--max-size", "9", "--force"),
    "split": ("split", "--seed", "7", "--force"),
    "stats": ("stats", "data.jsonl", "--plot", "lengths.png", "--force"),
    "train": ("train", "--run-dir", "new", "--epochs", "1"),
    "train anew": ("train", "--force", "--epochs", "1"),
    "train on": ("train", "--resume", "--epochs", "3"),
    "eval": EVAL,
    "chat": CHAT,
}
MAY_CHANGE = {"output", "new"}  # run directories: checkpoints are looked at one by one


@dataclass
class Record:
    """What failed, and what was lost by it."""

    faults: Counter[str] = field(default_factory=Counter)
    by_error: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)


@contextlib.contextmanager
def hooked(hook: Callable[[files.Step, Path], None]) -> Iterator[None]:
    """Every step of writing is announced to `hook` first."""
    files.before_step = hook
    try:
        yield
    finally:
        files.before_step = files._nothing


def fail_at(count: int, number: int) -> Callable[[files.Step, Path], None]:
    """A disk on which the given step of writing fails, and all those after it."""
    left = itertools.count(count, -1)

    def before_step(step: files.Step, path: Path) -> None:
        if next(left) > 0:
            return
        if step == "flush":
            os.truncate(path, path.stat().st_size // 2)
        raise OSError(number, os.strerror(number), str(path))

    return before_step


def call(root: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command line in `root`: its exit code, and what it said on stderr."""
    code, _, said = call_for_all(root, arguments)
    return code, said


def call_for_all(root: Path, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run the command line in `root`: its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = minigpt(list(arguments))
    return code, out.getvalue(), err.getvalue()


def prepare(root: Path) -> Path:
    """A directory with data and a run, and an earlier file for every output."""
    root.mkdir(parents=True)
    write_pairs(root / "data.jsonl", PAIRS)
    with contextlib.chdir(root):
        layered_settings(Path("."), toml={"train.show_samples": 0})
    code, said = call(root, ("train",))
    assert code == 0, said
    for name in ("lengths.png", "report.json", "seen.png"):
        (root / name).write_bytes(b"earlier")
    return root


def steps_of(root: Path, arguments: Sequence[str]) -> list[str]:
    """The named steps of writing of a command, which does its work here."""
    steps: list[str] = []
    with hooked(lambda step, path: steps.append(step)):
        code, said = call(root, arguments)
    assert code == 0, said
    return steps


def inject(home: Path, record: Record, command: str, numbers: Sequence[int], stride: int) -> None:
    """Let every `stride`-th step of a command fail, with each error in turn or with all."""
    scratch = home.parent / "scratch"
    shutil.copytree(home, scratch)
    steps = steps_of(scratch, COMMANDS[command])
    shutil.rmtree(scratch)
    for index in range(0, len(steps), stride):
        for number in numbers if stride == 1 else [numbers[index // stride % len(numbers)]]:
            shutil.copytree(home, scratch)
            with hooked(fail_at(index, number)):
                code, said = call(scratch, COMMANDS[command])
            place = f"{command}, step {index}: {steps[index]}, {errno.errorcode[number]}"
            record.lost += [f"{place}: {each}" for each in losses(home, scratch, code, said)]
            record.faults[steps[index]] += 1
            record.by_error[errno.errorcode[number]] += 1
            shutil.rmtree(scratch)


def losses(home: Path, scratch: Path, code: int, said: str) -> Iterator[str]:
    """What is not as it should be after a write that failed."""
    if code != 5 or "error: " not in said or "hint: " not in said:
        yield f"exit code {code}, {said!r}"
    if "Traceback" in said:
        yield f"a traceback: {said}"
    before, after = contents(home), contents(scratch)
    for name in sorted(before.keys() | after.keys()):
        if Path(name).name.startswith("."):
            yield f"left {name}"
        elif Path(name).parts[0] in MAY_CHANGE:
            if name.endswith((BEST, LAST)) and name in after:
                try:
                    load_checkpoint(scratch / name)
                except Exception as error:  # whatever it is, it counts as lost
                    yield f"{name}: {error}"
        elif before.get(name) != after.get(name) and not is_whole(scratch / name):
            yield f"{name} is neither the earlier file nor the new one"


def is_whole(path: Path) -> bool:
    """Whether the file is the new one: what is put in place before the directory is flushed."""
    if not path.exists():
        return False
    with contextlib.suppress(ValueError):
        if path.suffix == ".json":
            return isinstance(json.loads(path.read_bytes()), dict)
        return all(json.loads(line) for line in path.read_bytes().splitlines())
    return path.read_bytes().endswith(b"IEND\xaeB`\x82")


def main() -> None:
    torch.set_num_threads(1)
    stride = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    record = Record()
    with tempfile.TemporaryDirectory() as directory:
        home = prepare(Path(directory) / "home")
        for command in COMMANDS:
            inject(home, record, command, ERRORS, stride)
    sys.stdout.write(json.dumps(vars(record) | {"total": record.faults.total()}) + "\n")
    sys.exit(bool(record.lost))


if __name__ == "__main__":
    main()
