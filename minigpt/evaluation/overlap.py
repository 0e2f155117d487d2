"""How much of the expected answers stands in the generated ones: ROUGE-L, chrF, BLEU.

All of them work on characters, white space removed; no word segmenter is needed. chrF and BLEU
belong to many answers together: each row gives counts, and the sum of the counts gives the score.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

CHRF_ORDER = 6  # characters; Popović 2015, "chrF"
CHRF_BETA = 2  # recall counts twice as much; Popović 2016, "chrF deconstructed"
BLEU_ORDER = 4  # characters; Papineni et al. 2002, "BLEU"

Counts = NDArray[np.int64]
Sums = NDArray[np.int64] | NDArray[np.float64]


def rouge_l(answer: str, expected: str) -> float:
    """F1 of the longest common subsequence of characters.

    Source: Lin 2004, "ROUGE", section 3, with precision and recall of equal weight.

    Returns:
        From 0 to 1; two empty texts agree.
    """
    found, wanted = _characters(answer), _characters(expected)
    if not found or not wanted:
        return float(found == wanted)
    return 2 * _common_subsequence(found, wanted) / (len(found) + len(wanted))


def _common_subsequence(first: str, second: str) -> int:
    """Length of the longest common subsequence.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited": bit i of `row` is 0 where
    the length grows at character i of `first`, so that a whole row costs four operations.
    """
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    every = (1 << len(first)) - 1
    row = every
    for character in second:
        matched = row & places.get(character, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(first) - row.bit_count()


def chrf(answers: Sequence[str], expected: Sequence[Sequence[str]]) -> float:
    """F2 over the character 1- to 6-grams of all answers together; words are not looked at.

    Source: Popović 2015, "chrF", as sacrebleu's `corpus_chrf` computes it.

    Args:
        answers: One text a row.
        expected: The references of each row, at least one.

    Returns:
        From 0 to 1; nan where there are no rows.
    """
    return _score(answers, expected, counts=chrf_counts, score=chrf_of)


def chrf_counts(answer: str, references: Sequence[str]) -> Counts:
    """What one row adds to chrF, against the reference that gives it the highest score.

    Returns:
        [18] int64: for each order the n-grams of the answer, of the reference, and in both.
    """
    found = _grams(answer, CHRF_ORDER)
    rows = [_chrf_row(found, _grams(text, CHRF_ORDER)) for text in references]
    return max(rows, key=lambda row: float(chrf_of(row)))  # the first of equals


def _chrf_row(found: list[Counter[str]], wanted: list[Counter[str]]) -> Counts:
    # sacrebleu: an order that the reference is too short for does not count against the answer.
    return np.array(
        [
            count
            for mine, theirs in zip(found, wanted, strict=True)
            for count in (mine.total() if theirs else 0, theirs.total(), _matches(mine, theirs))
        ],
        dtype=np.int64,
    )


def chrf_of(counts: Sums) -> NDArray[np.float64]:
    """The chrF that summed counts come to.

    Args:
        counts: [18] or [R, 18] sums of `chrf_counts`.

    Returns:
        [] or [R] from 0 to 1.
    """
    found, wanted, matched = np.moveaxis(counts.reshape(*counts.shape[:-1], CHRF_ORDER, 3), -1, 0)
    counted = (found > 0) & (wanted > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = (matched * counted / np.maximum(found, 1)).sum(axis=-1) / orders
    recall = (matched * counted / np.maximum(wanted, 1)).sum(axis=-1) / orders
    weight = CHRF_BETA**2
    below = weight * precision + recall
    return np.asarray((1 + weight) * precision * recall / np.where(below > 0, below, 1))


def bleu4(answers: Sequence[str], expected: Sequence[Sequence[str]]) -> float:
    """BLEU of all answers together, over the character 1- to 4-grams.

    Source: Papineni et al. 2002, "BLEU", as sacrebleu's `corpus_bleu(..., tokenize="char")`
    computes it: an order without a match counts half of one, the next such a quarter, and so on
    (Chen and Cherry 2014, smoothing 3); no score where the answers have no 4-gram at all.

    Args:
        answers: One text a row.
        expected: The references of each row, at least one.

    Returns:
        From 0 to 1; nan where there are no rows.
    """
    return _score(answers, expected, counts=bleu_counts, score=bleu_of)


def bleu_counts(answer: str, references: Sequence[str]) -> Counts:
    """What one row adds to BLEU, against all its references.

    Returns:
        [10] int64: the length of the answer; that of the reference nearest to it in length, the
        shorter of two; for each order the n-grams in a reference as well; for each, all n-grams.
    """
    found = _grams(answer, BLEU_ORDER)
    wanted = [Counter[str]() for _ in range(BLEU_ORDER)]
    lengths = [len(_characters(text)) for text in references]
    for text in references:
        wanted = [
            most | grams for most, grams in zip(wanted, _grams(text, BLEU_ORDER), strict=True)
        ]
    length = len(_characters(answer))
    nearest = min(lengths, key=lambda other: (abs(other - length), other))
    matched = [_matches(mine, theirs) for mine, theirs in zip(found, wanted, strict=True)]
    return np.array([length, nearest, *matched, *(mine.total() for mine in found)], dtype=np.int64)


def bleu_of(counts: Sums) -> NDArray[np.float64]:
    """The BLEU that summed counts come to.

    Args:
        counts: [10] or [R, 10] sums of `bleu_counts`.

    Returns:
        [] or [R] from 0 to 1.
    """
    found, wanted = counts[..., 0], counts[..., 1]
    matched, total = counts[..., 2 : 2 + BLEU_ORDER], counts[..., 2 + BLEU_ORDER :]
    missing = matched == 0
    smoothed = np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), matched)
    precision = np.exp(np.log(smoothed / np.maximum(total, 1)).mean(axis=-1))
    brevity = np.exp(np.minimum(1 - wanted / np.maximum(found, 1), 0))
    scored = (matched > 0).any(axis=-1) & (total > 0).all(axis=-1)
    return np.asarray(np.where(scored, brevity * precision, 0.0))


def _score(
    answers: Sequence[str],
    expected: Sequence[Sequence[str]],
    *,
    counts: Callable[[str, Sequence[str]], Counts],
    score: Callable[[Sums], NDArray[np.float64]],
) -> float:
    rows = [counts(answer, texts) for answer, texts in zip(answers, expected, strict=True)]
    return float(score(np.sum(rows, axis=0))) if rows else float("nan")


def _grams(text: str, most: int) -> list[Counter[str]]:
    """The n-grams of 1 to `most` characters, each with how often it stands in the text."""
    line = _characters(text)
    return [
        Counter(line[place : place + order] for place in range(len(line) - order + 1))
        for order in range(1, most + 1)
    ]


def _matches(found: Counter[str], wanted: Counter[str]) -> int:
    return sum(min(count, wanted[gram]) for gram, count in found.items() if gram in wanted)


def _characters(text: str) -> str:
    return "".join(text.split())
