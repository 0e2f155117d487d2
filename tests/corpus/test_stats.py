import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minigpt.corpus import repeats, scan
from minigpt.corpus.qa import QAPair
from minigpt.corpus.scan import DataFile
from minigpt.corpus.stats import (
    Contradiction,
    Summary,
    TokenStats,
    find_unknown,
    histogram,
    measure_candidate,
    recommend_max_length,
    summarize,
    token_stats,
)
from minigpt.corpus.vocab import SPECIAL_TOKENS, Vocab, build_vocab
from tests.corpus.examples import few_examples, pairs, write_lines, write_pairs

lengths = st.lists(st.integers(4, 700), min_size=1, max_size=40)


def measured(folder: Path, given: list[QAPair], vocab: Vocab | None = None) -> TokenStats:
    path = write_pairs(folder / "data.jsonl", [(pair.question, pair.answer) for pair in given])
    stats, _ = token_stats(DataFile(path), vocab or build_vocab(given))
    return stats


def counts(given: list[int]) -> NDArray[np.int64]:
    return np.bincount(given)


def summary(*, p95: int, p99: int, longest: int) -> Summary:
    return Summary(mean=1.0, p50=1, p90=1, p95=p95, p99=p99, max=longest)


@few_examples
@given(given=lengths)
def test_percentile_is_the_smallest_length_that_covers_its_share(given: list[int]) -> None:
    result = summarize(counts(given))
    ordered = sorted(given)
    for percent, found in [(50, result.p50), (90, result.p90), (95, result.p95), (99, result.p99)]:
        assert found == ordered[math.ceil(len(given) * percent / 100) - 1]
    assert result.max == ordered[-1]
    assert result.mean == pytest.approx(sum(given) / len(given))


@few_examples
@given(given=lengths, interval=st.integers(1, 50), max_length=st.integers(1, 600))
def test_bins_count_every_pair_once_where_it_belongs(
    given: list[int], interval: int, max_length: int
) -> None:
    bins = histogram(counts(given), interval=interval, max_length=max_length)
    for item in bins:
        last = math.inf if item.last is None else item.last
        assert item.count == sum(item.first <= length <= last for length in given)
    assert sum(item.count for item in bins) == len(given)
    assert bins[0].first == 0 or bins[0].last is None
    for item, following in pairwise(bins):
        assert item.last is not None
        assert following.first == item.last + 1


def test_lengths_over_the_maximum_make_one_last_bin() -> None:
    bins = histogram(counts([5, 25, 45, 46, 900]), interval=20, max_length=45)
    assert [(item.first, item.last, item.count) for item in bins] == [
        (0, 19, 1),
        (20, 39, 1),
        (40, 45, 1),
        (46, None, 2),
    ]


def test_interval_wider_than_everything_makes_one_bin() -> None:
    assert len(histogram(counts([5, 25]), interval=10**9, max_length=10**12)) == 1


@few_examples
@given(given=st.lists(pairs, min_size=1, max_size=6))
def test_tokens_are_characters_and_two_separators_a_pair(
    tmp_path_factory: pytest.TempPathFactory, given: list[QAPair]
) -> None:
    stats = measured(tmp_path_factory.mktemp("stats"), given)
    characters = sum(len(pair.question) + len(pair.answer) for pair in given)
    assert stats.pairs == len(given)
    assert stats.tokens == characters + 2 * len(given)
    assert stats.pair.mean == pytest.approx(stats.question.mean + stats.answer.mean + 2)
    assert stats.question == summarize(counts([len(pair.question) for pair in given]))
    assert stats.answer == summarize(counts([len(pair.answer) for pair in given]))
    assert sum(item.count for item in stats.histogram) == len(given)
    assert stats.unknown.count == 0


def test_unknown_characters_are_counted_and_named() -> None:
    found = find_unknown(Counter("aabcddadxy"), Vocab((*SPECIAL_TOKENS, "a")))
    assert (found.count, found.distinct) == (7, 5)
    assert found.share == pytest.approx(0.7)
    assert found.most_common == (("d", 3), ("b", 1), ("c", 1), ("x", 1), ("y", 1))


