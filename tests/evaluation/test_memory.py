import pytest

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.memory import Memory

MEMORY = Memory(
    [
        QAPair("人们常说的浪漫之都，也就是法国的首都，是哪里？", "巴黎。"),
        QAPair("水的化学式是什么？", "用H₂O表示水。"),
        QAPair("法国的首都叫什么？", "巴黎。"),
    ]
)


@pytest.mark.parametrize(
    ("answer", "held"),
    [("巴黎。", True), (" 巴黎。\n", True), ("巴黎", False), ("", False), (" ", False)],
)
def test_an_answer_is_memorised_if_it_stands_there_word_for_word(answer: str, held: bool) -> None:
    assert MEMORY.holds_answer(answer) is held


def test_an_empty_answer_is_not_memorised_even_if_training_has_one() -> None:
    assert not Memory([QAPair("问", " ")]).holds_answer("")


def test_a_pair_is_known_only_as_a_pair() -> None:
    assert MEMORY.holds_pair("法国的首都叫什么？", "巴黎。")
    assert not MEMORY.holds_pair("法国的首都叫什么？", "用H₂O表示水。")


def test_the_common_answer_is_the_most_frequent_and_the_first_of_equals() -> None:
    assert MEMORY.common_answer == "巴黎。"
    assert Memory([QAPair("一", "乙"), QAPair("二", "甲")]).common_answer == "乙"


def test_the_nearest_training_question_is_told_with_its_similarity() -> None:
    same, near, new = MEMORY.relatives(
        ["水的化学式是什么？", "人们常说的浪漫之都，也就是法国的首都，是哪里呢？", "今天下雨吗？"]
    )
    assert (same.question, same.similarity, same.is_near) == ("水的化学式是什么？", 1.0, True)
    assert (near.question, near.is_near) == (MEMORY.pairs[0].question, True)
    assert near.similarity < 1
    assert not new.is_near
