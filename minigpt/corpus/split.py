"""A training and a validation part, as the numbers of their lines."""

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.hashing import Hashes
from minigpt.corpus.shuffle import Order, shuffled
from minigpt.errors import DataError

_AT_ONCE = 1 << 20
_DROPPED_BITS = np.uint64(40)  # of a hash; the others are the number of a mark


def split_lines(count: int, *, train_ratio: float, seed: int) -> tuple[Order, Order]:
    """Shuffle the numbers of so many lines and cut them at `int(count * train_ratio)`.

    Returns:
        The training and the validation part.

    Raises:
        DataError: One of them would be empty.
    """
    cut = int(count * train_ratio)
    if not 0 < cut < count:
        part = "training" if cut == 0 else "validation"
        raise DataError(
            f"{count:,} valid lines cut at {train_ratio:g} leave no {part} pair",
            hint="add pairs, or choose another --train-ratio",
        )
    order = shuffled(count, seed)
    return order[:cut], order[cut:]


def make_leak_free(questions: Hashes, train: Order, val: Order) -> tuple[Order, Order, int]:
    """Move lines whose question also stands in train from validation to the end of train.

    Equal questions have equal hashes, so none is left in both. That a line moves because two
    different questions share a hash may happen once in two million splits of ten million lines.

    Args:
        questions: [lines] hashes of all questions.
        train: Numbers of the training lines.
        val: Numbers of the validation lines.

    Returns:
        The two parts and how many lines moved.

    Raises:
        DataError: No validation line would be left.
    """
    moves = _stand_in(questions, train, val)
    if moves.all():
        raise DataError(
            "every validation question also stands in the training part",
            hint="add pairs, choose another --seed, or allow it with --no-leak-free",
        )
    return np.concatenate([train, val[moves]]), val[~moves], int(moves.sum())


def _stand_in(questions: Hashes, train: Order, val: Order) -> NDArray[np.bool_]:
    """[val] whether the question of each validation line also stands in train."""
    asked = questions[val]
    marks = np.zeros(1 << 24, dtype=np.bool_)  # most of what is not asked is seen here
    marks[asked >> _DROPPED_BITS] = True
    likely = [asked[:0]]
    for start in range(0, train.size, _AT_ONCE):
        known = questions[train[start : start + _AT_ONCE]]
        likely.append(known[marks[known >> _DROPPED_BITS]])
    hashes = np.unique(np.concatenate(likely))
    if not hashes.size:
        return np.zeros(val.size, dtype=np.bool_)
    place = np.searchsorted(hashes, asked).clip(max=hashes.size - 1)
    found: NDArray[np.bool_] = hashes[place] == asked
    return found
