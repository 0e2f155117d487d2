"""Pairs of a question and an answer, and the JSONL files they are read from."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from minigpt.corpus.diagnosis import explain_no_pair
from minigpt.errors import DataError
from minigpt.events import BadLine, BadLines, Report, ignore
from minigpt.files import check_input

MAX_LINE_BYTES = 1 << 20
SHOWN_BAD_LINES = 5

_BOM = b"\xef\xbb\xbf"
# int() refuses numbers of more than 4,300 digits; no number is ever used here, so any type will do.
_DECODER = json.JSONDecoder(parse_int=float)


@dataclass(frozen=True, slots=True)
class QAPair:
    """A question and its answer, exactly as they stand in the file.

    Attributes:
        question: What is asked.
        answer: What the model learns to say.
        topic: The field `topic`; empty where there is none.
        answers: The field `answers`: all that count as right; empty where there is none.

    Example:
        >>> from minigpt import QAPair
        >>> QAPair("你好", "你好！").answer
        '你好！'
    """

    question: str
    answer: str
    topic: str = ""
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QALine:
    """A valid line of a file: its number from 1, its bytes without line end or BOM, its pair."""

    number: int
    raw: bytes
    pair: QAPair


@dataclass(frozen=True, slots=True)
class QAFile:
    """The valid lines of a file in their order, and how many were left out, by reason."""

    lines: list[QALine]
    by_reason: Mapping[str, int]

    @property
    def pairs(self) -> list[QAPair]:
        """The pairs of the valid lines."""
        return [line.pair for line in self.lines]

    @property
    def skipped(self) -> int:
        """Number of lines left out; blank ones do not count."""
        return sum(self.by_reason.values())


def read_file(
    path: Path,
    *,
    question_key: str = "question",
    answer_key: str = "answer",
    strict: bool = False,
    report: Report = ignore,
) -> QAFile:
    """Read a JSONL file; report the first bad lines one by one, then all of them by reason.

    Args:
        path: UTF-8, one JSON object a line; a BOM, CRLF and blank lines are fine.
        question_key: Field that holds the question.
        answer_key: Field that holds the answer; where it is absent, the first of `answers` is it.
        strict: Refuse a file that has any bad line.
        report: Receives `BadLine` and `BadLines`.

    Raises:
        DataError: The file cannot be read, holds no valid pair, or is refused by `strict`.
    """
    hint = "name an existing JSONL file, or set its place under [data] in minigpt.toml"
    check_input(path, error=DataError, what="the data", hint=hint)
    lines: list[QALine] = []
    bad = _Bad(path, report)
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(_raw_lines(file), start=1):
                if not raw.strip():
                    continue
                pair = parse_line(raw, question_key=question_key, answer_key=answer_key)
                if isinstance(pair, QAPair):
                    lines.append(QALine(number, raw, pair))
                else:
                    bad.add(number, raw, pair)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot read the data: {reason}", hint=hint) from error
    bad.finish()
    if not lines:
        raise explain_no_pair(path, bad.first, bad.first_raw, keys=(question_key, answer_key))
    if strict and bad.total:
        raise DataError(
            f"{path}: {bad.summary()}, and strict reading allows none",
            hint="correct them, or leave --strict out to skip them",
        )
    return QAFile(lines, dict(bad.by_reason))


def read_pairs(
    path: Path,
    *,
    question_key: str = "question",
    answer_key: str = "answer",
    strict: bool = False,
    report: Report = ignore,
) -> list[QAPair]:
    """Read the pairs of a JSONL file, as `read_file` does.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import read_pairs
        >>> pairs = read_pairs(Path("data/data.jsonl"))
        >>> len(pairs), pairs[0].question, pairs[0].answer
        (10, '天空是什么颜色？', '蓝色。')
    """
    return read_file(
        path, question_key=question_key, answer_key=answer_key, strict=strict, report=report
    ).pairs


def parse_line(raw: bytes, *, question_key: str, answer_key: str) -> QAPair | str:
    """The pair that a line holds, or the reason why it holds none."""
    if len(raw) > MAX_LINE_BYTES:
        return "line too long"
    try:
        fields = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return "not UTF-8"
    except RecursionError:
        return "nested too deeply"
    except ValueError:
        return "not JSON"
    if not isinstance(fields, dict):
        return "not an object"
    answers = _accepted_answers(fields.get("answers"))
    if answers:
        fields.setdefault(answer_key, answers[0])
    fault = _fault(fields, question_key) or _fault(fields, answer_key)
    if fault:
        return fault
    topic = fields.get("topic")
    pair = QAPair(
        fields[question_key], fields[answer_key], topic if isinstance(topic, str) else "", answers
    )
    return pair if _is_encodable(pair) else "lone surrogate"


def _accepted_answers(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value):
        return tuple(value)
    return ()


def _fault(fields: dict[str, Any], key: str) -> str:
    if key not in fields:
        return f"field {key!r} missing"
    if not isinstance(fields[key], str):
        return f"field {key!r} not a string"
    return "" if fields[key].strip() else f"field {key!r} empty"


def _is_encodable(pair: QAPair) -> bool:
    try:
        "".join((pair.question, pair.answer, pair.topic, *pair.answers)).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _raw_lines(file: BinaryIO) -> Iterator[bytes]:
    # A line over the limit comes back cut, still over the limit, and its rest is never held.
    most = len(_BOM) + MAX_LINE_BYTES + len(b"\r\n")
    while raw := file.readline(most):
        rest = raw
        while len(rest) == most and not rest.endswith(b"\n"):
            rest = file.readline(most)
        yield raw.removesuffix(b"\n").removesuffix(b"\r").removeprefix(_BOM)


class _Bad:
    """The lines left out of one file: the first reported one by one, all counted."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path = path
        self.report = report
        self.by_reason: Counter[str] = Counter()
        self.first: BadLine | None = None
        self.first_raw = b""
        self.total = 0

    def add(self, number: int, raw: bytes, reason: str) -> None:
        event = BadLine(self.path, number, reason)
        if self.first is None:
            self.first, self.first_raw = event, raw
        if self.total < SHOWN_BAD_LINES:
            self.report(event)
        self.total += 1
        self.by_reason[reason] += 1

    def finish(self) -> None:
        if self.total:
            self.report(BadLines(self.path, self.total, dict(self.by_reason)))

    def summary(self) -> str:
        assert self.first is not None
        lines = "1 bad line" if self.total == 1 else f"{self.total:,} bad lines"
        return f"{lines}, the first is line {self.first.line}: {self.first.reason}"
