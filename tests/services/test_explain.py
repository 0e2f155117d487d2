import math

import pytest
import torch

from minigpt.corpus.vocab import SEP_ID
from minigpt.services.chat import Answer, ChatSession
from minigpt.services.explain import END, Choice, explain
from tests.services.tiny import PAIRS, Finished, tiny_settings

QUESTIONS = [question for question, _ in PAIRS[:5]]


def said(finished: Finished, question: str, **changes: object) -> tuple[ChatSession, Answer]:
    values = {f"chat__{name}": value for name, value in {"seed": 1, **changes}.items()}
    session = ChatSession.open(tiny_settings(finished.root, **values))
    list(session.ask(question))
    return session, session.last


def plain_chances(session: ChatSession, answer: Answer) -> list[float]:
    """The chance of each character, one forward pass over all before it for each."""
    tokenizer = session.tokenizer
    ids = tokenizer.encode_prompt(answer.question)
    targets = tokenizer.encode(answer.text) + [SEP_ID] * (answer.stop_reason == "stop")
    chances = []
    for target in targets:
        with torch.no_grad():
            chances.append(float(session.model(torch.tensor([ids]))[0, -1].softmax(-1)[target]))
        ids = [*ids, target]
    return chances


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("limit", [3, 20])
def test_the_chances_are_those_of_the_model_one_after_the_other(
    finished: Finished, question: str, limit: int
) -> None:
    session, answer = said(finished, question, max_new_tokens=limit, temperature=2.0)
    choices = explain(session, answer)
    assert [choice.chance for choice in choices] == pytest.approx(plain_chances(session, answer))
    ended = [END] * (answer.stop_reason == "stop")
    assert [choice.said for choice in choices] == [*answer.text, *ended]


def test_they_do_not_depend_on_how_the_answer_was_drawn(finished: Finished) -> None:
    session, answer = said(finished, QUESTIONS[0])
    before = explain(session, answer)
    hotter = session.settings.model_copy(update={"temperature": 9.0, "top_k": 1, "top_p": 0.1})
    session.configure(hotter)
    assert explain(session, answer) == before


def test_the_others_are_the_likeliest_rest(finished: Finished) -> None:
    session, answer = said(finished, QUESTIONS[1], temperature=3.0)
    everything = explain(session, answer, others=10_000)
    known = {*session.tokenizer.vocab.tokens[3:], END}
    for choice, few in zip(everything, explain(session, answer), strict=True):
        assert {choice.said, *(name for name, _ in choice.others)} == known
        chances = [chance for _, chance in choice.others]
        assert chances == sorted(chances, reverse=True)
        assert math.fsum([choice.chance, *chances]) <= 1 + 1e-6  # <pad> and <unk> have the rest
        assert few.others == choice.others[:3]


def test_greedy_choices_are_the_likeliest(finished: Finished) -> None:
    session, answer = said(finished, QUESTIONS[2], temperature=0.0)
    assert all(choice.is_likeliest for choice in explain(session, answer))


@pytest.mark.parametrize(("rival", "likeliest"), [(0.3, True), (0.4, True), (0.5, False)])
def test_a_choice_is_the_likeliest_when_nothing_is_likelier(rival: float, likeliest: bool) -> None:
    assert Choice("a", 0.4, (("b", rival),)).is_likeliest is likeliest
    assert Choice("a", 0.0, ()).is_likeliest


def test_an_answer_of_nothing_has_no_choices(finished: Finished) -> None:
    session, answer = said(finished, QUESTIONS[0])
    nothing = Answer(answer.question, "", "interrupted", 0, 0, 0.0, 0.0, None, ())
    assert explain(session, nothing) == ()
