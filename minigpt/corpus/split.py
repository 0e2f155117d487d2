"""A training and a validation part."""

import random
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from minigpt.errors import DataError

T = TypeVar("T")


def split_lines(lines: Sequence[T], *, train_ratio: float, seed: int) -> tuple[list[T], list[T]]:
    """Shuffle a copy of `lines` and cut it at `int(n * train_ratio)`.

    Returns:
        The training and the validation part.

    Raises:
        DataError: One of them would be empty.
    """
    shuffled = list(lines)
    random.Random(seed).shuffle(shuffled)
    cut = int(len(shuffled) * train_ratio)
    if not 0 < cut < len(shuffled):
        part = "training" if cut == 0 else "validation"
        raise DataError(
            f"{len(shuffled):,} valid lines cut at {train_ratio:g} leave no {part} pair",
            hint="add pairs, or choose another --train-ratio",
        )
    return shuffled[:cut], shuffled[cut:]


def make_leak_free(
    train: Sequence[T], val: Sequence[T], key: Callable[[T], Hashable]
) -> tuple[list[T], list[T], int]:
    """Move what also stands in train from the validation part to the end of train.

    Args:
        train: The training part.
        val: The validation part.
        key: What two lines share when one gives the other away: their question.

    Returns:
        The two parts and how many lines moved.

    Raises:
        DataError: No validation line would be left.
    """
    seen = {key(line) for line in train}
    moved = [line for line in val if key(line) in seen]
    kept = [line for line in val if key(line) not in seen]
    if not kept:
        raise DataError(
            "every validation question also stands in the training part",
            hint="add pairs, choose another --seed, or allow it with --no-leak-free",
        )
    return [*train, *moved], kept, len(moved)
