import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.repetition import (
    distinct_n,
    is_loop,
    loop_start,
    repeated_share,
    trailing_loop,
)

texts = st.text(alphabet="甲乙丙", max_size=40)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("", 0),
        ("北京", 0),
        ("甲乙丙丁", 0),
        ("甲乙丙丁甲乙丙丁", 1 / 5),  # five 4-grams, the last a repeat
        ("哈哈哈哈哈", 1 / 2),
        ("哈" * 103, 99 / 100),
    ],
)
def test_repeated_4_grams_are_counted_by_hand(answer: str, share: float) -> None:
    assert repeated_share(answer) == pytest.approx(share)


def test_other_orders_are_counted_too() -> None:
    assert repeated_share("甲乙甲乙", 1) == pytest.approx(2 / 4)
    assert repeated_share("甲乙甲乙", 2) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("answers", "n", "share"),
    [
        (["甲乙", "甲丙"], 1, 3 / 4),
        (["甲乙", "甲丙"], 2, 1),
        (["甲乙", "甲乙"], 2, 1 / 2),  # none across answers
        (["甲", "甲乙"], 2, 1),
    ],
)
def test_distinct_n_is_counted_by_hand(answers: list[str], n: int, share: float) -> None:
    assert distinct_n(answers, n) == pytest.approx(share)


@pytest.mark.parametrize("answers", [[], [""], ["甲", ""]])
def test_answers_without_an_n_gram_are_neither_distinct_nor_alike(answers: list[str]) -> None:
    assert math.isnan(distinct_n(answers, 2))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("", None),
        ("哈", None),
        ("哈哈哈", None),
        ("哈" * 11, None),
        ("哈" * 12, "哈"),
        ("他说：" + "哈" * 12, "哈"),
        ("哈" * 12 + "。", None),
        ("好的" * 5, None),
        ("好的" * 6, "好的"),
        ("一步一步一步", None),
        ("我不知道，" * 2, None),
        ("我不知道，" * 3, "我不知道，"),
        ("因为我不知道，" + "我不知道，" * 2, "我不知道，"),
        ("我不知道，" * 3 + "我不", "我不知道，"),  # cut in the middle
        ("一二三四五六七八九十" * 6, "一二三四五六七八九十"),
        (
            "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸" * 3,
            "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸",
        ),
        ("一二三四五六七八九十甲乙丙丁戊己庚辛壬癸子" * 4, None),  # 21 characters
    ],
)
def test_a_loop_is_what_is_repeated_three_times_over_twelve_characters(
    text: str, unit: str | None
) -> None:
    assert trailing_loop(text) == unit
    assert is_loop(text) is (unit is not None)


@given(texts)
def test_loops_are_those_that_trying_every_unit_finds(text: str) -> None:
    units = [text[-size:] for size in range(1, min(20, len(text)) + 1)]
    repeats = [unit for unit in units if text.endswith(unit * max(3, -(-12 // len(unit))))]
    assert is_loop(text) is bool(repeats)
    if repeats:
        assert len(trailing_loop(text) or "") == len(repeats[0])


@given(texts, st.text(alphabet="甲乙丁", min_size=1, max_size=20), st.integers(0, 20))
def test_a_loop_reaches_back_to_its_beginning_and_no_further(
    before: str, unit: str, cut: int
) -> None:
    text = before + (unit * 40)[: -cut or None]
    start, found = loop_start(text), trailing_loop(text)
    assert start is not None
    assert found is not None
    assert start <= len(before)
    assert (found * len(text)).startswith(text[start:])
    assert start == 0 or text[start - 1] != text[start - 1 + len(found)]


@given(texts)
def test_ids_loop_as_characters_do(text: str) -> None:
    assert loop_start([ord(character) for character in text]) == loop_start(text)
