"""Some rows to look at: the worst, some at random, the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigpt.evaluation.rows import Row


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows to look at.

    Attributes:
        worst: Those with the lowest score, the worst first.
        random: Drawn with the seed, in the order of the file.
        best: Those with the highest score, the best first.
    """

    worst: tuple[Row, ...]
    random: tuple[Row, ...]
    best: tuple[Row, ...]


def choose_samples(rows: Sequence[Row], count: int, *, seed: int) -> Samples:
    """So many of each kind; a row may be in more than one.

    The score is whether the answer is right, then its F1, then the loss of the expected answer;
    without answers the loss alone.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    ordered = sorted(rows, key=_score)
    return Samples(
        worst=tuple(ordered[:count]),
        random=tuple(rows[index] for index in drawn.tolist()),
        best=tuple(ordered[::-1][:count]),
    )


def _score(row: Row) -> tuple[bool, float, float]:
    f1 = -math.inf if row.character_f1 is None else row.character_f1
    return row.is_right, f1, -row.loss_answer
