"""Text that steers terminals, in every place that text comes from, through every command."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.reliability.faults import call_for_all, prepare
from tests.services.tiny import write_pairs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="names that Windows does not allow"),
]

EVIL = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e\u2066\u2028\x00\x08"
NAME = EVIL.replace("\x00", "")
STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = prepare(tmp_path_factory.mktemp("terminal") / "home")
    pairs = [(f"{EVIL}{n}?", f"{EVIL}{n % 3}!") for n in range(12)] * 2
    write_pairs(root / NAME, pairs)
    return root


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.cli.main.prepare_signals", lambda: None)


RUN = ("--run-dir", NAME + "run")
COMMANDS = [
    ("vocab", NAME, "--output", NAME + "vocab"),
    ("split", NAME, "--train-output", NAME + "train", "--val-output", NAME + "val"),
    ("stats", NAME, "--vocab", NAME + "vocab", "--show", "3"),
    (
        *("train", "--train-data", NAME, "--val-data", NAME, "--vocab", NAME + "vocab", *RUN),
        *("--max-length", "64", "--block-size", "64", "--show-samples", "3", "--epochs", "1"),
    ),
    ("train", "--resume", *RUN, "--epochs", "2"),
    ("train", *RUN),
    ("eval", NAME, "--checkpoint", NAME + "run", "--report", NAME + "report.md", "--verbose"),
    ("chat", EVIL.replace("\x00", "") + "1?", "--checkpoint", NAME + "run", "--stats"),
    ("vocab", NAME + "nowhere"),
    ("vocab", NAME, "--question-key", NAME),
    ("stats", NAME, "--vocab", NAME),
    ("eval", NAME, "--checkpoint", NAME),
    ("train", "--size", NAME),
    ("vocab", "--" + NAME),
    (NAME,),
]


def test_no_command_lets_its_text_steer_the_terminal(home: Path) -> None:
    codes = []
    for command in COMMANDS:
        for more in ((), ("--json",)):
            code, out, said = call_for_all(home, (*command, *more))
            codes.append(code)
            assert STEERING.findall(out + said) == [], (command, out, said)
            assert "bug in minigpt" not in said, (command, said)
            if more:
                assert json.loads(out)["schema"] == 1
    assert set(codes) == {0, 2, 3, 4, 5}
