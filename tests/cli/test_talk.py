import json
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from minigpt.cli.console import Console
from minigpt.cli.conversation import Conversation
from minigpt.cli.history import History
from minigpt.cli.loading import Loading
from minigpt.cli.process import Terminated
from minigpt.cli.talk import HOW_TO_LEAVE, Talk
from minigpt.errors import CheckpointError
from minigpt.services.chat import Answer, ChatSession
from minigpt.settings import Settings
from tests.cli.conftest import Run

Capture = pytest.CaptureFixture[str]
Line = str | type[BaseException]
QUESTION = "梨好吃吗"  # the untrained model has something to say to it, greedily too


class Typist:
    """Types lines and leaves; an exception is a key such as Ctrl-C."""

    def __init__(self, *lines: Line) -> None:
        self.lines: Iterator[Line] = iter([*lines, EOFError])
        self.remembered: list[str] = []

    def read(self) -> str:
        given = next(self.lines)
        if isinstance(given, str):
            return given
        raise given

    def remember(self, line: str) -> None:
        self.remembered.append(line)


class Interrupted(ChatSession):
    """Ctrl-C comes after the first character of each answer."""

    def ask(self, question: str) -> Generator[str, None, None]:
        for piece in super().ask(question):
            yield piece
            raise KeyboardInterrupt


@pytest.fixture
def settings(checkpoint_path: Path) -> Settings:
    values: dict[str, Any] = {
        "chat": {"checkpoint": checkpoint_path, "seed": 5, "max_new_tokens": 6},
        "runtime": {"device": "cpu"},
    }
    return Settings.model_validate(values)


Talked = Callable[..., Talk]


@pytest.fixture
def talked(settings: Settings) -> Talked:
    """A conversation in which the lines were typed."""

    def type_them(*lines: Line, kind: type[ChatSession] = ChatSession) -> Talk:
        conversation = Conversation(settings, Loading(lambda: kind.open(settings)))
        talk = Talk(conversation, Console(), Typist(*lines), History())
        talk.run()
        return talk

    return type_them


def expected(settings: Settings, questions: int, **changes: Any) -> list[Answer]:
    """The answers of a session of its own."""
    chat = settings.chat.model_copy(update=changes)
    session = ChatSession.open(settings.model_copy(update={"chat": chat}))
    return session.ask_many([QUESTION] * questions)


def test_questions_are_answered_on_stdout_alone(
    talked: Talked, settings: Settings, capsys: Capture
) -> None:
    talked(QUESTION, "", "  ", QUESTION)
    answers = expected(settings, 2)
    assert capsys.readouterr().out == "".join(f"{answer.text}\n" for answer in answers)


@pytest.mark.parametrize("word", ["quit", "exit", "退出", "help"])
def test_ordinary_words_are_questions(talked: Talked, word: str) -> None:
    assert [answer.question for answer in talked(word, QUESTION).conversation.answers] == [
        word,
        QUESTION,
    ]


@pytest.mark.parametrize("leave", ["/exit", "／退出", "/EXIT"])
def test_leaving_reads_no_further(talked: Talked, leave: str) -> None:
    talk = talked(leave, QUESTION)
    assert next(talk.editor.lines) == QUESTION  # type: ignore[attr-defined] # a Typist


def test_two_slashes_ask_a_question_of_one(talked: Talked) -> None:
    (answer,) = talked("//help").conversation.answers
    assert answer.question == "/help"


def test_pasted_lines_are_questions_one_by_one(talked: Talked) -> None:
    answers = talked(f"{QUESTION}\n\n苹好吃吗").conversation.answers
    assert [answer.question for answer in answers] == [QUESTION, "苹好吃吗"]


def test_ctrl_c_stops_the_answer_and_not_the_talk(talked: Talked, capsys: Capture) -> None:
    talk = talked(QUESTION, QUESTION, kind=Interrupted)
    captured = capsys.readouterr()
    assert [len(line) for line in captured.out.splitlines()] == [1, 1]
    assert captured.err.count("stopped") == 2
    assert talk.conversation.answers == []
    assert talk.conversation.last is not None
    assert talk.conversation.last.stop_reason == "interrupted"


def test_ctrl_c_drops_what_was_pasted_behind(talked: Talked, capsys: Capture) -> None:
    talked(f"{QUESTION}\n{QUESTION}", kind=Interrupted)
    assert capsys.readouterr().out.count("\n") == 1


