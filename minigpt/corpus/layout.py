"""Lines that differ in nothing but their values, read all at once.

A file is usually written by one program, so that each line has the same bytes around its values.
Cutting a block at those bytes leaves the values; what is checked then proves that each line was
valid JSON with just these fields.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

CodePoints = NDArray[np.uint32]
Lengths = NDArray[np.int64]

_MOST_FIELDS = 8  # each has its mark, and no mark may be white space: 1 to 8 are none
_FIRST_TEXT = 0x20  # what is less can stand in JSON only between values, or escaped
_SPACE = " \t\r\n"  # of JSON
_IS_SPACE = np.array([chr(point).isspace() for point in range(0x3002)])  # none is higher


@dataclass(frozen=True)
class Layout:
    """The bytes around the values of a line whose fields are all strings.

    Attributes:
        parts: What stands before the first value, between two, and after the last, with line end.
        used: Which values are the question and the answer.
    """

    parts: tuple[bytes, ...]
    used: tuple[int, int]

    @classmethod
    def of(cls, line: bytes, *, question_key: str, answer_key: str) -> Self | None:
        """The layout of a line with its line end; None where it is of another form."""
        pieces = line.split(b'"')  # space, key, space, value, space, key, ..., value, space
        if len(pieces) < 5 or len(pieces) % 4 != 1 or not line.endswith(b"\n") or b"\\" in line:
            return None
        try:
            keys = [key.decode("utf-8") for key in pieces[1::4]]
            between = [text.decode("ascii").strip(_SPACE) for text in pieces[::2]]
        except UnicodeDecodeError:
            return None
        fields = len(keys)
        usual = ["{", *[":", ","] * (fields - 1), ":", "}"]
        if between != usual or len(set(keys)) != fields or fields > _MOST_FIELDS:
            return None
        if any(ord(character) < _FIRST_TEXT for character in "".join(keys)):
            return None
        if question_key not in keys or answer_key not in keys:
            return None
        return cls(
            tuple(_around_values(pieces)), (keys.index(question_key), keys.index(answer_key))
        )

    @property
    def fields(self) -> int:
        """Number of fields of a line."""
        return len(self.parts) - 1

    @cached_property
    def line(self) -> re.Pattern[bytes]:
        """What a line of this layout is, without its newline; its text may be no UTF-8."""
        value = rb'[^"\\\x00-\x1f]*+'
        *parts, last = self.parts
        return re.compile(value.join(map(re.escape, [*parts, last.removesuffix(b"\n")])))

    def read(self, lines: bytes) -> tuple[CodePoints, Lengths] | None:
        """The questions and answers of whole lines.

        Returns:
            [C] code points, each part followed by one place that is no text, and [pairs, 2] lengths
            of the parts with that place; None unless every line has this layout and holds a pair.
        """
        try:
            marked, count = self._marked(lines)
            points = np.frombuffer(marked.decode("utf-8").encode("utf-32-le"), dtype="<u4")
        except UnicodeDecodeError:
            return None
        marks = np.flatnonzero(points < _FIRST_TEXT)
        if marks.size != count or marks.size % self.fields:
            return None
        numbers = points[marks].reshape(-1, self.fields)
        if (numbers != np.arange(1, self.fields + 1)).any():
            return None
        lengths = np.diff(marks, prepend=-1)
        ends = marks.reshape(numbers.shape)[:, self.used].ravel() + 1
        used_lengths = lengths.reshape(numbers.shape)[:, self.used].ravel()
        if self.used != (0, 1) or self.fields > len(self.used):
            points = points.take(_places(ends - used_lengths, used_lengths))
            ends = used_lengths.cumsum()
        if _any_is_blank(points, ends - used_lengths, used_lengths):
            return None
        return points, used_lengths.reshape(-1, 2)

    def _marked(self, lines: bytes) -> tuple[bytes, int]:
        """The values alone, each followed by a mark, a control character that says which it is.

        Where no quote and no backslash is left, and the marks that are then found are as many as
        were set, in their order, this is the only way to read the lines: a value holds no quote, no
        backslash and no control character, which would have to be escaped, and all else is layout.

        Returns:
            The marked values and the number of marks; no mark where the lines are of another form.
        """
        first, *joints, last = self.parts
        if not (lines.startswith(first) and lines.endswith(last)):
            return b"", -1
        body = lines[len(first) : len(lines) - len(last)]
        marks = 1
        for number, joint in enumerate([*joints, last + first], start=1):
            values = body.split(joint)
            marks += len(values) - 1
            body = bytes([number]).join(values)
        if b'"' in body or b"\\" in body:
            return b"", -1
        return body + bytes([self.fields]), marks


def _around_values(pieces: Sequence[bytes]) -> Iterator[bytes]:
    yield b'"'.join([*pieces[:3], b""])
    for start in range(4, len(pieces) - 1, 4):
        yield b'"'.join([b"", *pieces[start : start + 3], b""])
    yield b'"' + pieces[-1]


def _places(starts: Lengths, lengths: Lengths) -> NDArray[np.int64]:
    """The places of all parts, one part after the other."""
    ends = lengths.cumsum()
    places = np.arange(ends[-1])
    places += np.repeat(starts - (ends - lengths), lengths)
    return places


def _any_is_blank(points: CodePoints, starts: Lengths, lengths: Lengths) -> bool:
    """Whether a part is empty or white space; only those that begin with it are looked at."""
    doubtful = np.flatnonzero((lengths == 1) | _IS_SPACE.take(points[starts], mode="clip"))
    return any(
        not points[starts[part] : starts[part] + lengths[part] - 1]
        .tobytes()
        .decode("utf-32-le")
        .strip()
        for part in doubtful.tolist()
    )
