"""One answer: streamed to stdout, with the remarks that belong to it on stderr."""

import contextlib
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

from rich.text import Text

from minigpt.cli.text import safe, to_plain

if TYPE_CHECKING:
    from minigpt.cli.console import Console
    from minigpt.settings import ChatSettings

LONGER = "--max-new-tokens allows more"
FREER = "--repetition-penalty 1.2 may help, --no-loop-guard lets it go on"
LONGER_IN_TALK = "/set max_new_tokens allows more"
FREER_IN_TALK = "/set repetition_penalty 1.2 may help, /set loop_guard no lets it go on"
FULL = "question and answer fill what the model was trained on"


class Answer(Protocol):
    """What is read of an answer here; the whole of it goes into the JSON."""

    @property
    def question(self) -> str:
        """What was asked."""

    @property
    def text(self) -> str:
        """The answer."""

    @property
    def stop_reason(self) -> str:
        """Why it ended: "stop", "length", "loop", "interrupted", "too long"."""

    @property
    def tokens(self) -> int:
        """Tokens of the answer."""

    @property
    def tokens_per_s(self) -> float:
        """How fast they came."""

    @property
    def seconds_to_first(self) -> float | None:
        """When the first one came; None when it is not known."""

    @property
    def unknown(self) -> Sequence[str]:
        """Characters of the question that the vocabulary lacks."""


class Session(Protocol):
    """What answers: the chat service, or a test's stand-in."""

    @property
    def last(self) -> Answer:
        """The latest answer, once its pieces have been read."""

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer's pieces, as they are drawn."""

    def ask_many(self, questions: Sequence[str]) -> Sequence[Answer]:
        """The answers, in order."""


def stream(session: Session, question: str) -> None:
    """Write the answer as it comes; a line that was begun is ended, whatever happens."""
    end = ""
    try:
        # Closed at once, so that `last` is there even when the answer is stopped.
        with contextlib.closing(session.ask(question)) as pieces:
            for piece in pieces:
                end = "\n"
                write(safe(piece, keep="\n"))
        end = "\n"
    finally:
        write(end)


def write(text: str) -> None:
    """Write to stdout, now."""
    sys.stdout.write(text)
    sys.stdout.flush()


def as_json(answer: Answer) -> dict[str, object]:
    """An answer as scripts read it: `question`, `answer` and how it came about."""
    fields = to_plain(answer)
    return {"question": fields.pop("question"), "answer": fields.pop("text"), **fields}


class Remarks:
    """What is said on stderr about answers; an unknown character is named once."""

    def __init__(self, console: "Console", *, in_talk: bool = False) -> None:
        self.console = console
        self._longer = LONGER_IN_TALK if in_talk else LONGER
        self._freer = FREER_IN_TALK if in_talk else FREER
        self._told: set[str] = set()
        self._reasons: Counter[str] = Counter()

    def after(self, answer: Answer, *, settings: "ChatSettings") -> None:
        """What is worth saying about one answer."""
        self._name_unknown(answer)
        if not answer.text:
            self.console.remark("the answer is empty")
        reason = _why_ended(answer, settings)
        if reason == "length":
            self.console.note(f"the answer was cut at its longest; {self._longer}")
        elif reason == "full":
            self.console.note(f"the answer was cut: {FULL}")
        elif reason == "loop":
            self.console.note(f"the answer went round in circles and was stopped; {self._freer}")
        if settings.stats:
            self._say_speed(answer)

    def after_batch(self, answers: Sequence[Answer], *, settings: "ChatSettings") -> None:
        """What is worth saying about answers of a pipe, now."""
        for answer in answers:
            self._name_unknown(answer)
            if answer.stop_reason == "too long":
                shown = answer.question[:20]
                self.console.say("warning", f"too long to be answered: {shown}...")
            if settings.stats:
                self._say_speed(answer)
        self._reasons.update(_why_ended(answer, settings) for answer in answers)

    def summary(self) -> None:
        """What is worth saying about all answers of a pipe."""
        answers = f"of {self._reasons.total():,} answers"
        if cut := self._reasons["length"]:
            self.console.note(f"{cut:,} {answers} cut at the longest; {self._longer}")
        if full := self._reasons["full"]:
            self.console.note(f"{full:,} {answers} cut: {FULL}")
        if loops := self._reasons["loop"]:
            self.console.note(
                f"{loops:,} {answers} went round in circles and stopped; {self._freer}"
            )

    def _name_unknown(self, answer: Answer) -> None:
        new = [character for character in answer.unknown if character not in self._told]
        self._told.update(new)
        if new:
            self.console.note(f"not in the vocabulary, so the model cannot read: {' '.join(new)}")

    def _say_speed(self, answer: Answer) -> None:
        unit = "token" if answer.tokens == 1 else "tokens"
        parts = [f"{answer.tokens:,} {unit}", f"{answer.tokens_per_s:,.0f} tokens/s"]
        if answer.seconds_to_first is not None:
            parts.append(f"the first after {answer.seconds_to_first * 1000:,.0f} ms")
        self.console.err_line(Text(f"({', '.join(parts)})", style="dim"))


def _why_ended(answer: Answer, settings: "ChatSettings") -> str:
    """The stop reason; "full" where the model had no room for as much as the settings allow."""
    is_full = answer.stop_reason == "length" and answer.tokens < settings.max_new_tokens
    return "full" if is_full else answer.stop_reason
