"""A file in blocks of whole lines, small enough for a processor's cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from minigpt.corpus.qa import MOST_READ

BLOCK_BYTES = 512 * 1024  # more is slower, less too


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a file.

    Attributes:
        start: Where the first of them begins, in bytes.
        raw: The lines; the last may have no line end, or, over the limit of a line, no rest.
    """

    start: int
    raw: bytes


def read_blocks(
    file: BinaryIO, start: int, end: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[Block]:
    """The lines that begin in the bytes from `start` up to `end`, in blocks.

    Ranges that cover a file give each line once. Memory is bounded, however long a line is.
    """
    place = _first_line_start(file, start, end)
    while place < end:
        raw = file.read(min(block_bytes, end - place))
        if not raw:
            return
        rest = b"" if raw.endswith(b"\n") else file.readline(MOST_READ)
        block = raw + rest
        line_bytes = len(block) - (block.rfind(b"\n", 0, len(block) - 1) + 1)
        is_cut = line_bytes > MOST_READ and not block.endswith(b"\n")
        yield Block(place, block)
        place += len(block)
        if is_cut:
            place = _skip_line(file, place, end)


def _first_line_start(file: BinaryIO, start: int, end: int) -> int:
    """Where the first line begins that begins at `start` or later; `end` where none does."""
    if not start:
        file.seek(0)
        return 0
    file.seek(start - 1)
    return _skip_line(file, start - 1, end)


def _skip_line(file: BinaryIO, place: int, end: int) -> int:
    """Read to the end of a line, or to `end`; return the new place."""
    while place < end:
        rest = file.readline(min(MOST_READ, end - place))
        place += len(rest)
        if rest.endswith(b"\n") or not rest:
            return place
    return end
