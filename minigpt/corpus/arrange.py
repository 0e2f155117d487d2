"""The lines of a file written in another order.

A source that is not large is held, and each line taken from where it stands. A larger one is not:
every line's place in the output is known beforehand, so that it is read once from its beginning to
its end, and each line goes to the region of the output where it belongs; then one region after the
other is put in order. To look for a line in the whole file would be slow on a disk.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.pace import Pace
from minigpt.corpus.places import Lines
from minigpt.corpus.qa import open_data
from minigpt.corpus.scan import has_changed
from minigpt.corpus.shuffle import Order
from minigpt.corpus.worker import beside
from minigpt.corpus.workers import helpers_for
from minigpt.events import Report, ignore

REGION_BYTES = 8 * 1024 * 1024
MOST_REGIONS = 2_048  # more would get too little at once
READ_BYTES = 4 * 1024 * 1024
HELD_BYTES = 128 * 1024 * 1024  # a source up to this size is held
_LINES_AT_ONCE = 1_024  # taken from it: so few stay in a processor's cache


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
    for path, order in orders.items():
        with path.open("wb") as file:
            file.truncate(lines.bytes_of(order))
    is_held = lines.source_bytes <= HELD_BYTES
    arrangement = _Held(lines, orders) if is_held else _Streamed(lines, orders)
    processes = 1 + helpers_for(arrangement.size)
    pace = Pace("arrange", len(arrangement.steps) * arrangement.size, report)
    if not (processes > 1 and arrangement.make_together(processes, pace)):
        arrangement.make(pace)
    if lines.data.identity() != lines.seen:
        raise has_changed(lines.data)


@dataclass(frozen=True)
class _Region:
    """A part of a new file.

    Attributes:
        path: The file.
        start: Where the part begins in it, in bytes.
        size: Bytes of the part.
        order: The numbers of its lines, in their order.
    """

    path: Path
    start: int
    size: int
    order: Order


# Takes a share of all that is to be done, and yields how many bytes are.
Step = Callable[[int, int], Iterator[int]]


class _Arrangement:
    """What goes where; every step can be done again, and its shares in any order."""

    steps: tuple[Step, ...] = ()

    def __init__(self, lines: Lines, orders: Mapping[Path, Order]) -> None:
        self._lines = lines
        self.size = sum(lines.bytes_of(order) for order in orders.values())
        self._regions = list(_regions(lines, orders, self.size))

    def make(self, pace: Pace) -> None:
        """Take all steps."""
        for number, step in enumerate(self.steps):
            for done in step(0, 1):
                pace.reach(number * self.size + done)

    def make_together(self, processes: int, pace: Pace) -> bool:
        """Take all steps with copies of this process; whether that was possible."""
        for number, step in enumerate(self.steps):
            others = [partial(_exhaust, step, share, processes) for share in range(1, processes)]
            with beside(others) as are_done:
                for done in step(0, processes):
                    pace.reach(number * self.size + min(self.size, processes * done))
                if not are_done():
                    return False
        return True


class _Held(_Arrangement):
    """From a source that is in memory."""

    def __init__(self, lines: Lines, orders: Mapping[Path, Order]) -> None:
        super().__init__(lines, orders)
        self.steps = (self._copy,)
        with open_data(lines.data.path) as file:
            # numpy asks the system for large pages, which make it faster to jump about.
            self._source = np.fromfile(file, dtype=np.uint8, count=lines.source_bytes)
        if self._source.size != lines.source_bytes:
            raise has_changed(lines.data)

    def _copy(self, share: int, shares: int) -> Iterator[int]:
        """Write some regions.

        Yields:
            How many bytes are written.
        """
        lines, source, done = self._lines, self._source.data, 0
        with _opened(self._regions) as files:
            for region in self._regions[share::shares]:
                files[region.path].seek(region.start)
                for first in range(0, region.order.size, _LINES_AT_ONCE):
                    numbers = region.order[first : first + _LINES_AT_ONCE]
                    starts = lines.starts[numbers]
                    ends = (starts + lines.sizes[numbers]).tolist()
                    places = zip(starts.tolist(), ends, strict=True)
                    texts = [source[start:end] for start, end in places]
                    done += files[region.path].write(b"\n".join([*texts, b""]))
                yield done


class _Streamed(_Arrangement):
    """From a source that is read once, by way of the regions."""

    def __init__(self, lines: Lines, orders: Mapping[Path, Order]) -> None:
        super().__init__(lines, orders)
        self.steps = (self._distribute, self._put_in_order)
        # Of each line; one that is not wanted has none.
        self._region_of = np.full(lines.starts.size, len(self._regions), dtype=np.uint16)
        for number, region in enumerate(self._regions):
            self._region_of[region.order] = number
        starts = np.arange(0, int(lines.starts[-1]) + READ_BYTES, READ_BYTES)
        self._cuts = [*np.searchsorted(lines.starts, starts).tolist(), lines.starts.size]

    def _distribute(self, share: int, shares: int) -> Iterator[int]:
        """Write each line of a share of the source to its region, in the order of the source.

        Yields:
            How many bytes are written.
        """
        chunks = list(pairwise(self._cuts))
        chunks = chunks[share * len(chunks) // shares : (share + 1) * len(chunks) // shares]
        if not chunks:
            return
        places = [
            region.start + self._lines.bytes_of(region.order[region.order < chunks[0][0]])
            for region in self._regions
        ]
        done = 0
        with _opened(self._regions) as files:
            for first, texts in _read(self._lines, chunks):
                for number, data in self._by_region(first, texts):
                    region = self._regions[number]
                    if places[number] + len(data) > region.start + region.size:
                        raise has_changed(self._lines.data)
                    files[region.path].seek(places[number])
                    places[number] += files[region.path].write(data)
                    done += len(data)
                yield done

    def _by_region(self, first: int, texts: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """What each region gets of some lines that follow each other."""
        numbers = self._region_of[first : first + len(texts)]
        ordered = list(map(texts.__getitem__, numbers.argsort(kind="stable").tolist()))
        start = 0
        for number, count in enumerate(np.bincount(numbers)[: len(self._regions)].tolist()):
            if count:
                yield number, b"\n".join([*ordered[start : start + count], b""])
            start += count

    def _put_in_order(self, share: int, shares: int) -> Iterator[int]:
        """Put the lines of some regions where they belong.

        Yields:
            How many bytes are in order.
        """
        done = 0
        with _opened(self._regions) as files:
            for region in self._regions[share::shares]:
                file = files[region.path]
                file.seek(region.start)
                texts = file.read(region.size).split(b"\n")
                if len(texts) != region.order.size + 1:
                    raise has_changed(self._lines.data)
                places = region.order.argsort().argsort()
                file.seek(region.start)
                file.write(b"\n".join([*map(texts.__getitem__, places.tolist()), b""]))
                done += region.size
                yield done


def _exhaust(step: Step, share: int, shares: int) -> None:
    for _ in step(share, shares):
        pass


@contextlib.contextmanager
def _opened(regions: Iterable[_Region]) -> Iterator[Mapping[Path, BinaryIO]]:
    """The new files; each process opens them for itself, to stand at its own place."""
    with contextlib.ExitStack() as stack:
        paths = {region.path for region in regions}
        yield {path: stack.enter_context(path.open("r+b")) for path in paths}


def _regions(lines: Lines, orders: Mapping[Path, Order], size: int) -> Iterator[_Region]:
    """The new files cut into parts of nearly as many lines each."""
    count = min(MOST_REGIONS, -(-size // REGION_BYTES))
    step = max(1, -(-lines.starts.size // count))
    for path, order in orders.items():
        start = 0
        for first in range(0, order.size, step):
            part = order[first : first + step]
            yield _Region(path, start, lines.bytes_of(part), part)
            start += lines.bytes_of(part)


def _read(lines: Lines, chunks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[bytes]]]:
    """The lines some at a time, and the number of the first of them."""
    with open_data(lines.data.path) as file:
        for first, last in chunks:
            if first == last:
                continue
            base = int(lines.starts[first])
            places = lines.starts[first:last] - base
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
