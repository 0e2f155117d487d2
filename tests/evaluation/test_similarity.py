import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation import similarity
from minigpt.evaluation.similarity import NEAR, Nearest, QuestionIndex, normalise

questions = st.text(alphabet="甲乙丙a？ ", max_size=8)
many = st.lists(questions, min_size=1, max_size=30)


def grams(text: str) -> set[str]:
    padded = f"\0\0{normalise(text)}\0\0"
    return {padded[place : place + 3] for place in range(len(padded) - 2)}


def nearest_of_all(training: list[str], question: str) -> Nearest:
    """By looking at every one of them."""
    wanted = grams(question)
    scores = [len(wanted & grams(text)) / len(wanted | grams(text)) for text in training]
    return Nearest(scores.index(max(scores)), max(scores))


@pytest.mark.parametrize("first_read", [0, 5, 4096])
@given(training=many, asked=many)
def test_the_nearest_is_the_first_best_of_all(
    first_read: int, training: list[str], asked: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_FIRST_READ", first_read)
        found = QuestionIndex(training).nearest(asked)
    assert found == [nearest_of_all(training, question) for question in asked]


def test_the_nearest_of_many_that_are_alike_is_found() -> None:
    training = [f"{a}加{b}等于多少？" for a in range(60) for b in range(60)]
    index = QuestionIndex(training)
    for question in ("7加59等于多少", "77加59等于多少？", "70 + 5", "多少", "七加五"):
        assert index.nearest([question]) == [nearest_of_all(training, question)]


@given(many)
def test_a_training_question_is_nearest_to_itself(training: list[str]) -> None:
    for question, found in zip(training, QuestionIndex(training).nearest(training), strict=True):
        assert found.score == 1
        assert grams(training[found.index]) == grams(question)


@pytest.mark.parametrize(
    ("first", "second", "score"),
    [
        ("北京", "北京", 1),
        ("北京", "上海", 0),
        ("北京", "北海", 1 / 7),  # ..北 of seven: ..北 .北京 北京. 京.. .北海 北海. 海..
        ("中国的首都是哪里", "中国首都是哪里", 7 / 12),
        ("", "？", 1),  # nothing but punctuation: the same nothing
        ("", "北京", 0),
    ],
)
def test_the_score_is_the_hand_worked_number(first: str, second: str, score: float) -> None:
    assert QuestionIndex([first]).nearest([second])[0].score == pytest.approx(score)
    assert QuestionIndex([second]).nearest([first])[0].score == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("北京 在哪里？", "北京在哪里"),
        ("ＧＰＴ－２ 是什么?", "gpt2是什么"),
        ("《红楼梦》的作者，是谁……", "红楼梦的作者是谁"),
        ("\u3000北\u200b京\n", "北京"),
        ("1+1=?", "1+1="),  # signs are no punctuation
        ("😀", "😀"),
        ("\ud800", "\ud800"),  # half a character, as a broken file or terminal gives it
        ("", ""),
    ],
)
def test_forms_of_the_same_text_are_made_one(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_without_training_questions_nothing_is_near() -> None:
    assert QuestionIndex([]).nearest(["北京"]) == [Nearest(-1, 0.0)]
    assert QuestionIndex(["北京"]).nearest([]) == []


def test_half_a_character_is_one_of_its_own() -> None:
    assert QuestionIndex(["甲", "\ud800"]).nearest(["\ud800？"]) == [Nearest(1, 1.0)]


def test_a_very_long_question_is_no_special_case() -> None:
    question = "甲乙丙丁戊" * 2000
    assert QuestionIndex(["甲", question]).nearest([question + "己"])[0].index == 1


@pytest.mark.parametrize(
    ("first", "second", "near"),
    [
        ("《红楼梦》的作者是谁？", "红楼梦的 作者是谁", True),
        (
            "请问世界最高峰珠穆朗玛峰的海拔高度大约是多少米？",
            "请问世界最高峰珠穆朗玛峰的海拔高度大约是多少米呢？",
            True,
        ),
        ("请问以基多为首都的国家叫什么？", "请问以基辅为首都的国家叫什么？", False),
        ("请问以基辅为首都的国家叫什么？", "哪个国家的首都是基辅？", False),
    ],
)
def test_near_is_the_same_question_and_not_the_same_pattern(
    first: str, second: str, near: bool
) -> None:
    assert (QuestionIndex([first]).nearest([second])[0].score >= NEAR) is near
