from collections.abc import Generator

import pytest

from minigpt.cli.answer import Remarks, stream
from minigpt.cli.console import Console
from minigpt.settings import ChatSettings
from tests.cli.conftest import FakeAnswer, FakeSession

CHAT = ChatSettings()

Capture = pytest.CaptureFixture[str]


def test_pieces_are_written_once_and_the_line_is_ended(capsys: Capture) -> None:
    stream(FakeSession(), "你\x1b")
    assert capsys.readouterr().out == "re:你\\x1b\n"


def test_a_line_that_was_begun_is_ended_when_it_is_stopped(capsys: Capture) -> None:
    class Stopped(FakeSession):
        def ask(self, question: str) -> Generator[str, None, None]:
            yield "一"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(Stopped(), "a")
    assert capsys.readouterr().out == "一\n"


@pytest.mark.parametrize(
    ("reason", "in_talk", "words"),
    [
        ("stop", False, ""),
        ("length", False, "--max-new-tokens"),
        ("length", True, "/set max_new_tokens"),
        ("loop", False, "--no-loop-guard"),
        ("loop", True, "/set loop_guard no"),
    ],
)
def test_an_answer_that_did_not_end_by_itself_says_what_to_do(
    reason: str, in_talk: bool, words: str, capsys: Capture
) -> None:
    answer = FakeAnswer("a", "b", stop_reason=reason, tokens=CHAT.max_new_tokens)
    Remarks(Console(), in_talk=in_talk).after(answer, settings=CHAT)
    err = capsys.readouterr().err
    assert words in err
    assert bool(err) == bool(words)
    assert "--" not in err or not in_talk


def test_an_answer_that_the_model_had_no_room_for_is_not_told_to_be_longer(capsys: Capture) -> None:
    answer = FakeAnswer("a", "b", stop_reason="length", tokens=CHAT.max_new_tokens - 1)
    Remarks(Console()).after(answer, settings=CHAT)
    err = capsys.readouterr().err
    assert "what the model was trained on" in err
    assert "--max-new-tokens" not in err


def test_quiet_leaves_notes_out_but_not_the_stats_that_were_asked_for(capsys: Capture) -> None:
    answer = FakeAnswer("a", "b", stop_reason="loop", tokens=1, seconds_to_first=None)
    Remarks(Console(quiet=True)).after(answer, settings=ChatSettings(stats=True))
    assert capsys.readouterr().err == "(1 token, 6 tokens/s)\n"