def test_duplicates_are_pairs_that_stood_there_before(tmp_path: Path) -> None:
    rows = [("a", "1", ""), ("a", "1", ""), ("a", "2", ""), ("a", "1", "t"), ("a1", "", "")]
    path = write_lines(
        tmp_path / "data.jsonl",
        [{"question": q, "answer": a, "topic": topic} for q, a, topic in rows],
    )
    stats, made = token_stats(DataFile(path), Vocab(SPECIAL_TOKENS))
    assert (stats.pairs, made.skipped) == (4, 1)
    assert stats.duplicates == 2


def plain_contradictions(given: list[QAPair]) -> list[Contradiction]:
    answers: dict[str, dict[str, None]] = {}
    for pair in given:
        answers.setdefault(pair.question, {})[pair.answer] = None
    found = [
        Contradiction(question, len(texts), tuple(texts)[:5])
        for question, texts in answers.items()
        if len(texts) > 1
    ]
    return sorted(found, key=lambda contradiction: -contradiction.count)


few_texts = st.sampled_from(["a", "b", "ab", "ba", "好", "好a", "\n!", "\N{GRINNING FACE}", '"'])


@few_examples
@given(
    given=st.lists(st.builds(QAPair, question=few_texts, answer=few_texts), min_size=1),
    at_once=st.integers(1, 40),
)
def test_what_repeats_is_found_in_parts_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, given: list[QAPair], at_once: int
) -> None:
    expected = plain_contradictions(given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "RANGE_BYTES", 100)
        patch.setattr(repeats, "MOST_AT_ONCE", at_once)
        patch.setattr(repeats, "MOST_IN_MEMORY", 200)
        stats = measured(tmp_path_factory.mktemp("stats"), given)
    assert stats.duplicates == len(given) - len({(pair.question, pair.answer) for pair in given})
    assert stats.contradictions == len(expected)
    assert list(stats.contradiction_examples) == expected[:5]


def test_contradictions_are_questions_with_different_answers(tmp_path: Path) -> None:
    given = [QAPair("a", "1"), QAPair("b", "1"), QAPair("a", "1"), QAPair("c", "1")]
    given += [QAPair("b", "2"), *(QAPair("c", str(answer)) for answer in range(9))]
    stats = measured(tmp_path, given)
    assert stats.contradictions == 2
    assert [(item.question, item.count) for item in stats.contradiction_examples] == [
        ("c", 9),
        ("b", 2),
    ]
    assert stats.contradiction_examples[0].answers == ("1", "0", "2", "3", "4")
    assert stats.contradiction_examples[1].answers == ("1", "2")


@few_examples
@given(given=lengths, max_length=st.integers(1, 600))
def test_candidate_costs_the_longer_pairs_and_the_pads(given: list[int], max_length: int) -> None:
    result = measure_candidate(counts(given), max_length)
    within = [length for length in given if length <= max_length]
    places = max_length * len(within)
    assert result.over == len(given) - len(within)
    assert result.over_share == pytest.approx(result.over / len(given))
    pads = sum(max_length - length for length in within)
    assert result.padding_share == pytest.approx(pads / places if places else 0)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (summary(p95=40, p99=50, longest=200), 56),
        (summary(p95=40, p99=120, longest=900), 40),
        (summary(p95=40, p99=50, longest=70), 56),
        (summary(p95=40, p99=50, longest=64), 64),
        (summary(p95=4, p99=4, longest=4), 8),
    ],
)
def test_recommended_length_follows_its_rule(figures: Summary, expected: int) -> None:
    assert recommend_max_length(figures) == expected


@few_examples
@given(given=lengths)
def test_recommended_length_covers_95_percent_in_multiples_of_8(given: list[int]) -> None:
    recommended = recommend_max_length(summarize(counts(given)))
    assert recommended % 8 == 0
    assert recommended < max(given) + 8
    assert sum(length <= recommended for length in given) >= 0.95 * len(given)


def test_recommended_length_is_among_the_candidates(tmp_path: Path) -> None:
    stats = measured(tmp_path, [QAPair("a" * 40, "b" * 40)])
    assert stats.recommended_max_length == 88
    assert 88 in [candidate.max_length for candidate in stats.candidates]