def test_ctrl_c_at_the_prompt_says_how_to_leave(talked: Talked, capsys: Capture) -> None:
    talked(KeyboardInterrupt, KeyboardInterrupt)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count(HOW_TO_LEAVE) == 2


def test_sigterm_ends_the_talk(talked: Talked) -> None:
    with pytest.raises(Terminated):
        talked(Terminated)


def test_a_question_too_long_does_not_end_the_talk(
    talked: Talked, settings: Settings, capsys: Capture
) -> None:
    talked("苹" * 500, QUESTION)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [answer.text for answer in expected(settings, 2)[:1]]
    assert "error: the question has 500 characters" in captured.err


def test_unknown_commands_do_not_end_the_talk(talked: Talked, capsys: Capture) -> None:
    talk = talked("/hepl", QUESTION)
    assert "error: no command /hepl\nhint: did you mean /help?\n" in capsys.readouterr().err
    assert len(talk.conversation.answers) == 1


def test_a_model_that_cannot_be_loaded_ends_the_talk(settings: Settings) -> None:
    def load() -> ChatSession:
        raise CheckpointError("damaged")

    for line in (QUESTION, "/show", "/help"):
        conversation = Conversation(settings, Loading(load))
        with pytest.raises(CheckpointError, match="damaged"):
            Talk(conversation, Console(), Typist(line), History()).run()


def test_what_needs_no_model_does_not_wait_for_it(settings: Settings) -> None:
    go = threading.Event()

    def load() -> ChatSession:
        assert go.wait(10)
        return ChatSession.open(settings)

    conversation = Conversation(settings, Loading(load))
    Talk(conversation, Console(), Typist("/help", "/set top_k 3", "/nothing"), History()).run()
    assert not go.is_set()
    go.set()
    assert conversation.session.settings.top_k == 3


def test_settings_hold_from_the_next_answer_on(
    talked: Talked, settings: Settings, capsys: Capture
) -> None:
    talked(QUESTION, "/set temperature 0", "／设置　max-new-tokens　２", QUESTION)
    first, second = capsys.readouterr().out.splitlines()
    assert first == expected(settings, 1)[0].text
    assert second == expected(settings, 1, temperature=0.0, max_new_tokens=2)[0].text


def test_a_setting_out_of_bounds_names_the_bound_and_changes_nothing(
    talked: Talked, settings: Settings, capsys: Capture
) -> None:
    talk = talked("/set top_p 1.5", "/set temprature 1")
    err = capsys.readouterr().err
    assert "error: top_p = '1.5': Input should be less than or equal to 1" in err
    assert "hint: /set temperature 1" in err
    assert talk.conversation.settings == settings


def test_a_seed_begins_its_row_of_answers_anew(talked: Talked) -> None:
    answers = talked(QUESTION, "/set seed 5", QUESTION, QUESTION).conversation.answers
    assert [answer.seed for answer in answers] == [5, 5, 6]
    assert answers[0].text == answers[1].text


def test_show_names_the_model_and_every_setting(
    talked: Talked, settings: Settings, capsys: Capture
) -> None:
    talked("/set top_k 7", "/show", "/显示")
    err = capsys.readouterr().err
    assert err.count(str(settings.chat.checkpoint)) == 2
    for words in ("top k", "7", "repetition penalty", "loop guard", "seed", "device"):
        assert words in err


def test_retry_draws_with_the_next_seed_and_takes_the_place(
    talked: Talked, settings: Settings, capsys: Capture
) -> None:
    talk = talked(QUESTION, "/retry", "/重试")
    drawn = expected(settings, 3)
    assert capsys.readouterr().out.splitlines() == [answer.text for answer in drawn]
    assert [answer.seed for answer in talk.conversation.answers] == [7]


@pytest.mark.parametrize("greedy", ["temperature 0", "top_k 1"])
def test_a_greedy_retry_says_that_nothing_would_change(
    talked: Talked, capsys: Capture, greedy: str
) -> None:
    talked(f"/set {greedy}", QUESTION, "/retry")
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "would be the same" in captured.err


def test_a_greedy_retry_under_other_settings_is_answered(talked: Talked, capsys: Capture) -> None:
    talked("/set temperature 0", QUESTION, "/set max_new_tokens 2", "/retry")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_stopped_answer_can_be_asked_for_again(talked: Talked, capsys: Capture) -> None:
    talked("/set temperature 0", QUESTION, "/retry", kind=Interrupted)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("command", ["/retry", "/why", "/attention"])
