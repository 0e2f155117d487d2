import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.overlap import (
    bleu4,
    bleu_counts,
    bleu_of,
    chrf,
    chrf_counts,
    chrf_of,
    rouge_l,
)

texts = st.text(alphabet="甲乙丙a \n", max_size=10)
references = st.lists(texts, min_size=1, max_size=3)
corpora = st.lists(st.tuples(texts, references), min_size=1, max_size=5)
NATURAL = [
    ("中国的首都是北京。", ["首都是北京", "北京是中国的首都。"]),
    ("一九四九年 十月一日", ["1949年10月1日"]),
    ("Python 3 是 一种 语言", ["Python是一种编程语言", "一种语言"]),
    ("不知道", ["李白（701年－762年），字太白，号青莲居士。"]),
    ("", ["水"]),
    ("\ufffd", ["\u3000水 "]),
]


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("北京", "北京", 1),
        ("北京", "京北", 2 * 1 / (2 + 2)),  # order counts
        ("中国首都北京", "中国的首都是北京", 2 * 6 / (6 + 8)),  # gaps do not
        ("北京", "上海", 0),
        ("北 京\n", "北京", 1),
        ("", "", 1),
        (" ", "", 1),
        ("", "北", 0),
    ],
)
def test_rouge_l_is_the_hand_worked_number(answer: str, expected: str, score: float) -> None:
    assert rouge_l(answer, expected) == pytest.approx(score)


@given(texts, texts)
def test_rouge_l_is_that_of_the_longest_common_subsequence(first: str, second: str) -> None:
    found, wanted = "".join(first.split()), "".join(second.split())
    common = longest_common_subsequence(found, wanted)
    if found or wanted:
        assert rouge_l(first, second) == pytest.approx(2 * common / (len(found) + len(wanted)))
    assert rouge_l(first, second) == rouge_l(second, first)


def longest_common_subsequence(first: str, second: str) -> int:
    """By trying all subsequences, the longest first."""
    sizes = range(min(len(first), len(second)), -1, -1)
    return next(
        size for size in sizes if set(combinations(first, size)) & set(combinations(second, size))
    )


def test_rouge_l_of_ten_thousand_characters_is_exact() -> None:
    assert rouge_l("甲乙丙丁" * 2500, "丙丁甲乙" * 2500) == pytest.approx(9998 / 10000)


def transposed(rows: Sequence[Sequence[str]]) -> list[list[Any]]:
    """One list for each reference, None where a row has fewer: so sacrebleu takes them."""
    most = max(len(row) for row in rows)
    return [[row[i] if i < len(row) else None for row in rows] for i in range(most)]


def sacre_chrf(corpus: Sequence[tuple[str, list[str]]]) -> float:
    answers, expected = zip(*corpus, strict=True)
    return float(sacrebleu.CHRF().corpus_score(answers, transposed(expected)).score) / 100


def sacre_bleu(corpus: Sequence[tuple[str, list[str]]]) -> float:
    answers, expected = zip(*corpus, strict=True)
    metric = sacrebleu.BLEU(tokenize="char", force=True)
    return float(metric.corpus_score(answers, transposed(expected)).score) / 100


@given(corpora)
def test_chrf_and_bleu_are_those_of_sacrebleu(corpus: list[tuple[str, list[str]]]) -> None:
    answers, expected = zip(*corpus, strict=True)
    assert chrf(answers, expected) == pytest.approx(sacre_chrf(corpus), abs=1e-9)
    assert bleu4(answers, expected) == pytest.approx(sacre_bleu(corpus), abs=1e-9)


@pytest.mark.parametrize("corpus", [NATURAL, NATURAL[:1], NATURAL[1:3], NATURAL[3:], NATURAL[4:]])
def test_on_natural_text_too(corpus: list[tuple[str, list[str]]]) -> None:
    answers, expected = zip(*corpus, strict=True)
    assert chrf(answers, expected) == pytest.approx(sacre_chrf(corpus), abs=1e-9)
    assert bleu4(answers, expected) == pytest.approx(sacre_bleu(corpus), abs=1e-9)


def test_scores_of_natural_text_are_neither_nothing_nor_full() -> None:
    answers, expected = zip(*NATURAL, strict=True)
    assert 0.1 < chrf(answers, expected) < 0.9
    assert 0.1 < bleu4(answers, expected) < 0.9


@given(texts, references)
def test_the_counts_of_a_row_are_those_of_sacrebleu(answer: str, texts: list[str]) -> None:
    wanted = [[text] for text in texts]
    chrf_row = sacrebleu.CHRF()._extract_corpus_statistics([answer], wanted)[0]
    bleu_row = sacrebleu.BLEU(tokenize="char")._extract_corpus_statistics([answer], wanted)[0]
    assert chrf_counts(answer, texts).tolist() == chrf_row
    assert bleu_counts(answer, texts).tolist() == bleu_row


@given(st.lists(corpora, min_size=1, max_size=4))
def test_stacked_sums_are_scored_as_one_by_one(corpora: list[list[tuple[str, list[str]]]]) -> None:
    for counts, score, whole in ((chrf_counts, chrf_of, chrf), (bleu_counts, bleu_of, bleu4)):
        sums = np.array([np.sum([counts(*row) for row in rows], axis=0) for rows in corpora])
        one_by_one = [whole(*zip(*rows, strict=True)) for rows in corpora]
        assert score(sums).shape == (len(corpora),)
        assert score(sums) == pytest.approx(one_by_one, abs=1e-12)
        assert score(sums.astype(np.float64)) == pytest.approx(one_by_one, abs=1e-12)


@given(st.lists(st.text(alphabet="甲乙a", min_size=4, max_size=9), min_size=1, max_size=4))
def test_answers_that_are_right_score_in_full(answers: list[str]) -> None:
    expected = [[text] for text in answers]
    assert chrf(answers, expected) == pytest.approx(1)
    assert bleu4(answers, expected) == pytest.approx(1)


@pytest.mark.parametrize("score", [chrf, bleu4])
def test_no_rows_have_no_score_and_empty_answers_score_nothing(score: object) -> None:
    assert callable(score)
    assert math.isnan(score([], []))
    assert score([""], [["北京"]]) == 0
    assert score(["", ""], [["北"], [""]]) == 0


def test_a_row_needs_a_reference() -> None:
    with pytest.raises(ValueError, match="empty"):
        chrf_counts("北京", [])
    with pytest.raises(ValueError, match="empty"):
        bleu_counts("北京", [])
