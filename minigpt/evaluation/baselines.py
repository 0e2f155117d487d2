"""What knowing nothing, or next to nothing, would come to: the same figures for three guesses.

- uniform: every token is equally likely, always.
- frequency: every token is as likely as it is frequent among the training targets.
- common answer: every question is answered with the most frequent training answer.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.evaluation.answers import Said
from minigpt.evaluation.encoded import Encoded
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.rows import build_rows, with_answer
from minigpt.evaluation.surprise import TOP, PairSums, Surprises
from minigpt.evaluation.tally import Tally, tally_surprises, with_rows

UNIFORM, FREQUENCY, COMMON_ANSWER = "uniform", "frequency", "common answer"


@dataclass(frozen=True, slots=True)
class Baseline:
    """A guess and its figures.

    Attributes:
        name: UNIFORM, FREQUENCY or COMMON_ANSWER.
        meaning: What is guessed.
        metrics: By the names of the figures.
    """

    name: str
    meaning: str
    metrics: dict[str, float]


def guess_baselines(encoded: Encoded, unigram: Sequence[int], *, vocab_size: int) -> list[Baseline]:
    """The guesses at the true texts.

    Args:
        encoded: What is predicted.
        unigram: [V] how often each token is a target in training; empty where it is not known.
        vocab_size: V.
    """
    guesses: list[tuple[str, str, Sequence[int]]] = [
        (UNIFORM, "every token equally likely", [0] * vocab_size)
    ]
    if unigram:
        meaning = "every token as likely as it is frequent in training"
        guesses.append((FREQUENCY, meaning, unigram))
    tallies = [tally_surprises(encoded, guess(encoded.dataset, counts)) for *_, counts in guesses]
    return [
        Baseline(name, meaning, _of_groups(tally, {"answers", "everything"}))
        for (name, meaning, _), tally in zip(guesses, tallies, strict=True)
    ]


def guess(dataset: TokenizedDataset, counts: Sequence[int]) -> Surprises:
    """What a guess that looks at no text costs.

    Args:
        dataset: What is predicted.
        counts: [V] how often each token was met; one is added to each (Laplace).
    """
    smoothed = np.asarray(counts, dtype=np.float64) + 1
    costs = -np.log(smoothed / smoothed.sum())
    first, among = _among_likeliest(costs, 1), _among_likeliest(costs, TOP)
    values = np.stack([costs, np.ones_like(costs), first, among])[:, dataset.ids]
    place = np.arange(dataset.n_tokens) - np.repeat(dataset.offsets[:-1], dataset.lengths)
    is_answer = place >= np.repeat(dataset.prompt_lengths, dataset.lengths)
    starts = dataset.offsets[:-1]
    on_all, on_answers = (
        np.add.reduceat(values * counted, starts, axis=1) for counted in (place > 0, is_answer)
    )
    return Surprises(all=PairSums(*on_all), answer=PairSums(*on_answers))


def _among_likeliest(costs: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """[V] the chance of each token to be among so many likeliest; equals are drawn by lot."""
    _, group, sizes = np.unique(costs, return_inverse=True, return_counts=True)
    before = np.cumsum(sizes) - sizes
    return np.clip((count - before) / sizes, 0, 1)[group]


def answer_baseline(encoded: Encoded, tally: Tally, memory: Memory) -> Baseline:
    """What always giving the most frequent training answer comes to."""
    answer = memory.common_answer
    said = [Said(answer, ended=True)] * len(encoded)
    rows = build_rows(encoded.pairs, [math.nan] * len(encoded))
    answered = with_rows(tally, [*map(with_answer, rows, said)])
    meaning = f"always the most frequent training answer: {answer}"
    return Baseline(COMMON_ANSWER, meaning, _of_groups(answered, {"said"}))


def _of_groups(tally: Tally, groups: Set[str]) -> dict[str, float]:
    """The figures that say how good the guess is; others say what the data is like."""
    figures = tally.figures()
    return {name: value for name, value in figures.items() if FIGURES[name].group in groups}
