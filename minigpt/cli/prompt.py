"""The three ways to ask: one question, a stream of lines, a conversation on a terminal."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol

from minigpt.cli.process import Terminated, is_terminal, wants_colour
from minigpt.cli.text import safe
from minigpt.errors import DataError

if TYPE_CHECKING:
    from minigpt.cli.console import Console

BATCH = 16
LONGEST_LINE = 1 << 20
"""Bytes of one line of stdin, as of a line of a data file."""

PROMPT = "> "
HOW_TO_LEAVE = "Ctrl-D leaves"


class Answer(Protocol):
    """What the loop reads of an answer; the whole of it goes into the JSON."""

    @property
    def question(self) -> str:
        """What was asked."""

    @property
    def text(self) -> str:
        """The answer."""

    @property
    def stop_reason(self) -> str:
        """Why it ended: "stop", "length", "interrupted", "too long"."""

    @property
    def unknown(self) -> Sequence[str]:
        """Characters of the question that the vocabulary lacks."""


class Session(Protocol):
    """What answers: the chat service, or a test's stand-in."""

    @property
    def last(self) -> Answer:
        """The latest answer, once its pieces have been read."""

    def ask(self, question: str) -> Iterator[str]:
        """The answer's pieces, as they are drawn."""

    def ask_many(self, questions: Sequence[str]) -> Sequence[Answer]:
        """The answers, in order."""


def answer_one(session: Session, console: "Console", question: str) -> None:
    """Stream one answer to stdout."""
    if console.json:
        for _ in session.ask(question):
            pass
        console.write_json(as_json(session.last))
        return
    _stream(session, question)
    _remarks(session.last, console, told=set())


def answer_lines(session: Session, console: "Console", stdin: BinaryIO, *, encoding: str) -> None:
    """Answer each line of stdin with one line of stdout, as soon as it can be read."""
    told: set[str] = set()
    collected: list[dict[str, object]] = []
    for lines in _arriving(stdin, encoding=encoding):
        for first in range(0, len(lines), BATCH):
            batch = lines[first : first + BATCH]
            answers = iter(session.ask_many([line for line in batch if line.strip()]))
            for line in batch:
                answer = next(answers) if line.strip() else None
                if answer is not None:
                    _note_unknown(answer, console, told)
                    _warn_unanswered(answer, console)
                if console.json:
                    collected.append(as_json(answer) if answer else {"question": line, **_BLANK})
                else:
                    _write((safe(answer.text) if answer else "") + "\n")
    if console.json:
        console.write_json({"answers": collected})


_BLANK: dict[str, object] = {"answer": "", "stop_reason": "blank"}


def as_json(answer: Answer) -> dict[str, object]:
    """An answer as scripts read it: `question`, `answer` and how it came about."""
    from minigpt.cli.text import to_plain

    fields = to_plain(answer)
    return {"question": fields.pop("question"), "answer": fields.pop("text"), **fields}


def talk(session: Session, console: "Console") -> None:
    """Read questions from the terminal until Ctrl-D."""
    told: set[str] = set()
    console.remark(f"Ctrl-C stops an answer, {HOW_TO_LEAVE}")
    with contextlib.suppress(ImportError):  # Windows has its own line editor
        import readline  # noqa: F401 - input() uses it once it is imported
    while True:
        try:
            question = _read(PROMPT).strip()
        except EOFError:
            console.end_line()
            return
        except Terminated:
            raise
        except KeyboardInterrupt:
            console.end_line()
            console.remark(HOW_TO_LEAVE)
            continue
        if question:
            _converse(session, console, question, told)


def _converse(session: Session, console: "Console", question: str, told: set[str]) -> None:
    try:
        _stream(session, question)
    except Terminated:
        raise
    except KeyboardInterrupt:
        console.remark(f"stopped; {HOW_TO_LEAVE}")
    except DataError as error:  # this question cannot be answered; the next one may be
        console.say("error", error.message, hint=error.hint)
    else:
        _remarks(session.last, console, told)


def _stream(session: Session, question: str) -> None:
    """Write the answer as it comes; a line that was begun is ended, whatever happens."""
    end = ""
    try:
        for piece in session.ask(question):
            end = "\n"
            _write(safe(piece, keep="\n"))
        end = "\n"
    finally:
        _write(end)


def _remarks(answer: Answer, console: "Console", told: set[str]) -> None:
    _note_unknown(answer, console, told)
    if answer.stop_reason == "length":
        console.note("the answer was cut at its longest; --max-new-tokens allows more")


def _note_unknown(answer: Answer, console: "Console", told: set[str]) -> None:
    new = [character for character in answer.unknown if character not in told]
    told.update(new)
    if new:
        console.note(f"not in the vocabulary, so the model cannot read: {' '.join(new)}")


def _warn_unanswered(answer: Answer, console: "Console") -> None:
    if answer.stop_reason == "too long":
        console.say("warning", f"too long to be answered: {answer.question[:20]}...")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _read(prompt: str) -> str:
    """A line from the terminal; the prompt and the line editor's echo go to stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        stdout = os.dup(1)
    except OSError:
        return input(prompt)
    try:
        os.dup2(2, 1)  # input() and readline know only file 1
        return input(_marked(prompt))
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def _marked(prompt: str) -> str:
    if not wants_colour(sys.stderr):
        return prompt
    if "readline" not in sys.modules or not is_terminal(sys.stderr):
        return f"\x1b[1;36m{prompt}\x1b[0m"
    # Readline counts the prompt's cells; what stands between \x01 and \x02 takes none.
    return f"\x01\x1b[1;36m\x02{prompt}\x01\x1b[0m\x02"


def _arriving(stdin: BinaryIO, *, encoding: str) -> Iterator[list[str]]:
    """The lines that can be read without waiting, again and again until the end."""
    read = getattr(stdin, "read1", stdin.read)
    pending, number = b"", 0
    while True:
        chunk: bytes = read(1 << 16)
        *lines, pending = (pending + chunk).split(b"\n")
        if not chunk and pending:
            lines, pending = [pending], b""
        if any(len(line) > LONGEST_LINE for line in [*lines, pending]):
            raise DataError(f"stdin:{number + 1}: a line is longer than 1 MiB")
        if lines:
            yield [_decode(line, number + n, encoding) for n, line in enumerate(lines, start=1)]
            number += len(lines)
        if not chunk:
            return


def _decode(line: bytes, number: int, encoding: str) -> str:
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"stdin:{number}: not {encoding.upper()}",
            hint=f"convert it first: iconv -f ENCODING -t {encoding.upper()}",
        ) from error
    return text.removeprefix("\ufeff" if number == 1 else "").removesuffix("\r")
