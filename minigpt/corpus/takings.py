"""What is taken from the pairs of a file, part by part, without holding the pairs."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.columns import Columns

Arrays = dict[str, NDArray[Any]]
Options = Mapping[str, Any]

CODE_POINTS = 0x110000  # Unicode ends at U+10FFFF


class Taker(Protocol):
    """Gathers something from block after block."""

    def take(self, columns: Columns) -> None:
        """Take it from a block."""

    def arrays(self) -> Arrays:
        """All that was taken."""


class Characters:
    """How often each character occurs: `points` [distinct] uint32, `counts` [distinct] int64."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)

    def take(self, columns: Columns) -> None:
        """Count the characters of a block."""
        points = columns.code_points
        self._add(points, 1)
        self._add(points[columns.lengths.ravel().cumsum() - 1], -1)  # what is no text

    def _add(self, points: NDArray[np.uint32], sign: int) -> None:
        counts = np.bincount(points)
        self._counts[: counts.size] += sign * counts

    def arrays(self) -> Arrays:
        """The characters that occur, in code point order."""
        points = np.flatnonzero(self._counts)
        return {"points": points.astype(np.uint32), "counts": self._counts[points]}


TAKERS: Mapping[str, Callable[..., Taker]] = {"characters": Characters}
