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
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

QUOTE = ord('"')
_FIRST_TEXT = 0x20  # what is less can stand in JSON only between values, or escaped
_SPACE = " \t\r\n"  # of JSON
_SPACES = [chr(point).encode() for point in range(0x3002) if chr(point).isspace()]  # none is higher
# What a blank text begins with: the quote after it, or white space.
_MAY_BE_BLANK = np.isin(np.arange(256), [QUOTE, *(space[0] for space in _SPACES)])
_WIDE = 0xE0  # first byte of characters of three bytes, and least of them
_IS_WIDE_SPACE = np.zeros(0x3002, dtype=np.bool_)  # by code point; the last is none
_IS_WIDE_SPACE[[ord(space.decode()) for space in _SPACES if space[0] >= _WIDE]] = True


@dataclass(frozen=True)
class Texts:
    """What some lines hold.

    Attributes:
        points: [C] uint32 code points of questions and answers in turn, each followed by a quote,
            which is no text: room for a separator.
        ends: [pairs] int64; where each line ends, in bytes of the lines as they were given.
    """

    points: CodePoints
    ends: NDArray[np.int64]

    @cached_property
    def lengths(self) -> Lengths:
        """[pairs, 2] int64; characters of each question and answer, and the quote."""
        return _lengths(self.points).reshape(-1, 2)


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
        if between != usual or len(set(keys)) != fields:
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

    def read(self, lines: bytes) -> Texts | None:
        """The questions and answers of whole lines; None unless all have this layout and a pair.

        All quotes of the lines are found; the bytes around the values are then seen to stand where
        they should. Where no backslash and no control character is elsewhere either, this is the
        only way to read the lines: in a value all three would be escaped.
        """
        raw = np.frombuffer(lines, dtype=np.uint8)
        quotes = np.flatnonzero(raw == QUOTE)
        first, *joints, last = self.parts
        if not (lines.startswith(first) and lines.endswith(last)) or b"\\" in lines:
            return None
        if quotes.size % (4 * self.fields):
            return None
        closing = quotes.reshape(-1, 4 * self.fields)[:, 3::4].T.copy()  # [fields, lines]
        kept = np.ones(raw.size, dtype=np.bool_)
        kept[: len(first)] = kept[raw.size - len(last) + 1 :] = False
        for joint, places in [
            *zip(joints, closing, strict=False),
            (last + first, closing[-1, :-1]),
        ]:
            if not _take_out(joint, places, raw, kept):
                return None
        if np.count_nonzero(raw < _FIRST_TEXT) != self._controls * closing.shape[1]:
            return None
        try:
            points = np.frombuffer(str(raw[kept].data, "utf-8").encode("utf-32-le"), dtype="<u4")
        except UnicodeDecodeError:
            return None
        ends = closing[-1] + len(last)
        opening = [np.concatenate(([0], ends[:-1])), *closing[:-1]]
        for value in self.used:
            starts = opening[value] + len(self.parts[value])
            if _any_is_blank(lines, raw, starts, closing[value]):
                return None
        return Texts(self._used(points), ends)

    @cached_property
    def _controls(self) -> int:
        """Number of control characters around the values of a line."""
        return sum(byte < _FIRST_TEXT for part in self.parts for byte in part)

    def _used(self, points: CodePoints) -> CodePoints:
        """The question and the answer of all fields."""
        if self.used == (0, 1) and self.fields == len(self.used):
            return points
        lengths = _lengths(points).reshape(-1, self.fields)
        ends = lengths.cumsum().reshape(lengths.shape)[:, self.used].ravel()
        used = lengths[:, self.used].ravel()
        return points.take(_places(ends - used, used))


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


def _take_out(joint: bytes, places: NDArray[np.int64], raw: Bytes, kept: Mask) -> bool:
    """Whether the joint stands at all these places; if so, only its first byte is kept there."""
    if places.size and places[-1] > raw.size - len(joint):
        return False
    if _windows(raw, len(joint))[places].tobytes() != joint * places.size:
        return False
    _windows(kept, len(joint) - 1)[places + 1] = np.void(bytes(len(joint) - 1))
    return True


def _windows(array: Bytes | Mask, width: int) -> NDArray[np.void]:
    """[size - width + 1] so many bytes from each place on, as one item."""
    return np.ndarray(array.size - width + 1, f"V{width}", buffer=array.data, strides=1)


def _lengths(points: CodePoints) -> Lengths:
    """Characters of each text, and the quote after it."""
    return np.diff(np.flatnonzero(points == QUOTE), prepend=-1)


def _any_is_blank(lines: bytes, raw: Bytes, starts: Lengths, ends: Lengths) -> bool:
    """Whether a text between these bytes is empty or white space; few are looked at."""
    doubtful = np.flatnonzero(_MAY_BE_BLANK[raw[starts]])
    first, second, third = raw[starts[doubtful] + np.arange(3)[:, None]].astype(np.int64)
    # Most are punctuation, whose first byte is that of some white space.
    point = (first & 0x0F) << 12 | (second & 0x3F) << 6 | third & 0x3F
    doubtful = doubtful[(first < _WIDE) | _IS_WIDE_SPACE.take(point, mode="clip")]
    return any(
        not lines[start:end].decode("utf-8").strip()
        for start, end in zip(starts[doubtful].tolist(), ends[doubtful].tolist(), strict=True)
    )
