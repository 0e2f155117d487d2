import math

import pytest

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.breakdown import (
    LENGTHS,
    QUESTION_WORDS,
    break_down,
    length_label,
    question_word,
)
from minigpt.evaluation.memory import Memory
from tests.evaluation.examples import measured


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("天空为什么是蓝色的？", "为什么"),
        ("他为何离开？", "为什么"),
        ("红烧肉怎么做？", "怎么"),
        ("如何学好数学？", "怎么"),
        ("地球到月亮有多远？", "几, 多少"),
        ("一年有几个月？", "几, 多少"),
        ("这条铁路长多少公里？", "几, 多少"),
        ("电话是谁发明的？", "谁"),
        ("他是什么人？", "谁"),
        ("法国的首都是哪里？", "哪"),
        ("水的化学式是什么？", "什么"),
        ("他有何贡献？", "什么"),
        ("鲸鱼是鱼吗？", "吗, 是否"),
        ("你会不会唱歌？", "吗, 是否"),
        ("介绍一下北京", "other"),
        ("", "other"),
    ],
)
def test_a_question_is_known_by_its_word(question: str, word: str) -> None:
    assert question_word(question) == word


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("你知道什么是电吗？", "什么"),  # the polite 吗
        ("谁知道天空为什么是蓝的？", "为什么"),
        ("这部电影怎么样，是谁导演的？", "怎么"),
        ("哪个人发明了什么？", "哪"),
        ("茶几是做什么用的？", "什么"),  # 几 is no number here
        ("几何学研究什么？", "什么"),
        ("许多大学在哪里？", "哪"),
        ("任何人都能去吗？", "吗, 是否"),
        ("吗啡能止痛，对不对？", "吗, 是否"),
        ("介绍一下吗啡", "other"),
    ],
)
def test_the_narrower_word_wins_and_words_in_words_do_not_count(question: str, word: str) -> None:
    assert question_word(question) == word


@pytest.mark.parametrize(
    ("length", "label"),
    [(1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-7"), (63, "32-63"), (64, "64+"), (999, "64+")],
)
def test_lengths_are_put_in_buckets(length: int, label: str) -> None:
    assert length_label("字" * length) == label


def test_the_buckets_of_each_way_hold_every_pair_once_and_add_up() -> None:
    pairs = [
        QAPair(f"{word}{n}？", "答" * (n * 7 % 70 + 1), topic="甲" if n % 3 else "")
        for n, word in enumerate([label for label, _ in QUESTION_WORDS] * 5)
    ]
    said = [pair.answer if n % 2 else "错" for n, pair in enumerate(pairs)]
    one = measured(pairs, said, memory=Memory([pairs[0], QAPair("别的", "别的")]))
    found = break_down(one.rows, one.tally, seed=1)
    assert set(found) == {"question_word", "answer_length", "topic", "training_question"}
    overall = one.tally.figures()["exact_match"]
    for breakdown in found.values():
        assert breakdown.title
        assert breakdown.meaning
        counts = [bucket.pairs for bucket in breakdown.buckets]
        right = sum(bucket.metrics["exact_match"] * bucket.pairs for bucket in breakdown.buckets)
        assert sum(counts) == len(pairs)
        assert min(counts) > 0
        assert right / len(pairs) == pytest.approx(overall)


def test_buckets_stand_in_the_order_of_their_table() -> None:
    pairs = [QAPair("好吗", "字" * length) for length in (70, 1, 5)] + [QAPair("谁", "字")]
    found = break_down(*(lambda one: (one.rows, one.tally))(measured(pairs)), seed=1)
    assert [bucket.label for bucket in found["question_word"].buckets] == ["谁", "吗, 是否"]
    assert [bucket.label for bucket in found["answer_length"].buckets] == ["1", "4-7", "64+"]


def test_what_is_not_known_divides_nothing() -> None:
    one = measured([QAPair("问", "答")], ["答"])
    assert set(break_down(one.rows, one.tally, seed=1)) == {"question_word", "answer_length"}


def test_topics_without_accepted_answers_have_loss_and_f1() -> None:
    one = measured([QAPair("问", "答", topic="数学")], ["答"])
    (bucket,) = break_down(one.rows, one.tally, seed=1)["topic"].buckets
    assert bucket.label == "数学"
    assert {"loss_answer", "character_f1"} <= bucket.metrics.keys()
    assert "accuracy" not in bucket.metrics


def test_small_buckets_claim_no_interval() -> None:
    pairs = [QAPair("谁", "答")] * 9 + [QAPair("哪", "答")] * 10
    one = measured(pairs, ["答", "错"] * 9 + ["答"])
    nine, ten = break_down(one.rows, one.tally, seed=1)["question_word"].buckets
    assert nine.intervals == {}
    assert all(math.isfinite(each.low) for each in ten.intervals.values())
    assert ten.intervals.keys() == ten.metrics.keys()


def test_lengths_rise() -> None:
    assert list(LENGTHS) == sorted(set(LENGTHS))
