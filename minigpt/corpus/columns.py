"""The pairs of a block side by side, as arrays instead of objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.blocks import Block
from minigpt.corpus.layout import CodePoints, Layout, Lengths, Texts
from minigpt.corpus.left_out import BadRow
from minigpt.corpus.objects import ObjectReader
from minigpt.corpus.qa import BOM, MAX_LINE_BYTES, MOST_READ, parse_fields, without_ends

_FEW = 1_024  # with fewer bytes for each backslash, lines are looked at one by one

# Lines together; the others without line end, and each after how many bytes of those.
Aside = tuple[bytes, list[tuple[int, bytes]]]


@dataclass(frozen=True)
class Columns:
    """What a block holds.

    Attributes:
        block: The block.
        code_points: [C] uint32; questions and answers in turn, each followed by one place that is
            no text: room for a separator.
        lengths: [pairs, 2] int64; characters of each question and answer, and that place.
        lines: Number of lines, blank and bad ones included.
        without_pair: Numbers, from 0, of the lines that hold no pair.
        bad: Those of them that are not blank, with their numbers in the block, from 0.
    """

    block: Block
    code_points: CodePoints
    lengths: Lengths
    lines: int
    without_pair: tuple[int, ...]
    bad: tuple[BadRow, ...]

    def spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the bytes of each pair's line begin in the file, and how many they are.

        They count neither the line end nor a BOM.
        """
        raw = np.frombuffer(self.block.raw, dtype=np.uint8)
        ends = np.flatnonzero(raw == ord("\n"))
        if not self.block.raw.endswith(b"\n"):
            ends = np.append(ends, raw.size)
        starts = np.concatenate(([0], ends[:-1] + 1))
        starts, ends = (np.delete(array, self.without_pair) for array in (starts, ends))
        ends -= raw[ends - 1] == ord("\r")
        for index in np.flatnonzero(raw[starts] == BOM[0]).tolist():
            starts[index] += len(BOM)  # a line that holds a pair and begins so begins with a BOM
        return starts + self.block.start, ends - starts


class ColumnReader:
    """Reads blocks; lines of the usual layout all at once, others one by one.

    Pairs, bad lines and reasons are those of `parse_line`, whatever the block holds.
    """

    def __init__(self, *, question_key: str, answer_key: str) -> None:
        self.question_key = question_key
        self.answer_key = answer_key
        self._layout: Layout | None = None
        self._objects = ObjectReader(question_key, answer_key)

    def read(self, block: Block) -> Columns:
        """Read a block."""
        if len(block.raw) > MAX_LINE_BYTES:  # a line may be over the limit, or cut
            return self._merge(block, None, [(0, line) for line in _lines(block.raw)])
        raw = block.raw if block.raw.endswith(b"\n") else block.raw + b"\n"
        usual, others = _set_escapes_aside(raw)
        texts = self._read_usual(usual)
        if texts is None and self._layout is not None:
            usual, others = _set_aside(raw, self._layout.line.fullmatch)
            texts = self._layout.read(usual)
        if texts is None:
            others = [(0, line) for line in _lines(raw)]
        return self._merge(block, texts, others)

    def _read_usual(self, lines: bytes) -> Texts | None:
        if self._layout is not None:
            texts = self._layout.read(lines)
            if texts is not None:
                return texts
        first = lines[: lines.find(b"\n") + 1]
        layout = Layout.of(
            first.removeprefix(BOM), question_key=self.question_key, answer_key=self.answer_key
        )
        if layout is None or layout == self._layout:
            return None
        self._layout = layout
        return layout.read(lines)

    def _merge(
        self, block: Block, texts: Texts | None, others: Sequence[tuple[int, bytes]]
    ) -> Columns:
        """Put the pairs of the other lines where they belong among the usual ones."""
        usual = texts or Texts(
            np.empty(0, np.uint32), np.empty((0, 2), np.int64), np.empty(0, np.int64)
        )
        before = np.searchsorted(usual.places, [place for place, _ in others]).tolist()
        found = self._objects.read([line for _, line in others])
        without_pair: list[int] = []
        bad: list[BadRow] = []
        for index in [index for index, each in enumerate(found) if each is None]:
            raw = without_ends(others[index][1][:MOST_READ])
            fields = self._fields(raw) if raw.strip() else ""
            if not isinstance(fields, str):
                found[index] = fields[self.question_key], fields[self.answer_key]
                continue
            without_pair.append(before[index] + index)
            if fields:
                bad.append(BadRow(before[index] + index, raw, fields))
        points, lengths = _inserted(
            usual,
            [place for place, each in zip(before, found, strict=True) if each is not None],
            [*chain.from_iterable(each for each in found if each is not None)],
        )
        lines = len(usual.lengths) + len(others)
        return Columns(block, points, lengths, lines, tuple(without_pair), tuple(bad))

    def _fields(self, raw: bytes) -> dict[str, Any] | str:
        return parse_fields(raw, question_key=self.question_key, answer_key=self.answer_key)


def _inserted(
    usual: Texts, before: Sequence[int], texts: Sequence[str]
) -> tuple[CodePoints, Lengths]:
    """The usual pairs with others among them, each after so many of the usual ones."""
    points, lengths = usual.points, usual.lengths
    if not texts:
        return points, lengths
    new_points = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le"), dtype="<u4")
    new_lengths = np.fromiter(map(len, texts), np.int64, len(texts)).reshape(-1, 2) + 1
    if not lengths.size:
        return new_points, new_lengths
    ends = np.concatenate(([0], lengths.sum(axis=1).cumsum()))
    pieces: list[CodePoints] = []
    done = new_done = 0
    for cut, size in zip(ends[before].tolist(), new_lengths.sum(axis=1).tolist(), strict=True):
        pieces += [points[done:cut], new_points[new_done : new_done + size]]
        done, new_done = cut, new_done + size
    new = np.concatenate([*pieces, points[done:]])
    return new, np.insert(lengths, before, new_lengths, axis=0)


def _lines(raw: bytes) -> list[bytes]:
    return raw.removesuffix(b"\n").split(b"\n")


def _set_escapes_aside(raw: bytes) -> Aside:
    """The lines without a backslash together, and the others."""
    if raw.count(b"\\") * _FEW > len(raw):
        return _set_aside(raw, lambda line: b"\\" not in line)
    others: list[tuple[int, bytes]] = []
    usual: list[bytes] = []
    done = size = 0
    while (place := raw.find(b"\\", done)) >= 0:
        start = raw.rfind(b"\n", done, place) + 1 or done
        end = raw.find(b"\n", place) + 1
        usual.append(raw[done:start])
        size += start - done
        others.append((size, raw[start : end - 1]))
        done = end
    return (b"".join([*usual, raw[done:]]), others) if others else (raw, others)


def _set_aside(raw: bytes, is_usual: Callable[[bytes], object]) -> Aside:
    usual: list[bytes] = []
    others: list[tuple[int, bytes]] = []
    size = 0
    for line in _lines(raw):
        if is_usual(line):
            usual.append(line)
            size += len(line) + 1
        else:
            others.append((size, line))
    return b"".join(line + b"\n" for line in usual), others
