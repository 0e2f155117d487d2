"""Where the pairs of a file stand, without their text: up to 20 bytes for each."""

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.hashing import Hashes
from minigpt.corpus.scan import DataFile, Scan
from minigpt.corpus.shuffle import Order
from minigpt.events import Report, ignore


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a file that hold a pair.

    Attributes:
        data: The file.
        seen: What it was when its lines were found, as `DataFile.identity` says.
        starts: [lines] int64; where each begins in it, in bytes.
        sizes: [lines] uint32; bytes of each, without line end and BOM.
        questions: [lines] hashes of their questions; empty if they were not wanted.
        skipped: Number of bad lines left out.
    """

    data: DataFile
    seen: tuple[int, ...]
    starts: NDArray[np.int64]
    sizes: NDArray[np.uint32]
    questions: Hashes
    skipped: int

    @property
    def source_bytes(self) -> int:
        """Size of the file when its lines were found."""
        return self.seen[0]

    def bytes_of(self, numbers: Order) -> int:
        """Bytes of the lines of these numbers, each ended by a newline."""
        return int(self.sizes[numbers].sum(dtype=np.int64)) + numbers.size


def find_lines(data: DataFile, *, questions: bool = False, report: Report = ignore) -> Lines:
    """The lines of a file that hold a pair; with hashes of their questions, if wanted.

    Raises:
        DataError: As `read_file` does.
    """
    scan = Scan(data, "places", report, {"questions": questions})
    with contextlib.closing(scan.parts()) as parts:
        found = list(parts)
    starts, sizes, hashes = (
        np.concatenate([part.pop(name) for part in found])
        for name in ("starts", "sizes", "questions")
    )
    return Lines(data, scan.seen, starts, sizes, hashes, scan.skipped)
