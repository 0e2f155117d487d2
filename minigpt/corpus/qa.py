"""Pairs of a question and an answer, and the JSONL files they are read from."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from minigpt.corpus.diagnosis import is_gb18030
from minigpt.corpus.left_out import BadRow, LeftOut
from minigpt.errors import DataError
from minigpt.events import Report, ignore
from minigpt.files import check_input

MAX_LINE_BYTES = 1 << 20

BOM = b"\xef\xbb\xbf"
MOST_READ = len(BOM) + MAX_LINE_BYTES + len(b"\r\n")  # of a line


class _RepeatedKeyError(ValueError):
    """An object says two things under one key."""


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) != len(fields):
        raise _RepeatedKeyError
    return found


# int() refuses numbers of more than 4,300 digits; no number is ever used here, so any type will do.
_DECODER = json.JSONDecoder(parse_int=float, object_pairs_hook=_object)


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
    lines: list[QALine] = []
    left_out = LeftOut(path, report)
    with open_data(path) as file:
        for number, raw in enumerate(raw_lines(file), start=1):
            if not raw.strip():
                continue
            pair = parse_line(raw, question_key=question_key, answer_key=answer_key)
            if isinstance(pair, QAPair):
                lines.append(QALine(number, raw, pair))
            else:
                left_out.add([BadRow(number, raw, pair)], {pair: 1})
    left_out.finish(pairs=len(lines), strict=strict, keys=(question_key, answer_key))
    return QAFile(lines, dict(left_out.by_reason))


@contextlib.contextmanager
def open_data(path: Path) -> Iterator[BinaryIO]:
    """A data file, open for reading.

    Raises:
        DataError: It cannot be opened, or reading it fails while it is open.
    """
    hint = "name an existing JSONL file, or set its place under [data] in minigpt.toml"
    check_input(path, error=DataError, what="the data", hint=hint)
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot read the data: {reason}", hint=hint) from error


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
    fields = parse_fields(raw, question_key=question_key, answer_key=answer_key)
    if isinstance(fields, str):
        return fields
    topic = fields.get("topic")
    return QAPair(
        fields[question_key],
        fields[answer_key],
        topic if isinstance(topic, str) else "",
        accepted_answers(fields.get("answers")),
    )


def parse_fields(raw: bytes, *, question_key: str, answer_key: str) -> dict[str, Any] | str:
    """The fields of a line that holds a pair, or the reason why it holds none."""
    if len(raw) > MAX_LINE_BYTES:
        return "line too long"
    try:
        fields = _decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return "not UTF-8 but GB18030" if is_gb18030(raw) else "not UTF-8"
    except _RepeatedKeyError:
        return "a key twice"
    except RecursionError:
        return "nested too deeply"
    except ValueError:
        return "not JSON"
    if not isinstance(fields, dict):
        return "not an object"
    answers = accepted_answers(fields.get("answers"))
    if answers:
        fields.setdefault(answer_key, answers[0])
    fault = _fault(fields, question_key) or _fault(fields, answer_key)
    if fault:
        return fault
    if b"\\u" in raw and not _is_encodable(fields, question_key, answer_key):
        return "lone surrogate"
    return fields


def _decode(text: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if text[:1] == "{" and text[-1:] == "}":  # the usual line: no space around it to look for
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    return _DECODER.decode(text)


def accepted_answers(value: object) -> tuple[str, ...]:
    """All that count as right, of what stands in the field `answers`; empty if it is no list."""
    if isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value):
        return tuple(value)
    return ()


def _fault(fields: dict[str, Any], key: str) -> str:
    if key not in fields:
        return f"field {key!r} missing"
    if not isinstance(fields[key], str):
        return f"field {key!r} not a string"
    return "" if fields[key].strip() else f"field {key!r} empty"


def _is_encodable(fields: dict[str, Any], *keys: str) -> bool:
    kept = [fields[key] for key in keys] + [*accepted_answers(fields.get("answers"))]
    topic = fields.get("topic")
    try:
        "".join([*kept, topic if isinstance(topic, str) else ""]).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def raw_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, each without its line end and without a BOM before it.

    A line over the limit comes back cut, still over the limit, and its rest is never held.
    """
    while raw := file.readline(MOST_READ):
        rest = raw
        while len(rest) == MOST_READ and not rest.endswith(b"\n"):
            rest = file.readline(MOST_READ)
        yield without_ends(raw)


def without_ends(raw: bytes) -> bytes:
    """A line as it is parsed: without its line end and without a BOM before it."""
    return raw.removesuffix(b"\n").removesuffix(b"\r").removeprefix(BOM)
