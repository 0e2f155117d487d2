"""How long the pairs are, what the vocabulary lacks, and what repeats or contradicts itself."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.columns import added
from minigpt.corpus.repeats import Contested, Repeats
from minigpt.corpus.scan import CharacterCounts, DataFile, Scan, read_pairs_at
from minigpt.corpus.takings import Arrays
from minigpt.corpus.vocab import Vocab
from minigpt.events import Report, ignore

MAX_LENGTHS = (32, 64, 96, 128, 140, 192, 256, 512)  # the tutorial advises 140, trains with 128
MOST_COMMON = 10
EXAMPLES = 5

Counts = NDArray[np.int64]


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
    data: DataFile,
    vocab: Vocab,
    *,
    interval: int = 20,
    max_length: int = 512,
    report: Report = ignore,
) -> tuple[TokenStats, Scan]:
    """Measure the pairs of a file.

    Args:
        data: The file.
        vocab: What its pairs are encoded with.
        interval: Width of a bin of the histogram, in tokens.
        max_length: Longer pairs are gathered in one last bin.
        report: Told of bad lines, and how far it is.

    Returns:
        The figures, and the pass that was made.

    Raises:
        DataError: As `read_file` does.
    """
    scan = Scan(data, "measures", report, {})
    with Repeats() as repeats, contextlib.closing(scan.parts()) as parts:
        measured = _Sums()
        for arrays in parts:
            measured.add(arrays)
            repeats.add(arrays["records"], arrays["buckets"])
        repeated = repeats.find(EXAMPLES)
    lengths = measured.pair_lengths
    summary = summarize(lengths)
    recommended = recommend_max_length(summary)
    figures = TokenStats(
        pairs=scan.pairs,
        tokens=_total(lengths),
        question=summarize(measured.question_lengths),
        answer=summarize(measured.answer_lengths),
        pair=summary,
        histogram=histogram(lengths, interval=interval, max_length=max_length),
        unknown=find_unknown(measured.characters.counter(), vocab),
        duplicates=repeated.duplicates,
        contradictions=repeated.contradictions,
        contradiction_examples=tuple(_contradictions(data, repeated.examples)),
        candidates=tuple(
            measure_candidate(lengths, length) for length in sorted({*MAX_LENGTHS, recommended})
        ),
        recommended_max_length=recommended,
    )
    return figures, scan


class _Sums:
    """The counts of all parts, added up."""

    def __init__(self) -> None:
        self.characters = CharacterCounts()
        self.question_lengths = self.answer_lengths = self.pair_lengths = np.zeros(0, np.int64)

    def add(self, arrays: Arrays) -> None:
        """Add those of a part."""
        self.characters.add(arrays)
        self.question_lengths = added(self.question_lengths, arrays["question_lengths"])
        self.answer_lengths = added(self.answer_lengths, arrays["answer_lengths"])
        self.pair_lengths = added(self.pair_lengths, arrays["pair_lengths"])


def summarize(counts: Counts) -> Summary:
    """Mean, percentiles and maximum of at least one length.

    Args:
        counts: How many have each length, from 0.
    """
    number = int(counts.sum())
    up_to = counts.cumsum()
    p50, p90, p95, p99 = (
        int(np.searchsorted(up_to, -(-number * percent // 100))) for percent in (50, 90, 95, 99)
    )
    return Summary(_total(counts) / number, p50, p90, p95, p99, int(np.flatnonzero(counts)[-1]))


def _total(counts: Counts) -> int:
    return int((counts * np.arange(counts.size)).sum())


def histogram(counts: Counts, *, interval: int, max_length: int) -> tuple[Bin, ...]:
    """The lengths in bins from 0; those over `max_length`, if any, make one last bin."""
    lengths = np.flatnonzero(counts)
    within = lengths[lengths <= max_length]
    over = int(counts[max_length + 1 :].sum())
    heights = np.bincount(
        within // interval,
        weights=counts[within],
        minlength=max_length // interval + 1 if over else 0,
    )
    bins = [
        Bin(index * interval, min((index + 1) * interval - 1, max_length), int(count))
        for index, count in enumerate(heights.tolist())
    ]
    if over:
        bins.append(Bin(max_length + 1, None, over))
    return tuple(bins)


def find_unknown(counts: Counter[str], vocab: Vocab) -> Unknown:
    """Which of these characters the vocabulary lacks; shares are of all characters."""
    unknown = [(char, count) for char, count in counts.items() if char not in vocab.ids]
    unknown.sort(key=lambda item: (-item[1], item[0]))
    total = sum(count for _, count in unknown)
    share = total / max(1, counts.total())
    return Unknown(total, share, len(unknown), tuple(unknown[:MOST_COMMON]))


def _contradictions(data: DataFile, found: Sequence[Contested]) -> Iterator[Contradiction]:
    for contested in found:
        pairs = read_pairs_at(data, contested.starts)
        yield Contradiction(
            pairs[0].question, contested.count, tuple(pair.answer for pair in pairs)
        )


def measure_candidate(counts: Counts, max_length: int) -> Candidate:
    """What `max_length` would leave out, and what padding all other pairs to it would waste."""
    within = counts[: max_length + 1]
    number, fit = int(counts.sum()), int(within.sum())
    padding = 1 - _total(within) / fit / max_length if fit else 0.0
    return Candidate(max_length, number - fit, (number - fit) / number, padding)


def recommend_max_length(pair: Summary) -> int:
    """The maximum length to train with, a multiple of 8.

    It holds 99 % of the pairs; only 95 % where a long tail makes that more than twice as long.
    It holds all of them where the longest needs at most a quarter more.
    """
    usual, tail, longest = (-(-length // 8) * 8 for length in (pair.p95, pair.p99, pair.max))
    enough = tail if tail <= 2 * usual else usual
    return longest if longest <= 1.25 * enough else enough
