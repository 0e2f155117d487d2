"""Questions from a pipe: one line in, one line out, in order and as soon as it can be read."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from minigpt.cli.answer import Answer, Remarks, Session, as_json, write
from minigpt.cli.text import safe, to_plain
from minigpt.errors import DataError
from minigpt.events import BadLine, BadLines
from minigpt.settings import ChatSettings, DataSettings

if TYPE_CHECKING:
    from minigpt.cli.console import Console

BATCH = 64
LONGEST_LINE = 1 << 20
"""Bytes of one line of stdin, as of a line of a data file."""
SHOWN_BAD_LINES = 5  # as of a data file
STDIN = Path("stdin")
EXPECTED = "expected"  # under this key --jsonl keeps an answer that the object has already
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of stdin: its question, empty where there is none, and what comes back with it."""

    question: str
    fields: Mapping[str, Any]


class Form(Protocol):
    """How lines hold questions, and how answers are written."""

    def read(self, number: int, raw: bytes) -> Line:
        """What the line holds."""

    def write(self, line: Line, answer: Answer | None) -> None:
        """Write what belongs to the line; there is no answer where it asked nothing."""

    def end(self) -> None:
        """Write what comes after all lines."""


def answer_lines(
    session: Session, console: "Console", stdin: BinaryIO, *, form: Form, settings: ChatSettings
) -> None:
    """Answer each line of stdin with one line of stdout, as soon as it can be read.

    Raises:
        DataError: The form is text, and a line is too long, or not in its encoding.
    """
    remarks = Remarks(console)
    for arrived in _arriving(stdin):
        for first in range(0, len(arrived), BATCH):
            lines = [form.read(number, raw) for number, raw in arrived[first : first + BATCH]]
            answers = session.ask_many([line.question for line in lines if line.question])
            waiting = iter(answers)
            for line in lines:
                form.write(line, next(waiting) if line.question else None)
            sys.stdout.flush()
            remarks.after_batch(answers, settings=settings)
    form.end()
    remarks.summary()


def form_of(console: "Console", data: DataSettings, *, jsonl: bool) -> Form:
    """The form that was asked for."""
    if jsonl:
        return JsonLines(console, question_key=data.question_key, answer_key=data.answer_key)
    encoding = sys.stdin.encoding or "utf-8"
    return TextToJson(encoding, console) if console.json else TextLines(encoding)


class TextLines:
    """One question a line, one answer a line."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding

    def read(self, number: int, raw: bytes) -> Line:
        """The line is the question."""
        if len(raw) > LONGEST_LINE:
            raise DataError(f"stdin:{number}: a line is longer than 1 MiB")
        text = _decode(raw, number, self.encoding)
        return Line(text if text.strip() else "", {"question": text})

    def write(self, line: Line, answer: Answer | None) -> None:
        """The answer is a line; where there is none, it is empty."""
        write((safe(answer.text) if answer else "") + "\n")

    def end(self) -> None:
        """Nothing follows."""


class TextToJson(TextLines):
    """One question a line; all answers in one JSON object at the end."""

    def __init__(self, encoding: str, console: "Console") -> None:
        super().__init__(encoding)
        self.console = console
        self._answers: list[dict[str, object]] = []

    def write(self, line: Line, answer: Answer | None) -> None:
        """Keep the answer."""
        blank = {**line.fields, "answer": "", "stop_reason": "blank"}
        self._answers.append(as_json(answer) if answer else blank)

    def end(self) -> None:
        """The object follows."""
        self.console.write_json({"answers": self._answers})


class JsonLines:
    """One JSON object a line; it comes back with its answer, `stop_reason` and `seed`.

    A line without a question comes back with `error`; a blank one is blank again. An answer that
    the object brings along is kept as `expected`.
    """

    def __init__(self, console: "Console", *, question_key: str, answer_key: str) -> None:
        self.console = console
        self.question_key = question_key
        self.answer_key = answer_key
        self._bad: Counter[str] = Counter()

    def read(self, number: int, raw: bytes) -> Line:
        """The question stands in the object under the question's key."""
        raw = raw.removeprefix(_BOM)
        if not raw.strip():
            return Line("", {})
        question, fault = _question(raw, self.question_key)
        fields = _fields(raw)
        if fields is None and not fault:
            fault = "nested too deeply"
        if fault:
            self._report(BadLine(STDIN, number, fault))
            return Line("", {**(fields or {}), "error": f"line {number}: {fault}"})
        return Line(question, fields or {})

    def write(self, line: Line, answer: Answer | None) -> None:
        """The object, with what is known now; a blank line for a blank one."""
        fields = dict(line.fields)
        if answer is not None:
            facts = as_json(answer)
            if self.answer_key in fields:
                fields.setdefault(EXPECTED, fields[self.answer_key])
            fields[self.answer_key] = facts["answer"]
            fields |= {name: facts[name] for name in ("stop_reason", "seed")}
        self.console.write_json_line(fields or None)

    def end(self) -> None:
        """Nothing follows but the number of bad lines."""
        if self._bad:
            self.console.report(BadLines(STDIN, self._bad.total(), self._bad))

    def _report(self, bad: BadLine) -> None:
        if self._bad.total() < SHOWN_BAD_LINES:
            self.console.report(bad)
        self._bad[bad.reason] += 1


def _question(raw: bytes, key: str) -> tuple[str, str]:
    """The question that the object of a line holds under `key`, or else what is wrong with it."""
    from minigpt.corpus.qa import QAPair, parse_line

    # A line needs no answer here: the question stands in for it.
    pair = parse_line(raw, question_key=key, answer_key=key)
    return (pair.question, "") if isinstance(pair, QAPair) else ("", pair)


def _fields(raw: bytes) -> dict[str, Any] | None:
    """The object that a line holds, in values that can be written back; None without one."""
    try:
        fields = json.loads(raw.decode("utf-8"))
        return to_plain(fields) if isinstance(fields, dict) else None
    except (ValueError, RecursionError):
        return None


def _arriving(stdin: BinaryIO) -> Iterator[list[tuple[int, bytes]]]:
    """The numbered lines that can be read without waiting, again and again until the end.

    A line over the limit comes at once, cut, still over the limit; its rest is never held.
    """
    read = getattr(stdin, "read1", stdin.read)
    pending, count, is_cut = b"", 0, False
    while True:
        chunk: bytes = read(1 << 16)
        *lines, pending = (pending + chunk).split(b"\n")
        if is_cut:  # the line over the limit has been given, without its rest
            is_cut = not lines
            lines, pending = lines[1:], b"" if is_cut else pending
        if pending and (not chunk or len(pending) > LONGEST_LINE):
            is_cut = bool(chunk)
            lines, pending = [*lines, pending], b""
        if lines:
            yield [(count + n, line.removesuffix(b"\r")) for n, line in enumerate(lines, start=1)]
            count += len(lines)
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
    return text.removeprefix("\ufeff" if number == 1 else "")
