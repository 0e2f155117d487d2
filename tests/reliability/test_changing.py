"""Data that grows, shrinks, vanishes or is replaced while a command reads it."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.corpus.qa import read_pairs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LINES = 150_000
COMMANDS = {
    "vocab": ("vocab", "data.jsonl", "--output", "new.json"),
    "stats": ("stats", "data.jsonl", "--vocab", "vocab.json"),
    "split": ("split", "data.jsonl", "--train-output", "a.jsonl", "--val-output", "b.jsonl"),
    "train": (
        *("train", "--train-data", "data.jsonl", "--val-data", "val.jsonl"),
        *("--vocab", "vocab.json", "--size", "tiny", "--dry-run"),
    ),
}


def grow(data: Path) -> None:
    with data.open("a", encoding="utf-8") as file:
        file.write('{"question": "新？", "answer": "新。"}\n{"question": "half')


def shrink(data: Path) -> None:
    os.truncate(data, data.stat().st_size * 3 // 4)


def replace(data: Path) -> None:
    other = data.with_suffix(".other")
    rows = (f'{{"question": "别的{n}？", "answer": "别的。"}}\n' for n in range(3))
    other.write_text("".join(rows), encoding="utf-8")
    other.replace(data)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    rows = (f'{{"question": "{n}加1等于几？", "answer": "等于{n + 1}。"}}\n' for n in range(LINES))
    path.write_text("".join(rows), encoding="utf-8")
    (tmp_path / "val.jsonl").write_text('{"question": "1？", "answer": "1。"}\n', encoding="utf-8")
    call(tmp_path, "vocab", "val.jsonl", "--output", "vocab.json")
    return path


def call(folder: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "minigpt", *arguments], cwd=folder, env=here(), check=True
    )


def here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("change", [grow, shrink, replace, Path.unlink])
@pytest.mark.parametrize("command", COMMANDS)
def test_data_that_changes_is_used_whole_or_refused(
    command: str, change: Callable[[Path], None], data: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "minigpt", *COMMANDS[command]],
        cwd=tmp_path,
        env=here(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    rng = random.Random(f"{command} {change.__name__}")
    time.sleep(rng.uniform(0.1, 0.5))
    while process.poll() is None and data.exists():
        change(data)
        time.sleep(rng.uniform(0.01, 0.2))
    _, said = process.communicate(timeout=60)
    assert process.returncode in {0, 3}, said
    assert "Traceback" not in said
    assert "bug in minigpt" not in said
    if process.returncode:
        assert "error: data.jsonl" in said
        left = {path.name for path in set(tmp_path.iterdir()) - before}
        assert left <= {"data.other"}  # nothing of the command's own
    elif command == "split":
        parts = [read_pairs(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
        assert len(parts[0]) + len(parts[1]) >= 2