def test_without_an_answer_there_is_nothing_to_look_at(
    talked: Talked, capsys: Capture, command: str
) -> None:
    talked(command, QUESTION, "/clear", command)
    assert capsys.readouterr().err.count("error: ") == 2


def test_why_explains_the_last_answer_on_stderr(talked: Talked, capsys: Capture) -> None:
    talk = talked(QUESTION, "/why", "／为什么")
    captured = capsys.readouterr()
    (answer,) = talk.conversation.answers
    assert captured.out == f"{answer.text}\n"
    ended = answer.stop_reason == "stop"
    assert captured.err.count(f"{len(answer.text) + ended} choices") == 2


def test_pictures_of_a_talk_do_not_replace_each_other(
    talked: Talked, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []

    def draw(session: ChatSession, answer: Answer, path: Path, **_: object) -> None:
        path.touch()
        drawn.append(path)

    monkeypatch.setattr("minigpt.services.attention.draw_attention", draw)
    talked(QUESTION, "/attention", "／注意力", "/attention 图.svg", "/attention a.gif")
    assert drawn == [Path("attention.png"), Path("attention-2.png"), Path("图.svg")]


def test_save_says_what_it_did(talked: Talked, capsys: Capture) -> None:
    saved = "/save 对话.jsonl"
    talk = talked("/save", saved, "/set max_new_tokens 30", QUESTION, QUESTION, saved, saved)
    whole = sum(
        each.stop_reason == "stop" and each.text != "" for each in talk.conversation.answers
    )
    err = capsys.readouterr().err
    assert "error: /save takes the name of a file" in err
    assert f"{whole} of 2 pairs added to 对话.jsonl" in err
    if whole:
        rows = [json.loads(line) for line in Path("对话.jsonl").read_text("utf-8").splitlines()]
        assert all(row["question"] == QUESTION for row in rows)


def test_another_model_answers_under_the_settings_of_now(
    talked: Talked, settings: Settings, tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "另一个.safetensors"
    other.write_bytes(settings.chat.checkpoint.read_bytes())
    talk = talked(QUESTION, "/set top_k 5", f"/model {other}", "/why", QUESTION)
    captured = capsys.readouterr()
    assert talk.conversation.session.path == other
    assert talk.conversation.session.settings.top_k == 5
    assert "there is no answer of this model yet" in captured.err
    assert len(captured.out.splitlines()) == 2


def test_a_model_that_is_not_there_leaves_the_present_one(
    talked: Talked, settings: Settings, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "damaged").write_bytes(b"x")
    talk = talked(QUESTION, "/model nowhere", "/model damaged", "/model", "/why", QUESTION)
    err = capsys.readouterr().err
    assert err.count("error: ") == 3
    assert "choices" in err
    assert talk.conversation.session.path == settings.chat.checkpoint
    assert len(talk.conversation.answers) == 2


def test_clear_forgets_what_was_said(talked: Talked, capsys: Capture) -> None:
    talk = talked(QUESTION, QUESTION, "/clear")
    assert talk.conversation.answers == []
    assert "forgot 2 answers" in capsys.readouterr().err


def test_what_is_typed_can_be_had_again(talked: Talked) -> None:
    talk = talked(QUESTION, QUESTION, "", "/help")
    assert talk.editor.remembered == talk.history.lines == [QUESTION, "/help"]  # type: ignore[attr-defined] # a Typist


def test_a_history_that_cannot_be_written_is_a_warning(
    talked: Talked, settings: Settings, tmp_path: Path, capsys: Capture
) -> None:
    history = History(tmp_path / "state" / "chat_history")
    history.load()
    (tmp_path / "state" / "chat_history").unlink()
    (tmp_path / "state" / "chat_history").mkdir()
    conversation = Conversation(settings, Loading(lambda: ChatSession.open(settings)))
    Talk(conversation, Console(), Typist(QUESTION, "/help"), history).run()
    captured = capsys.readouterr()
    assert captured.err.count("warning: ") == 1
    assert len(captured.out.splitlines()) == 1


def test_a_missing_model_is_told_before_anything_is_typed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minigpt.cli.app.is_terminal", lambda _: True)
    done = run("chat", "--checkpoint", "nowhere")
    assert (done.code, done.out) == (4, "")
    assert "/help" not in done.err
