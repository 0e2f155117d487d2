import json

import pytest

from tests.cli.conftest import Fake, FakeSession, Run


def test_one_question_streams_its_answer(run: Run, fake_service: Fake) -> None:
    fake_service("chat", ChatSession=FakeSession)
    done = run("chat", "你好\x1b")
    assert (done.code, done.out) == (0, "re:你好\\x1b\n")


def test_one_question_as_json_gives_the_whole_answer(run: Run, fake_service: Fake) -> None:
    fake_service("chat", ChatSession=FakeSession)
    done = run("chat", "你好", "--json")
    value = json.loads(done.out)
    assert (value["schema"], value["question"], value["answer"]) == (1, "你好", "re:你好")
    assert (value["stop_reason"], value["tokens_per_s"]) == ("stop", 6.0)


def test_a_question_of_a_slash_is_a_question(run: Run, fake_service: Fake) -> None:
    fake_service("chat", ChatSession=FakeSession)
    assert run("chat", "/help").out == "re:/help\n"


@pytest.mark.parametrize(
    ("arguments", "at_terminal", "hint"),
    [
        ([" "], False, "QUESTION"),
        (["--json"], True, "chat QUESTION --json"),
        (["--jsonl"], True, "< questions.jsonl"),
        (["你好", "--jsonl"], False, "< questions.jsonl"),
        (["--jsonl", "--json"], False, "leave one out"),
        (["--attention", "a.png"], False, "chat QUESTION --attention"),
        (["你好", "--attention", "a.gif"], False, "attention: "),
    ],
)
def test_what_does_not_go_together_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], at_terminal: bool, hint: str
) -> None:
    monkeypatch.setattr("minigpt.cli.app.is_terminal", lambda _: at_terminal)
    done = run("chat", *arguments)
    assert done.code == 2
    assert hint in done.err.splitlines()[-1]
