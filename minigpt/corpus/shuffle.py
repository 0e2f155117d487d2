"""The shuffle of Python's `random`, without a list of objects.

A seed must give the same split with every version of minigpt, and on every machine.
"""

import random
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_WORDS = 1 << 16  # drawn at once
_MOST = 1 << 32  # above it, one draw takes two words

Order = NDArray[np.uint32] | NDArray[np.uint64]


def shuffled(count: int, seed: int) -> Order:
    """The numbers below `count` as `random.Random(seed).shuffle` leaves them."""
    if count > _MOST:
        numbers = array("Q", range(count))
        random.Random(seed).shuffle(numbers)
        return np.frombuffer(numbers, dtype=np.uint64)
    order = np.arange(count, dtype=np.uint32)
    for last, partners in _partners(count, random.Random(seed)):
        _swap(order, last, partners)
    return order


def _partners(count: int, rng: random.Random) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """What each place from the last to the second changes places with: any up to itself.

    Yields:
        A place, and its partner and those of the places before it.
    """
    last = count - 1
    words = np.empty(0, dtype=np.uint32)
    while last > 0:
        bits = (last + 1).bit_length()
        least = max(1, (1 << (bits - 1)) - 1)  # the last place that draws so many bits
        # So few at once that they seldom meet.
        wanted = min(last - least + 1, max(16, 4 * int(last**0.5)))
        while words.size < 2 * wanted:
            drawn = rng.getrandbits(32 * _WORDS).to_bytes(4 * _WORDS, "little")
            words = np.concatenate([words, np.frombuffer(drawn, dtype="<u4")])
        draws = (words[: 2 * wanted] >> np.uint32(32 - bits)).astype(np.int64)
        accepted = np.flatnonzero(_accepted(draws, last))[:wanted]
        words = words[accepted[-1] + 1 if accepted.size == wanted else draws.size :]
        if accepted.size:
            yield last, draws[accepted]
            last -= accepted.size


def _accepted(draws: NDArray[np.int64], last: int) -> NDArray[np.bool_]:
    """Which draws are taken: those that are not above the place that is next by then."""
    taken = draws <= last
    while True:
        place = last - (taken.cumsum() - taken)
        now = draws <= place  # right up to the first that changes, so it ends right
        if (now == taken).all():
            return taken
        taken = now


def _swap(order: Order, last: int, partners: NDArray[np.int64]) -> None:
    """Let the places from `last` down change places with their partners, one after the other."""
    places = np.arange(last, last - partners.size, -1)
    by_partner = partners.argsort()
    met = partners[by_partner]
    same = np.flatnonzero(met[1:] == met[:-1])
    inside = partners >= places[-1]
    # Places that meet nobody else can all change at once; the others, few, in their turn.
    apart = ~inside
    apart[by_partner[same]] = apart[by_partner[same + 1]] = False
    apart[last - partners[inside]] = False
    order[places[apart]], order[partners[apart]] = order[partners[apart]], order[places[apart]]
    for place, partner in zip(places[~apart].tolist(), partners[~apart].tolist(), strict=True):
        order[place], order[partner] = order[partner], order[place]
