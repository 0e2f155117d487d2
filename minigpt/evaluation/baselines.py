"""What knowing nothing, or only how frequent each character is, would come to."""

import math

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.dataset import TokenizedDataset


def uniform_loss(vocab_size: int) -> float:
    """Nats per token of a guess that holds every token equally likely: ln V."""
    return math.log(vocab_size)


def unigram_losses(dataset: TokenizedDataset, counts: tuple[int, ...]) -> tuple[float, float]:
    """Nats per token of a guess that knows only how often each token is a training target.

    Args:
        dataset: What is predicted.
        counts: [V] how often each token is a target in training; one is added to each (Laplace).

    Returns:
        Over all targets, and over answers with their stop.
    """
    smoothed = np.array(counts, dtype=np.float64) + 1
    costs = -np.log(smoothed / smoothed.sum())[dataset.ids]
    place = np.arange(dataset.n_tokens) - np.repeat(dataset.offsets[:-1], dataset.lengths)
    is_answer = place >= np.repeat(dataset.prompt_lengths, dataset.lengths)
    return _mean(costs[place > 0]), _mean(costs[is_answer])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan
