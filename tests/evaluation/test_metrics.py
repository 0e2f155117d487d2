import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.metrics import (
    character_f1,
    cmrc_exact_match,
    cmrc_f1,
    cmrc_segments,
    contains_any,
    exact_match,
)

texts = st.text(alphabet="甲乙丙a \n", max_size=8)


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("北京", "北京", 1),
        ("北京", "京北", 1),  # order does not count
        ("北京", "上海", 0),
        ("北京", "北京市", 2 * 2 / (2 + 3)),
        ("哈", "哈哈哈", 2 * 1 / (1 + 3)),  # each as often as it stands
        ("", "", 1),
        ("", "北", 0),
        (" 北京\n", "北京", 1),
        (" ", "", 1),
    ],
)
def test_f1_is_the_hand_worked_number(answer: str, expected: str, f1: float) -> None:
    assert character_f1(answer, expected) == pytest.approx(f1)


@given(texts, texts)
def test_f1_is_a_share_and_symmetric(first: str, second: str) -> None:
    assert 0 <= character_f1(first, second) <= 1
    assert character_f1(first, second) == character_f1(second, first)


@given(texts, texts)
def test_texts_that_match_have_full_f1(first: str, second: str) -> None:
    assert exact_match(first, first)
    assert character_f1(first, first) == 1
    if exact_match(first, second):
        assert character_f1(first, second) == 1


@given(texts)
def test_white_space_at_the_ends_does_not_count(text: str) -> None:
    assert exact_match(f" {text}\n", text)


def test_white_space_within_counts() -> None:
    assert not exact_match("北 京", "北京")


@pytest.mark.parametrize(
    ("answer", "accepted", "contained"),
    [
        ("是北京。", ["上海", "北京"], True),
        ("是北京。", ["上海"], False),
        ("是北京。", [], False),
        ("", ["北京"], False),
        ("北", ["北京"], False),
    ],
)
def test_one_accepted_text_in_the_answer_is_enough(
    answer: str, accepted: list[str], contained: bool
) -> None:
    assert contains_any(answer, accepted) is contained


@pytest.mark.parametrize(
    ("answer", "accepted", "matched"),
    [
        ("北京。", ["上海", "北京"], 1),
        ("《北京》", ["北京"], 1),
        ("GPT-2", ["gpt2"], 1),
        (" 北京 ", ["北京"], 1),
        ("北 京", ["北京"], 0),
        ("北京.", ["北京"], 0),  # only the marks of the paper's list, and no ASCII full stop
        ("北京…", ["北京"], 0),
        ("‘北京’", ["北京"], 0),  # the closing quote is in that list, the opening one is not
        ("", ["北京"], 0),
        ("", [""], 1),
        ("。", ["！"], 1),
        ("北京", [], 0),
    ],
)
def test_the_cmrc_match_is_the_hand_worked_one(
    answer: str, accepted: list[str], matched: float
) -> None:
    assert cmrc_exact_match(answer, accepted) == matched


@pytest.mark.parametrize(
    ("answer", "accepted", "f1"),
    [
        ("北京市", ["北京"], 2 * 2 / (3 + 2)),
        ("京北", ["北京"], 2 * 1 / (2 + 2)),  # a run, no bag
        ("北甲京", ["北乙京"], 2 * 1 / (3 + 3)),  # and no subsequence
        ("北京，上海", ["北京上海"], 1),
        ("在1994年", ["1994年"], 2 * 2 / (3 + 2)),  # a number is one segment
        ("1994年", ["1995年"], 2 * 1 / (2 + 2)),
        ("Open AI公司", ["openai公司"], 2 * 2 / (4 + 3)),
        ("北京", ["上海", "北京市", "南京"], 2 * 2 / (2 + 3)),  # the best of them
        ("北京", ["上海"], 0),
        ("北京", [], 0),
        ("北京", [""], 0),
        ("", [""], 0),  # so the program defines it, though its exact match is 1
        ("。", ["。"], 0),
    ],
)
def test_the_cmrc_f1_is_the_hand_worked_number(answer: str, accepted: list[str], f1: float) -> None:
    assert cmrc_f1(answer, accepted) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("words", "cut"),
    [
        ("the end.", "the end ."),
        ("the u.s. army. it's big", "the u.s. army . it 's big"),
        ("i don't, you'll", "i do n't , you 'll"),
        ("o'clock", "o'clock"),
        ("3,000 or 3.14", "3,000 or 3.14"),
        ("a, b;c", "a , b ; c"),
        ("(a) [b] 5%", "( a ) [ b ] 5 %"),
        ("wait...what?!", "wait ... what ? !"),
        ('he said "yes."', 'he said " yes . "'),
        ("''yes''", "'' yes ''"),
        ("a–b", "a – b"),
        ("j. k. rowling", "j. k. rowling"),
    ],
)
def test_words_are_cut_where_the_hand_cut_ones_are(words: str, cut: str) -> None:
    assert cmrc_segments(words) == cut.split()


