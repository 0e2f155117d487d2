"""The conversation as a person has it: the real program behind a pseudo-terminal."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import build_vocab
from minigpt.model.checkpoint import CheckpointInfo, save_checkpoint
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT

fcntl: Any = pytest.importorskip("fcntl")
termios: Any = pytest.importorskip("termios")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
CTRL_C, CTRL_D, BACKSPACE, UP, DOWN = b"\x03", b"\x04", b"\x7f", b"\x1b[A", b"\x1b[B"
SAID = "鹦" * 12  # the parrot's answer, as far as the loop guard lets it


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says one character, and says it four thousand times if one lets it."""
    return save_parrot(tmp_path_factory.mktemp("parrot") / "m.safetensors", "鹦")


def save_parrot(path: Path, word: str) -> Path:
    vocab = build_vocab([QAPair("几", "鹦鹉学舌" + word)])
    config = GPTConfig(vocab_size=vocab.size, n_layer=1, n_head=1, n_embd=8, block_size=4096)
    model = GPT(config)
    with torch.no_grad():  # the favourite's logit is 8, all others are 0
        model.transformer.wte.weight.zero_()[vocab.ids[word]] = 1
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1)
    save_checkpoint(path, model, vocab, CheckpointInfo(step=1, epoch=1, max_length=4096))
    return path


