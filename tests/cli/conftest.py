import os
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import minigpt.services
from minigpt.cli.main import main
from minigpt.settings import ChatSettings


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def _plain_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minigpt.cli.main.prepare_signals", lambda: None)
    for name in list(os.environ):
        if name.startswith("MINIGPT_") or name in {"NO_COLOR", "FORCE_COLOR", "RANK", "COLUMNS"}:
            monkeypatch.delenv(name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Done:
        code = main(arguments)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


Fake = Callable[..., None]


@pytest.fixture
def fake_service(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a module with the given names in the place of `minigpt.services.NAME`."""

    def replace(name: str, **names: Any) -> None:
        module = ModuleType(f"minigpt.services.{name}")
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(minigpt.services, name, module, raising=False)

    return replace


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    """The fields of the chat service's answer."""

    question: str
    text: str
    stop_reason: str = "stop"
    seed: int = 7
    tokens: int = 3
    seconds: float = 0.5
    tokens_per_s: float = 6.0
    seconds_to_first: float | None = 0.1
    unknown: tuple[str, ...] = ()


class FakeSession:
    """Answers a question with `re:` and the question, one character at a time."""

    def __init__(
        self, *, unknown: tuple[str, ...] = (), stop_reason: str = "stop", tokens: int = 3
    ) -> None:
        self.settings = ChatSettings()
        self.unknown = unknown
        self.stop_reason = stop_reason
        self.tokens = tokens
        self.batches: list[list[str]] = []
        self.last = FakeAnswer("", "")

    @classmethod
    def open(cls, settings: object, report: object = None) -> "FakeSession":
        return cls()

    def answer(self, question: str) -> FakeAnswer:
        return FakeAnswer(
            question,
            f"re:{question}",
            stop_reason=self.stop_reason,
            tokens=self.tokens,
            unknown=self.unknown,
        )

    def ask(self, question: str) -> Generator[str, None, None]:
        self.last = self.answer(question)
        yield from self.last.text

    def ask_many(self, questions: Sequence[str]) -> list[FakeAnswer]:
        self.batches.append(list(questions))
        return [self.answer(question) for question in questions]
