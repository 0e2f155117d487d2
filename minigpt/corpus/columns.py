"""The pairs of a block side by side, as arrays instead of objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.blocks import Block
from minigpt.corpus.hashing import Hashes, hash_parts
from minigpt.corpus.layout import QUOTE, CodePoints, Layout, Lengths, Texts
from minigpt.corpus.left_out import BadRow
from minigpt.corpus.objects import ObjectReader
from minigpt.corpus.qa import BOM, MAX_LINE_BYTES, MOST_READ, parse_fields, without_ends

_FEW = 1_024  # with fewer bytes for each backslash, lines are looked at one by one
_SAMPLE = 64 * 1024  # bytes at the beginning of a block in which they are counted

_NOTHING = Texts(np.empty(0, np.uint32), np.empty(0, np.int64))

# Lines that are read one by one, without line end, and after how many bytes of the others.
Aside = Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class Columns:
    """What a block holds; what is asked for is worked out then.

    Attributes:
        block: The block.
        usual: What its usual lines hold.
        others: Its other lines, without line end.
        before: How many of the usual lines stand before each of those.
        found: The question and the answer of each of those, or None.
        bad: Those of them that hold no pair and are not blank, with their numbers in the block,
            from 0.
    """

    block: Block
    usual: Texts
    others: Sequence[bytes]
    before: Sequence[int]
    found: Sequence[tuple[str, str] | None]
    bad: tuple[BadRow, ...]

    @property
    def lines(self) -> int:
        """Number of lines, blank and bad ones included."""
        return self.usual.ends.size + len(self.others)

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.lines - self.found.count(None)

    @cached_property
    def lengths(self) -> Lengths:
        """[pairs, 2] int64; characters of each question and answer, and one place after it."""
        return self._in_order(self.usual.lengths, self._other_lengths)

    @property
    def code_points(self) -> CodePoints:
        """[C] uint32; questions and answers in turn, each followed by one place that is no text."""
        points, others = self.usual.points, self._other_points
        ends = np.concatenate(([0], self.usual.lengths.sum(axis=1).cumsum()))
        pieces: list[CodePoints] = []
        done = other_done = 0
        sizes = self._other_lengths.sum(axis=1).tolist()
        for cut, size in zip(ends[self._pairs_before].tolist(), sizes, strict=True):
            pieces += [points[done:cut], others[other_done : other_done + size]]
            done, other_done = cut, other_done + size
        return np.concatenate([*pieces, points[done:]]) if pieces else points

    def hashes(self) -> Hashes:
        """[pairs, 2]; numbers that are alike for texts that are."""
        usual, others = (
            hash_parts(points, lengths.ravel()).reshape(-1, 2)
            for points, lengths in (
                (self.usual.points, self.usual.lengths),
                (self._other_points, self._other_lengths),
            )
        )
        return self._in_order(usual, others)

    def counts(self) -> NDArray[np.int64]:
        """How often each code point stands in questions and answers, up to the highest."""
        usual = np.bincount(self.usual.points, minlength=QUOTE + 1)
        usual[QUOTE] = 0  # a quote in the text would be escaped, and its line no usual one
        others = np.bincount(self._other_points, minlength=ord("\n") + 1)
        others[ord("\n")] -= len(self._other_texts)
        return added(usual, others)

    def spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the bytes of each pair's line begin in the file, and how many they are.

        They count neither the line end nor a BOM.
        """
        raw = np.frombuffer(self.block.raw, dtype=np.uint8)
        other_sizes = np.fromiter(map(len, self.others), np.int64, len(self.others)) + 1
        sizes = np.insert(np.diff(self.usual.ends, prepend=0), self.before, other_sizes)
        ends = sizes.cumsum() - 1
        starts = ends - sizes + 1
        pairs = zip(self.before, self.found, strict=True)
        without = [before + index for index, (before, each) in enumerate(pairs) if each is None]
        starts, ends = (np.delete(array, without) for array in (starts, ends))
        ends -= raw[ends - 1] == ord("\r")
        for index in np.flatnonzero(raw[starts] == BOM[0]).tolist():
            starts[index] += len(BOM)  # a line that holds a pair and begins so begins with a BOM
        return starts + self.block.start, ends - starts

    @cached_property
    def _other_texts(self) -> list[str]:
        return [*chain.from_iterable(filter(None, self.found))]

    @cached_property
    def _other_points(self) -> CodePoints:
        joined = "".join([text + "\n" for text in self._other_texts])
        return np.frombuffer(joined.encode("utf-32-le"), dtype="<u4")

    @cached_property
    def _other_lengths(self) -> Lengths:
        texts = self._other_texts
        return np.fromiter(map(len, texts), np.int64, len(texts)).reshape(-1, 2) + 1

    @cached_property
    def _pairs_before(self) -> list[int]:
        """How many of the usual lines stand before each pair of the others."""
        pairs = zip(self.before, self.found, strict=True)
        return [before for before, each in pairs if each is not None]

    def _in_order(self, usual: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
        """A row for each pair, those of the other lines where they belong."""
        return np.insert(usual, self._pairs_before, others, axis=0) if others.size else usual


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
            return self._with_others(block, _NOTHING, _one_by_one(block.raw))
        raw = block.raw if block.raw.endswith(b"\n") else block.raw + b"\n"
        usual, others = _set_escapes_aside(raw)
        texts = self._read_usual(usual)
        if texts is None and self._layout is not None:
            usual, others = _set_aside(raw, self._layout.line.fullmatch)
            texts = self._layout.read(usual)
        if texts is None:
            texts, others = _NOTHING, _one_by_one(raw)
        return self._with_others(block, texts, others)

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

    def _with_others(self, block: Block, usual: Texts, others: Aside) -> Columns:
        before = np.searchsorted(usual.ends, [place for place, _ in others], side="right").tolist()
        lines = [line for _, line in others]
        found = self._objects.read(lines)
        bad: list[BadRow] = []
        for index in [index for index, each in enumerate(found) if each is None]:
            raw = without_ends(lines[index][:MOST_READ])
            fields = self._fields(raw) if raw.strip() else ""
            if not isinstance(fields, str):
                found[index] = fields[self.question_key], fields[self.answer_key]
            elif fields:
                bad.append(BadRow(before[index] + index, raw, fields))
        return Columns(block, usual, lines, before, found, tuple(bad))

    def _fields(self, raw: bytes) -> dict[str, Any] | str:
        return parse_fields(raw, question_key=self.question_key, answer_key=self.answer_key)


def _lines(raw: bytes) -> list[bytes]:
    return raw.removesuffix(b"\n").split(b"\n")


def _one_by_one(raw: bytes) -> Aside:
    return [(0, line) for line in _lines(raw)]


def _set_escapes_aside(raw: bytes) -> tuple[bytes, Aside]:
    """The lines without a backslash together, and the others."""
    if raw.count(b"\\", 0, _SAMPLE) * _FEW > min(_SAMPLE, len(raw)):
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


def _set_aside(raw: bytes, is_usual: Callable[[bytes], object]) -> tuple[bytes, Aside]:
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


def added(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of two arrays of counts; what is beyond the end of one counts as zero."""
    longer, shorter = (first, second) if first.size > second.size else (second, first)
    longer = longer.copy()
    longer[: shorter.size] += shorter
    return longer