class Terminal:
    """A program whose stdin and stderr are a terminal; its stdout goes to a file, or `shows`."""

    def __init__(self, folder: Path, *arguments: str, editor: str, shows: bool = False) -> None:
        self.folder = folder
        self.master, self.slave = os.openpty()
        paths = [str(ROOT)]
        if editor == "readline":
            (folder / "hidden").mkdir()
            (folder / "hidden" / "prompt_toolkit.py").write_text("raise ImportError('hidden')")
            paths.insert(0, str(folder / "hidden"))
        variables = {k: v for k, v in os.environ.items() if not k.startswith("MINIGPT_")}
        variables |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        variables |= {"XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        with (folder / "stdout").open("wb") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "minigpt", "chat", "--device", "cpu", *arguments],
                cwd=folder,
                env=variables,
                stdin=self.slave,
                stderr=self.slave,
                stdout=self.slave if shows else stdout,
                start_new_session=True,
                # Its terminal is the one that turns Ctrl-C into a signal.
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        self.raw, self._seen = b"", 0

    def wait_for(self, words: str) -> None:
        """Read until the words have come since the last ones that were waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.screen:
            assert time.monotonic() < deadline, self.screen
            if select.select([self.master], [], [], 0.1)[0]:
                self.raw += os.read(self.master, 4096)
        self._seen += self.screen.index(words) + len(words)

    @property
    def screen(self) -> str:
        """What came since, without colours and movements."""
        text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self.raw).decode("utf-8", "replace")
        return text[self._seen :]

    def type(self, keys: str | bytes) -> None:
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def prompt(self) -> None:
        self.wait_for("> ")

    def ask(self, keys: str | bytes) -> None:
        """Type a question, and wait for its answer and the next prompt."""
        count = self.stdout.count("\n") + 1
        self.type(keys)
        self.type(b"\r")
        self.answers(count)
        self.prompt()

    def answers(self, count: int) -> None:
        """Wait until so many stand in the file."""
        deadline = time.monotonic() + PATIENCE_S
        while self.stdout.count("\n") < count:
            assert time.monotonic() < deadline, self.stdout
            time.sleep(0.02)

    def tell(self, command: str, answer: str) -> None:
        """Type a command, and wait for what it says and the next prompt."""
        self.type(f"{command}\r")
        self.wait_for(answer)
        self.prompt()

    def begins(self) -> None:
        """Wait until an answer has begun."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.stdout:
            assert time.monotonic() < deadline, self.screen
            time.sleep(0.02)

    def end(self) -> int:
        """The exit code."""
        return int(self.process.wait(PATIENCE_S))

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text("utf-8")

    @property
    def history(self) -> list[str]:
        path = self.folder / "state" / "minigpt" / "chat_history"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture(params=["prompt_toolkit", "readline"])
def editor(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture
def options() -> tuple[str, ...]:
    return ()


@pytest.fixture
def terminal(
    parrot: Path, tmp_path: Path, editor: str, options: tuple[str, ...]
) -> Iterator[Terminal]:
    model = ("--checkpoint", str(parrot), "--temperature", "0")
    opened = Terminal(tmp_path, *model, *options, editor=editor)
    yield opened
    opened.close()


def test_a_conversation_in_chinese(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.ask("几几啊".encode() + BACKSPACE)
    terminal.ask("学舌鹦鹉".encode() + BACKSPACE * 4 + "几".encode())
    terminal.ask(UP + UP)  # 几几
    terminal.ask(UP + UP + DOWN + "鹉".encode())
    terminal.type("dropped")
    terminal.wait_for("dropped")
    terminal.type(CTRL_C)
    terminal.wait_for("leaves")
    terminal.prompt()
    terminal.tell("／显示", "next seed")
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    assert terminal.stdout == f"{SAID}\n" * 4
    assert terminal.history == ["几几", "几", "几几", "几几鹉", "／显示"]
    assert terminal.echoes


def test_ctrl_c_stops_an_answer_and_the_next_question_is_answered(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.tell("/set loop_guard no", "False")
    terminal.tell("/set max_new_tokens 4000", "= 4000")
    terminal.type("几\r")
    terminal.begins()
    terminal.type(CTRL_C)
    terminal.wait_for("stopped")
    terminal.prompt()
    terminal.tell("/set loop_guard yes", "True")
    terminal.ask("几")
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    first, second = terminal.stdout.splitlines()
    assert 0 < len(first) < 4000
    assert second == SAID


def test_what_is_typed_while_an_answer_comes_is_there_at_the_next_prompt(
    terminal: Terminal,
) -> None:
    terminal.prompt()
    terminal.tell("/set loop_guard no", "False")
    terminal.tell("/set max_new_tokens 1000", "= 1000")
    terminal.type("几\r")
    terminal.begins()
    terminal.type("几鹉".encode() + BACKSPACE + "几".encode())
    terminal.answers(1)
    terminal.wait_for("> 几")
    terminal.type("\r")
    terminal.answers(2)
    terminal.prompt()
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    assert terminal.history[-1] == "几几"


def test_ctrl_d_while_an_answer_comes_leaves_after_it(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.tell("/set loop_guard no", "False")
    terminal.tell("/set max_new_tokens 1000", "= 1000")
    terminal.type("几\r")
    terminal.begins()
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    assert terminal.stdout == "鹦" * 1000 + "\n"
    assert terminal.echoes


def test_sigterm_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.type("几")
    terminal.wait_for("几")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 143
    terminal.wait_for("stopped")
    assert terminal.echoes


def test_a_damaged_model_is_told_without_a_question(tmp_path: Path, editor: str) -> None:
    (tmp_path / "damaged").write_bytes(b"x" * 99)
    terminal = Terminal(tmp_path, "--checkpoint", "damaged", editor=editor)
    try:
        terminal.wait_for("error: damaged")
        assert terminal.end() == 4
        assert terminal.echoes
    finally:
        terminal.close()


@pytest.mark.parametrize("options", [("--no-history",)])
def test_without_a_history_nothing_is_kept(terminal: Terminal, tmp_path: Path) -> None:
    terminal.prompt()
    terminal.ask("几")
    terminal.ask(UP)
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    assert terminal.stdout == f"{SAID}\n" * 2
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("evil", ["\u202e", "\u2066", "\x07", "\x9b", "\u2028"])
def test_neither_answers_nor_names_steer_the_terminal(
    evil: str, tmp_path: Path, editor: str
) -> None:
    model = save_parrot(tmp_path / f"m{evil}.safetensors", evil)
    options = ("--checkpoint", str(model), "--temperature", "0", "--stats")
    terminal = Terminal(tmp_path, *options, editor=editor, shows=True)
    try:
        terminal.prompt()
        terminal.type("几\r")
        terminal.wait_for("tokens")
        terminal.prompt()
        terminal.tell("/why", "choices")
        terminal.tell("/show", "safetensors")
        terminal.tell("/model nowhere", "error")
        terminal.tell("/retry", "same")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
        assert evil.encode() not in terminal.raw
    finally:
        terminal.close()
