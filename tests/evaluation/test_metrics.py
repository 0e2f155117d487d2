import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.metrics import character_f1, contains_any, exact_match

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
