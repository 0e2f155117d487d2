"""Pairs together with their ids: what a model is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigpt.corpus.dataset import TokenizedDataset, tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import Vocab


@dataclass(frozen=True, eq=False)
class Encoded:
    """Pairs that fit a model.

    Attributes:
        pairs: As they stand in the file.
        dataset: The same pairs in the same order, and how many were too long.
    """

    pairs: list[QAPair]
    dataset: TokenizedDataset

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    @property
    def has_accepted(self) -> bool:
        """Whether any pair names accepted answers."""
        return any(pair.answers for pair in self.pairs)

    @property
    def has_keywords(self) -> bool:
        """Whether most answers are accepted texts, as a rule shorter than what a model says."""
        keywords = sum(pair.answer in pair.answers for pair in self.pairs)
        return 2 * keywords > len(self.pairs)


def encode(pairs: Sequence[QAPair], vocab: Vocab, *, max_length: int) -> Encoded:
    """The pairs of at most `max_length` tokens, separators included."""
    dataset = tokenize(pairs, Tokenizer(vocab), max_length=max_length)
    return Encoded([pairs[index] for index in dataset.kept.tolist()], dataset)


def draw(pairs: Sequence[QAPair], count: int, *, seed: int) -> list[QAPair]:
    """A seeded sample of at most so many pairs, in their order."""
    return [pairs[index] for index in draw_numbers(len(pairs), count, seed=seed)]


def draw_numbers(total: int, count: int, *, seed: int) -> list[int]:
    """Which of so many pairs `draw` takes."""
    chosen = np.random.default_rng(seed).permutation(total)[:count]
    return [*map(int, np.sort(chosen))]