def test_chinese_characters_are_segments_and_other_text_is_cut_into_words() -> None:
    assert cmrc_segments("《GPT-2》由Open AI于2019年，发布") == [
        *("gpt2", "由", "open", "ai", "于", "2019", "年", "发", "布")
    ]


def test_cmrc_scores_are_those_of_the_definition_on_200_rows() -> None:
    rows = [invented_row(random.Random(seed)) for seed in range(200)]
    found = [(cmrc_exact_match(*row), cmrc_f1(*row)) for row in rows]
    assert found == [pytest.approx((naive_match(*row), naive_f1(*row))) for row in rows]
    assert {match for match, _ in found} == {0, 1}
    assert len({round(f1, 9) for _, f1 in found}) > 15


def invented_row(source: random.Random) -> tuple[str, list[str]]:
    """An answer and what counts as right, some of it made from the answer."""
    pieces = [*"北京上海的是年月日", *"，。：？！“”；’《》、（）-_~…‘", "GPT", "gpt", "3.14", "12"]
    pieces += ["3,000", "a", "Tom", " ", "%", ",", "?", "!", "(", ")", ";"]
    answer = source.choices(pieces, k=source.randrange(12))
    accepted = [source.choices(pieces, k=source.randrange(12)) for _ in range(2)]
    changed = answer.copy()
    for _ in range(source.randrange(3)):
        place = source.randrange(len(changed) + 1)
        changed[place : place + source.randrange(2)] = source.choices(pieces)
    return "".join(answer), ["".join(row) for row in (*accepted, changed)]


NAIVE_MARKS = list("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def naive_match(answer: str, accepted: list[str]) -> float:
    return max(float(naive_unmarked(answer) == naive_unmarked(text)) for text in accepted)


def naive_unmarked(text: str) -> str:
    kept = ""
    for character in text.lower().strip():
        if character not in NAIVE_MARKS:
            kept += character
    return kept


def naive_f1(answer: str, accepted: list[str]) -> float:
    scores = []
    for text in accepted:
        first, second = naive_segments(answer), naive_segments(text)
        common = naive_common_run(first, second)
        scores.append(0.0)
        if common:
            precision, recall = common / len(first), common / len(second)
            scores.append(2 * precision * recall / (precision + recall))
    return max(scores)


def naive_segments(text: str) -> list[str]:
    segments, word = [], ""
    line = naive_unmarked(text)
    for place, character in enumerate(line):
        after = line[place + 1 : place + 2]
        joins = character == "," and after.isascii() and after.isdigit()
        if "一" <= character <= "龥" or (character in "%,?!();‘" and not joins):
            segments += [word, character]
            word = ""
        elif character == " ":
            segments.append(word)
            word = ""
        else:
            word += character
    return [segment for segment in [*segments, word] if segment]


def naive_common_run(first: list[str], second: list[str]) -> int:
    """As a table: how long the common run is that ends at both places."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            if one == other:
                table[i + 1][j + 1] = table[i][j] + 1
    return max(max(row) for row in table)


@given(texts, st.lists(texts, max_size=3))
def test_cmrc_scores_are_shares_that_more_accepted_texts_never_lower(
    answer: str, accepted: list[str]
) -> None:
    for score in (cmrc_exact_match, cmrc_f1):
        assert 0 <= score(answer, accepted) <= score(answer, [*accepted, answer]) <= 1


def test_ten_thousand_characters_are_compared_in_full() -> None:
    text = "甲乙丙丁" * 2500
    assert cmrc_f1(text, [text[2:]]) == pytest.approx(2 * 9998 / (10000 + 9998))
