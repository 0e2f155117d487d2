"""The lines of a file written in another order, without holding them.

Every line's place in the output is known beforehand. The source is read once from its beginning to
its end, and each line goes to the region of the output where it belongs; then one region after the
other is put in order. A line is never looked for in the whole file: that would be slow even in
memory, and far slower on a disk.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.pace import Pace
from minigpt.corpus.places import Lines
from minigpt.corpus.qa import open_data
from minigpt.corpus.scan import has_changed
from minigpt.corpus.shuffle import Order
from minigpt.events import Report, ignore

REGION_BYTES = 8 * 1024 * 1024
MOST_REGIONS = 2_048  # more would get too little at once
READ_BYTES = 4 * 1024 * 1024


def write_arranged(lines: Lines, orders: Mapping[Path, Order], *, report: Report = ignore) -> None:
    """Write lines of one file to others, each ended by a newline; no line to two of them.

    Args:
        lines: The lines.
        orders: For each new file, the numbers of its lines in their order.
        report: Told how far it is.

    Raises:
        DataError: The source cannot be read, or has changed since the lines were found.
        OSError: A file cannot be written.
    """
    total = sum(lines.bytes_of(order) for order in orders.values())
    pace = Pace("arrange", 2 * total, report)
    with contextlib.ExitStack() as stack:
        regions = [
            region
            for path, order in orders.items()
            for region in _regions(stack.enter_context(path.open("w+b")), lines, order, total)
        ]
        done = 0
        for done in _distribute(lines, regions):
            pace.reach(done)
        for region in regions:
            if region.written != region.size:
                raise has_changed(lines.data)
            region.put_in_order()
            done += region.size
            pace.reach(done)
    if lines.data.identity() != lines.seen:
        raise has_changed(lines.data)


@dataclass
class _Region:
    """A part of a new file.

    Attributes:
        file: The file.
        start: Where the part begins in it, in bytes.
        size: Bytes of the part.
        order: The numbers of its lines, in their order.
        written: How many bytes of it are written so far, in the order of the source.
    """

    file: BinaryIO
    start: int
    size: int
    order: Order
    written: int = 0

    def add(self, texts: list[bytes]) -> None:
        """Write the next of its lines."""
        texts.append(b"")
        self.file.seek(self.start + self.written)
        self.written += self.file.write(b"\n".join(texts))

    def put_in_order(self) -> None:
        """Put all its lines where they belong."""
        self.file.seek(self.start)
        texts = self.file.read(self.size).split(b"\n")
        places = self.order.argsort().argsort()
        self.written = 0
        self.add(list(map(texts.__getitem__, places.tolist())))


def _regions(file: BinaryIO, lines: Lines, order: Order, total: int) -> Iterator[_Region]:
    """A new file cut into parts of nearly as many lines each."""
    count = min(MOST_REGIONS, -(-total // REGION_BYTES))
    step = max(1, -(-lines.starts.size // count))
    start = 0
    for first in range(0, order.size, step):
        part = order[first : first + step]
        region = _Region(file, start, lines.bytes_of(part), part)
        start += region.size
        yield region


def _distribute(lines: Lines, regions: list[_Region]) -> Iterator[int]:
    """Write each line of the source to its region.

    Yields:
        How many bytes of them are written.
    """
    region_of = np.full(lines.starts.size, len(regions), dtype=np.uint16)  # or it is not wanted
    for number, region in enumerate(regions):
        region_of[region.order] = number
    done = 0
    for first, texts in _read(lines):
        numbers = region_of[first : first + len(texts)]
        by_region = numbers.argsort(kind="stable")
        ordered = list(map(texts.__getitem__, by_region.tolist()))
        ends = np.bincount(numbers, minlength=len(regions))[: len(regions)].cumsum().tolist()
        start = 0
        for region, end in zip(regions, ends, strict=True):
            if end > start:
                before = region.written
                region.add(ordered[start:end])
                done += region.written - before
            start = end
        yield done


def _read(lines: Lines) -> Iterator[tuple[int, list[bytes]]]:
    """The lines some at a time, and the number of the first of them."""
    starts = lines.starts
    cuts = np.searchsorted(starts, np.arange(0, int(starts[-1]) + READ_BYTES, READ_BYTES))
    with open_data(lines.data.path) as file:
        for first, last in zip(cuts.tolist(), [*cuts[1:].tolist(), starts.size], strict=True):
            if first == last:
                continue
            base = int(starts[first])
            places = starts[first:last] - base
            ends = places + lines.sizes[first:last]
            file.seek(base)
            texts = _cut(file.read(int(ends[-1])), places, ends)
            if len(texts) != places.size:
                raise has_changed(lines.data)
            yield first, texts


def _cut(raw: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    if (starts[1:] == ends[:-1] + 1).all():  # nothing but newlines between them
        return raw.split(b"\n")
    return [raw[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
