"""Kills training runs with SIGKILL, resumes them, and compares them with runs that were left alone.

`python -m tests.reliability.kills --points 64 --seed 0` kills so many runs, half of them at a named
step of the write path and half at a random time, and prints one JSON object. A run that was cut
short is started again by what its directory allows: `--resume`, or anew before its first save.
"""

import argparse
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from minigpt import files
from minigpt.model.checkpoint import load_checkpoint, load_training_state
from minigpt.model.location import BEST, LAST
from minigpt.services.prepare import build_missing
from minigpt.services.train import train
from minigpt.settings import Settings
from tests.services.tiny import metrics, tiny_settings, write_pairs

VARIANTS = list(
    itertools.product(("bucketed", "packed"), ("adamw", "muon"), ("float32", "bfloat16"))
)


@dataclass
class Record:
    """What was done, and what was lost."""

    seed: int
    points: int = 0
    at_steps: Counter[str] = field(default_factory=Counter)
    at_times: int = 0
    resumed: int = 0
    started_anew: int = 0
    lost: list[str] = field(default_factory=list)


def settings_of(root: Path, variant: tuple[str, str, str]) -> Settings:
    """Eight steps with three validations, saved after every step."""
    batching, optimizer, dtype = variant
    return tiny_settings(
        root,
        train__batching=batching,
        train__optimizer=optimizer,
        train__validate_every=3,
        train__save_every_s=1e-9,
        train__show_samples=0,
        runtime__dtype=dtype,
    )


def in_a_child(work: Callable[[], None], *, kill_after_s: float | None = None) -> int:
    """Do `work` in a process of its own and return how it ended: 0, or minus a signal's number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kill_at(count: int) -> Callable[[files.Step, Path], None]:
    """A process that ends at the given step of writing, with half of a file where it flushes."""
    left = itertools.count(count, -1)

    def before_step(step: files.Step, path: Path) -> None:
        if next(left) == 0:
            if step == "flush":
                os.truncate(path, path.stat().st_size // 2)
            elif step == "append":
                path.open("ab").write(b'{"kind": "st')
            os.kill(os.getpid(), signal.SIGKILL)

    return before_step


def run(settings: Settings) -> None:
    """Train as far as it goes, from where it stands."""
    last = settings.train.run_dir / LAST
    train(settings, resume=last.exists())


def steps_of(settings: Settings) -> list[str]:
    """The named steps of writing in a whole run, which is trained here."""
    steps: list[str] = []
    files.before_step = lambda step, path: steps.append(step)
    try:
        run(settings)
    finally:
        files.before_step = files._nothing
    return steps


def everything(run_dir: Path) -> dict[str, Any]:
    """What must be the same: weights, moments, state and metrics, clocks aside."""
    found: dict[str, Any] = {}
    for name in (BEST, LAST):
        checkpoint = load_checkpoint(run_dir / name)
        found |= {f"{name} {key}": value for key, value in checkpoint.weights.items()}
        found[f"{name} info"] = checkpoint.info
    tensors, state = load_training_state(run_dir / LAST)
    del state["state"]["seconds"]
    kept = [row for row in metrics(run_dir) if row["kind"] == "validation"]
    return found | tensors | {"state": state, "metrics": kept}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of what is not the same, bit for bit."""
    names = sorted(found.keys() ^ expected.keys())
    for name in found.keys() & expected.keys():
        one, other = found[name], expected[name]
        if isinstance(one, torch.Tensor):
            same = one.dtype == other.dtype and torch.equal(one, other)
        else:
            same = one == other
        names += [] if same else [name]
    return names


def whole_files(run_dir: Path) -> list[str]:
    """Checkpoints that cannot be loaded after a kill: there should be none."""
    broken = []
    for name in (BEST, LAST):
        if (run_dir / name).exists():
            try:
                load_checkpoint(run_dir / name)
            except Exception as error:  # whatever it is, it counts as lost
                broken.append(f"{name}: {error}")
    return broken


def kill_runs(root: Path, *, points: int, seed: int) -> Record:
    """Kill `points` runs below `root`, as evenly over the variants as they go."""
    record = Record(seed)
    rng = random.Random(seed)
    for number, variant in enumerate(VARIANTS):
        whole = prepared(root / f"{number}-whole", variant)
        steps = steps_of(whole)
        started = time.monotonic()
        run(settings := prepared(root / f"{number}-timed", variant))
        seconds = time.monotonic() - started
        expected = everything(whole.train.run_dir)
        assert not differences(everything(settings.train.run_dir), expected)
        count = points // len(VARIANTS) + (number < points % len(VARIANTS))
        for point in range(count):
            place = f"{' '.join(variant)}, point {point}"
            settings = prepared(root / f"{number}-{point}", variant)
            if point % 2:
                ended = in_a_child(
                    lambda: run(settings),  # noqa: B023 - done before the next round
                    kill_after_s=rng.uniform(0, seconds),
                )
                record.at_times += 1
            else:
                at = rng.randrange(len(steps))
                place += f", step {at}: {steps[at]}"
                ended = in_a_child(lambda: killed(settings, at))  # noqa: B023 - done before the next round
                record.at_steps[steps[at]] += 1
            assert ended in {0, -signal.SIGKILL}, place
            record.points += 1
            go_on(settings, expected, record, place)
    return record


def killed(settings: Settings, step: int) -> None:
    """Train until the given step of writing ends the process."""
    files.before_step = kill_at(step)
    run(settings)


def go_on(settings: Settings, expected: dict[str, Any], record: Record, place: str) -> None:
    """Look at what the kill left, start the run again and compare it."""
    run_dir = settings.train.run_dir
    record.lost += [f"{place}: {each}" for each in whole_files(run_dir)]
    if (run_dir / LAST).exists():
        record.resumed += 1
    else:
        record.started_anew += 1
    try:
        train(settings, resume=(run_dir / LAST).exists(), force=not (run_dir / LAST).exists())
        record.lost += [f"{place}: {each}" for each in differences(everything(run_dir), expected)]
    except Exception as error:  # whatever it is, it counts as lost
        record.lost.append(f"{place}: {error}")
    record.lost += [f"{place}: left {path.name}" for path in run_dir.glob(".*")]


def prepared(root: Path, variant: tuple[str, str, str]) -> Settings:
    """A directory with data, vocabulary and split, and no run."""
    root.mkdir(parents=True)
    write_pairs(root / "data.jsonl")
    settings = settings_of(root, variant)
    build_missing(settings, lambda event: None)
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        record = kill_runs(Path(directory), points=given.points, seed=given.seed)
    sys.stdout.write(json.dumps(vars(record), ensure_ascii=False) + "\n")
    sys.exit(bool(record.lost))


if __name__ == "__main__":
    main()
