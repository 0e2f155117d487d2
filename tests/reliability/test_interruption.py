"""Signals to every command while it works, and two runs in one directory, each a real process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigpt.model.checkpoint import load_checkpoint
from tests.reliability.faults import COMMANDS, prepare
from tests.services.tiny import contents

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]

# Waits before the first write until a signal comes; a second program text would test another one.
WAITING = """
import sys, time
from minigpt import files
def wait(step, path):
    if step == sys.argv[1]:
        sys.stderr.write("writing\\n")
        sys.stderr.flush()
        time.sleep(60)
files.before_step = wait
from minigpt.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("interruption") / "home")


def begun(root: Path, step: str, *arguments: str) -> subprocess.Popen[str]:
    """The program, arrived at a step of writing."""
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, step, *arguments],
        cwd=root,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while line := process.stderr.readline():
        if line == "writing\n":
            return process
    raise AssertionError("it ended before it wrote anything")


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("vocab", signal.SIGINT, 130),
        ("vocab", signal.SIGTERM, 143),
        ("vocab", signal.SIGHUP, 129),
        ("split", signal.SIGHUP, 129),
        ("stats", signal.SIGTERM, 143),
        ("eval", signal.SIGINT, 130),
        ("chat", signal.SIGTERM, 143),
    ],
)
def test_a_signal_while_writing_leaves_everything_as_it_was(
    home: Path, tmp_path: Path, command: str, number: signal.Signals, code: int
) -> None:
    root = tmp_path / "root"
    shutil.copytree(home, root)
    process = begun(root, "flush", *COMMANDS[command])
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "note: stopped\n" in said
    assert "Traceback" not in said
    assert contents(root) == contents(home)


def test_a_run_directory_in_use_is_refused_and_free_when_its_process_is_killed(
    home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(home, root)
    first = begun(root, "append", *COMMANDS["train on"])
    second = [sys.executable, "-m", "minigpt", "train", "--resume", "--epochs", "3"]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def attempt() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            second, cwd=root, env=variables, capture_output=True, text=True, check=False
        )

    refused = attempt()
    assert refused.returncode == 5
    assert "output: in use by another training run" in refused.stderr
    first.send_signal(signal.SIGKILL)
    first.communicate()
    deadline = time.monotonic() + 10
    while (done := attempt()).returncode == 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(root / "output" / "last.safetensors").info.epoch == 3
    assert not [name for name in contents(root) if ".unfinished" in name]
