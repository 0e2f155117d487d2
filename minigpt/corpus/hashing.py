"""Hashes of many short texts at once, to find those that may be alike."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.layout import CodePoints, Lengths

Hashes = NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that its powers can be divided by
_INVERSE = pow(_BASE, -1, 1 << 64)


def hash_parts(points: CodePoints, lengths: Lengths) -> Hashes:
    """[parts] a number for each part, the same for the same text wherever it stands.

    A polynomial of the part's characters, modulo 2^64: the powers run on over all parts, and each
    sum is moved back to the same one. Different texts may share a number: who must know compares
    them.

    Args:
        points: [C] code points of all parts, each followed by one place that does not count.
        lengths: [parts] characters of each, and that place.
    """
    ends = lengths.cumsum()
    powers, inverses = _powers(1 << max(16, int(points.size).bit_length()))
    terms = _weights(0x10000 if points.max(initial=0) < 0x10000 else 0x110000).take(points)
    terms *= powers[: points.size]
    terms[ends - 1] = 0
    starts = ends - lengths
    sums = np.add.reduceat(terms, starts) if starts.size else terms
    return _mixed(sums * inverses[starts])


@lru_cache(maxsize=2)  # for the usual lines of a block, and the others
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """The first powers of the base, and those of its inverse."""
    powers = np.full((2, count), [[_BASE], [_INVERSE]], dtype=np.uint64)
    powers[:, 0] = 1
    return tuple(np.multiply.accumulate(powers, axis=1))


@lru_cache(maxsize=2)
def _weights(count: int) -> Hashes:
    """A number without pattern for each code point."""
    return _mixed(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_BASE))


def _mixed(numbers: Hashes) -> Hashes:
    # splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
