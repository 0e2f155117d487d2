"""How long the pairs are, what the vocabulary lacks, and what repeats or contradicts itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.dataset import pair_lengths
from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import Vocab, count_characters

MAX_LENGTHS = (32, 64, 96, 128, 140, 192, 256, 512)  # the tutorial advises 140, trains with 128
MOST_COMMON = 10
EXAMPLES = 5

Lengths = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Lengths in tokens; p95 is the smallest length that at least 95 % of them do not exceed."""

    mean: float
    p50: int
    p90: int
    p95: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Number of pairs of `first` to `last` tokens, both included; `last` None is no end."""

    first: int
    last: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The characters that become `<unk>`: how many, their share, and which are most common."""

    count: int
    share: float
    distinct: int
    most_common: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A question with `count` different answers, the first few of which are given."""

    question: str
    count: int
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a maximum length would cost.

    Attributes:
        max_length: The length in tokens.
        over: Number of pairs that are longer.
        over_share: Their share of all pairs.
        padding_share: Share of `<pad>` if every other pair were padded to that length.
    """

    max_length: int
    over: int
    over_share: float
    padding_share: float


@dataclass(frozen=True, slots=True)
class TokenStats:
    """What there is to know about a file before training on it.

    Attributes:
        pairs: Number of pairs.
        tokens: Number of tokens, both separators of each pair included.
        question: Lengths of the questions, without separator.
        answer: Lengths of the answers, without separator.
        pair: Lengths of the whole pairs: question, answer and two separators.
        histogram: Whole pairs by length.
        unknown: What the vocabulary lacks.
        duplicates: Pairs whose question and answer both stood there before.
        contradictions: Questions with more than one answer.
        contradiction_examples: Those with the most answers.
        candidates: The cost of several maximum lengths, the recommended one among them.
        recommended_max_length: See `recommend_max_length`.
    """

    pairs: int
    tokens: int
    question: Summary
    answer: Summary
    pair: Summary
    histogram: tuple[Bin, ...]
    unknown: Unknown
    duplicates: int
    contradictions: int
    contradiction_examples: tuple[Contradiction, ...]
    candidates: tuple[Candidate, ...]
    recommended_max_length: int


def token_stats(
    pairs: Sequence[QAPair], vocab: Vocab, *, interval: int = 20, max_length: int = 512
) -> TokenStats:
    """Measure the pairs.

    Args:
        pairs: At least one.
        vocab: What they are encoded with.
        interval: Width of a bin of the histogram, in tokens.
        max_length: Longer pairs are gathered in one last bin.

    Raises:
        ValueError: There is no pair.
    """
    if not pairs:
        raise ValueError("no pair to measure")
    part_lengths = pair_lengths(pairs)
    lengths = part_lengths.sum(axis=1)
    summary = summarize(lengths)
    recommended = recommend_max_length(summary)
    contradictions = find_contradictions(pairs)
    return TokenStats(
        pairs=len(pairs),
        tokens=int(lengths.sum()),
        question=summarize(part_lengths[:, 0] - 1),
        answer=summarize(part_lengths[:, 1] - 1),
        pair=summary,
        histogram=histogram(lengths, interval=interval, max_length=max_length),
        unknown=find_unknown(pairs, vocab),
        duplicates=len(pairs) - len({(pair.question, pair.answer) for pair in pairs}),
        contradictions=len(contradictions),
        contradiction_examples=tuple(contradictions[:EXAMPLES]),
        candidates=tuple(
            measure_candidate(lengths, length) for length in sorted({*MAX_LENGTHS, recommended})
        ),
        recommended_max_length=recommended,
    )


def summarize(lengths: Lengths) -> Summary:
    """Mean, percentiles and maximum of at least one length."""
    ranks = np.percentile(lengths, [50, 90, 95, 99], method="inverted_cdf")
    p50, p90, p95, p99 = (int(rank) for rank in ranks)
    return Summary(float(lengths.mean()), p50, p90, p95, p99, int(lengths.max()))


def histogram(lengths: Lengths, *, interval: int, max_length: int) -> tuple[Bin, ...]:
    """Count the lengths in bins from 0; those over `max_length`, if any, make one last bin."""
    within = lengths[lengths <= max_length]
    over = lengths.size - within.size
    counts = np.bincount(within // interval, minlength=max_length // interval + 1 if over else 0)
    bins = [
        Bin(index * interval, min((index + 1) * interval - 1, max_length), count)
        for index, count in enumerate(counts.tolist())
    ]
    if over:
        bins.append(Bin(max_length + 1, None, over))
    return tuple(bins)


def find_unknown(pairs: Sequence[QAPair], vocab: Vocab) -> Unknown:
    """Count the characters that the vocabulary lacks; shares are of all characters."""
    counts = count_characters(pairs)
    unknown = [(char, count) for char, count in counts.items() if char not in vocab.ids]
    unknown.sort(key=lambda item: (-item[1], item[0]))
    total = sum(count for _, count in unknown)
    share = total / max(1, counts.total())
    return Unknown(total, share, len(unknown), tuple(unknown[:MOST_COMMON]))


def find_contradictions(pairs: Sequence[QAPair]) -> list[Contradiction]:
    """The questions that stand there with different answers, those with the most answers first."""
    answers: dict[str, dict[str, None]] = {}
    for pair in pairs:
        answers.setdefault(pair.question, {})[pair.answer] = None
    found = [
        Contradiction(question, len(given), tuple(given)[:EXAMPLES])
        for question, given in answers.items()
        if len(given) > 1
    ]
    return sorted(found, key=lambda contradiction: -contradiction.count)


def measure_candidate(lengths: Lengths, max_length: int) -> Candidate:
    """What `max_length` would leave out, and what padding all other pairs to it would waste."""
    within = lengths[lengths <= max_length]
    over = lengths.size - within.size
    padding = 1 - float(within.mean()) / max_length if within.size else 0.0
    return Candidate(max_length, over, over / lengths.size, padding)


def recommend_max_length(pair: Summary) -> int:
    """The maximum length to train with, a multiple of 8.

    It holds 99 % of the pairs; only 95 % where a long tail makes that more than twice as long.
    It holds all of them where the longest needs at most a quarter more.
    """
    usual, tail, longest = (-(-length // 8) * 8 for length in (pair.p95, pair.p99, pair.max))
    enough = tail if tail <= 2 * usual else usual
    return longest if longest <= 1.25 * enough else enough
