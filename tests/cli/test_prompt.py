import io
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.cli import prompt
from minigpt.cli.console import Console
from minigpt.cli.process import Terminated
from minigpt.errors import DataError
from tests.cli.conftest import Fake, FakeSession, Run

Capture = pytest.CaptureFixture[str]


def pipe(content: bytes, capsys: Capture, *, session: FakeSession | None = None) -> list[str]:
    chosen = session or FakeSession()
    prompt.answer_lines(chosen, Console(), io.BytesIO(content), encoding="utf-8")
    return capsys.readouterr().out.split("\n")


def type_lines(monkeypatch: pytest.MonkeyPatch, *typed: str | type[BaseException]) -> None:
    waiting: Iterator[str | type[BaseException]] = iter([*typed, EOFError])

    def read(_: str) -> str:
        given = next(waiting)
        if isinstance(given, str):
            return given
        raise given

    monkeypatch.setattr(prompt, "_read", read)


def test_each_line_in_gives_one_line_out(capsys: Capture) -> None:
    assert pipe("你\n\n好\r\n  \n末".encode(), capsys) == ["re:你", "", "re:好", "", "re:末", ""]


def test_a_byte_order_mark_is_no_part_of_the_question(capsys: Capture) -> None:
    assert pipe("\ufeff你\n".encode(), capsys) == ["re:你", ""]


def test_an_answer_of_two_lines_stays_one(capsys: Capture) -> None:
    assert pipe(b"a\x1bb\n", capsys) == ["re:a\\x1bb", ""]


def test_lines_are_answered_in_modest_batches(capsys: Capture) -> None:
    session = FakeSession()
    pipe(b"q\n" * 100, capsys, session=session)
    assert sum(map(len, session.batches)) == 100
    assert max(map(len, session.batches)) == prompt.BATCH


def test_a_line_is_answered_before_the_next_one_comes(capsys: Capture) -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            answered.append(capsys.readouterr().out)
            return super().readline()

    answered: list[str] = []
    prompt.answer_lines(FakeSession(), Console(), Slow(b"a\nb\n"), encoding="utf-8")
    assert answered == ["", "re:a\n", "re:b\n"]


@given(st.lists(st.text(alphabet="ab你 \t", max_size=5), max_size=40), st.integers(1, 9))
def test_lines_arrive_whole_however_they_are_cut(lines: list[str], size: int) -> None:
    class Cut(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(size)

    content = "".join(line + "\n" for line in lines).encode()
    arrived = prompt._arriving(Cut(content), encoding="utf-8")
    assert [line for part in arrived for line in part] == lines


@pytest.mark.parametrize("content", [b"ok\n\xff\n", b"ok\n" + b"x" * (2 << 20)])
def test_a_line_that_cannot_be_read_is_named(content: bytes, capsys: Capture) -> None:
    with pytest.raises(DataError, match="stdin:2"):
        pipe(content, capsys)


def test_unknown_characters_are_told_once(capsys: Capture) -> None:
    session = FakeSession(unknown=("鑫", "\x1b"))
    prompt.answer_lines(session, Console(), io.BytesIO(b"a\nb\n" * 20), encoding="utf-8")
    err = capsys.readouterr().err
    assert err.count("鑫") == 1
    assert "\x1b" not in err


def test_ctrl_c_stops_the_answer_and_not_the_talk(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    type_lines(monkeypatch, "a!b", "next")
    prompt.talk(FakeSession(interrupt="!"), Console())
    captured = capsys.readouterr()
    assert captured.out == "re:a\nre:next\n"
    assert "stopped" in captured.err


def test_ctrl_c_at_the_prompt_says_how_to_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    type_lines(monkeypatch, KeyboardInterrupt, "", "  ")
    prompt.talk(FakeSession(), Console())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count(prompt.HOW_TO_LEAVE) == 2


def test_a_question_that_cannot_be_answered_does_not_end_the_talk(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Refusing(FakeSession):
        def ask(self, question: str) -> Iterator[str]:
            if question == "long":
                raise DataError("too long", hint="ask a shorter one")
            return super().ask(question)

    type_lines(monkeypatch, "long", "next")
    prompt.talk(Refusing(), Console())
    captured = capsys.readouterr()
    assert captured.out == "re:next\n"
    assert "error: too long\nhint: ask a shorter one\n" in captured.err


def test_sigterm_ends_the_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    type_lines(monkeypatch, Terminated)
    with pytest.raises(Terminated):
        prompt.talk(FakeSession(), Console())


def test_the_prompts_colour_takes_no_room_on_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("readline")
    monkeypatch.setattr(prompt, "wants_colour", lambda _: True)
    monkeypatch.setattr(prompt, "is_terminal", lambda _: True)
    marked = prompt._marked("> ")
    outside = "".join(part.partition("\x02")[2] for part in f"\x02{marked}".split("\x01"))
    assert outside == "> "


def test_one_question_streams_its_answer(run: Run, fake_service: Fake) -> None:
    fake_service("chat", ChatSession=FakeSession)
    done = run("chat", "你好\x1b")
    assert (done.code, done.out) == (0, "re:你好\\x1b\n")


def test_one_question_as_json_gives_the_whole_answer(run: Run, fake_service: Fake) -> None:
    fake_service("chat", ChatSession=FakeSession)
    done = run("chat", "你好", "--json")
    value = json.loads(done.out)
    assert (value["schema"], value["question"], value["answer"]) == (1, "你好", "re:你好")
    assert value["stop_reason"] == "stop"


@pytest.mark.parametrize("json_wanted", [False, True])
def test_questions_come_from_a_pipe(
    run: Run, fake_service: Fake, monkeypatch: pytest.MonkeyPatch, json_wanted: bool
) -> None:
    fake_service("chat", ChatSession=FakeSession)
    stdin = io.TextIOWrapper(io.BytesIO("你\n\n好\n".encode()), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", stdin)
    done = run("chat", *(["--json"] if json_wanted else []))
    assert done.code == 0
    if json_wanted:
        answers = [each["answer"] for each in json.loads(done.out)["answers"]]
        assert answers == ["re:你", "", "re:好"]
    else:
        assert done.out == "re:你\n\nre:好\n"


@pytest.mark.parametrize("arguments", [["chat", " "], ["chat", "--json"]])
def test_a_talk_that_cannot_be_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("minigpt.cli.app.is_terminal", lambda _: True)
    assert run(*arguments).code == 2
