import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.cli import lines
from minigpt.cli.console import Console
from minigpt.cli.lines import BATCH, LONGEST_LINE, Form, JsonLines, TextLines, answer_lines
from minigpt.errors import DataError
from minigpt.settings import ChatSettings
from tests.cli.conftest import Fake, FakeSession, Run

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
CHAT = ChatSettings()


def pipe(
    content: bytes, capsys: Capture, *, session: FakeSession | None = None, form: Form | None = None
) -> list[str]:
    form = form or TextLines("utf-8")
    answer_lines(session or FakeSession(), Console(), io.BytesIO(content), form=form, settings=CHAT)
    return capsys.readouterr().out.split("\n")


def pipe_objects(content: bytes, capsys: Capture, **keys: str) -> list[Any]:
    names = {"question_key": "question", "answer_key": "answer"} | keys
    form = JsonLines(Console(), **names)
    out = pipe(content, capsys, form=form)
    assert out.pop() == ""
    return [json.loads(line) if line else None for line in out]


def test_each_line_in_gives_one_line_out(capsys: Capture) -> None:
    assert pipe("你\n\n好\r\n  \n末".encode(), capsys) == ["re:你", "", "re:好", "", "re:末", ""]


def test_a_byte_order_mark_is_no_part_of_the_question(capsys: Capture) -> None:
    assert pipe("\ufeff你\n".encode(), capsys) == ["re:你", ""]


def test_an_answer_of_two_lines_stays_one(capsys: Capture) -> None:
    assert pipe(b"a\x1bb\n", capsys) == ["re:a\\x1bb", ""]


def test_a_command_is_a_question_in_a_pipe(capsys: Capture) -> None:
    assert pipe("/exit\n／帮助\n".encode(), capsys) == ["re:/exit", "re:／帮助", ""]


def test_lines_are_answered_in_modest_batches(capsys: Capture) -> None:
    session = FakeSession()
    pipe(b"q\n" * 100, capsys, session=session)
    assert sum(map(len, session.batches)) == 100
    assert max(map(len, session.batches)) == BATCH


class ByLine(io.BytesIO):
    """A pipe whose writer waits for the answer to each line."""

    def __init__(self, content: bytes, capsys: Capture) -> None:
        super().__init__(content)
        self.capsys = capsys
        self.answered: list[str] = []

    def read1(self, size: int | None = -1) -> bytes:
        self.answered.append(self.capsys.readouterr().out)
        return super().readline()


def test_a_line_is_answered_before_the_next_one_comes(capsys: Capture) -> None:
    stdin = ByLine(b"a\nb\n", capsys)
    answer_lines(FakeSession(), Console(), stdin, form=TextLines("utf-8"), settings=CHAT)
    assert stdin.answered == ["", "re:a\n", "re:b\n"]


def test_an_object_is_answered_before_the_next_one_comes(capsys: Capture) -> None:
    stdin = ByLine(b'{"question": "a"}\n{"question": "b"}\n', capsys)
    form = JsonLines(Console(), question_key="question", answer_key="answer")
    answer_lines(FakeSession(), Console(), stdin, form=form, settings=CHAT)
    assert [json.loads(out)["answer"] for out in stdin.answered[1:]] == ["re:a", "re:b"]


@given(st.lists(st.text(alphabet="ab你 \t", max_size=5), max_size=40), st.integers(1, 9))
def test_lines_arrive_whole_however_they_are_cut(texts: list[str], size: int) -> None:
    class Cut(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(size)

    content = "".join(text + "\n" for text in texts).encode()
    arrived = [line for part in lines._arriving(Cut(content)) for line in part]
    assert [raw.decode() for _, raw in arrived] == texts
    assert [number for number, _ in arrived] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("content", [b"ok\n\xff\n", b"ok\n" + b"x" * (2 << 20)])
def test_a_line_that_cannot_be_read_is_named(content: bytes, capsys: Capture) -> None:
    with pytest.raises(DataError, match="stdin:2"):
        pipe(content, capsys)


def test_unknown_characters_are_told_once(capsys: Capture) -> None:
    session = FakeSession(unknown=("鑫", "\x1b"))
    content = io.BytesIO(b"a\nb\n" * 20)
    answer_lines(session, Console(), content, form=TextLines("utf-8"), settings=CHAT)
    err = capsys.readouterr().err
    assert err.count("鑫") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("reason", "tokens", "words"),
    [
        ("loop", 20, "went round in circles"),
        ("length", CHAT.max_new_tokens, "cut at the longest; --max-new-tokens"),
        ("length", 20, "cut: question and answer fill"),
    ],
)
def test_answers_that_did_not_end_are_counted_once(
    reason: str, tokens: int, words: str, capsys: Capture
) -> None:
    session = FakeSession(stop_reason=reason, tokens=tokens)
    answer_lines(
        session, Console(), io.BytesIO(b"a\n" * 40), form=TextLines("utf-8"), settings=CHAT
    )
    err = capsys.readouterr().err
    assert err.count("note: ") == 1
    assert "40 of 40 answers" in err
    assert words in err


@pytest.mark.parametrize("stats", [False, True])
def test_stats_tell_the_speed_of_each_answer(stats: bool, capsys: Capture) -> None:
    stdin, chat = io.BytesIO(b"a\nb\n"), ChatSettings(stats=stats)
    answer_lines(FakeSession(), Console(), stdin, form=TextLines("utf-8"), settings=chat)
    captured = capsys.readouterr()
    assert captured.err.count("(3 tokens, 6 tokens/s, the first after 100 ms)") == 2 * stats
    assert captured.out == "re:a\nre:b\n"


def test_an_object_comes_back_with_its_answer(capsys: Capture) -> None:
    given = {"id": 7, "question": "你\x1b", "tags": ["a", None, 1.5], "more": {"x": "\u2028"}}
    content = (json.dumps(given) + "\n").encode()
    (found,) = pipe_objects(content, capsys)
    assert found == {**given, "answer": "re:你\x1b", "stop_reason": "stop", "seed": 7}
    assert list(found)[:4] == list(given)


def test_an_answer_that_came_along_is_kept_as_the_expected_one(capsys: Capture) -> None:
    content = (
        '{"question": "你", "answer": "好"}\n{"question": "你", "answer": "好", "expected": 1}'
    )
    first, second = pipe_objects(content.encode(), capsys)
    assert (first["expected"], first["answer"]) == ("好", "re:你")
    assert (second["expected"], second["answer"]) == (1, "re:你")


def test_objects_have_the_keys_of_the_data(capsys: Capture) -> None:
    (found,) = pipe_objects(b'{"q": "a"}', capsys, question_key="q", answer_key="a")
    assert found == {"q": "a", "a": "re:a", "stop_reason": "stop", "seed": 7}


BAD = [
    (b"{", "not JSON"),
    (b"[1]", "not an object"),
    (b'{"a": 1}', "field 'question' missing"),
    (b'{"question": 1}', "field 'question' not a string"),
    (b'{"question": " "}', "field 'question' empty"),
    (b'{"question": "\xff"}', "not UTF-8"),
    (b'{"question": "\\ud800"}', "lone surrogate"),
    (b'{"question": "a", "question": "b"}', "a key twice"),
    (b'{"question": "' + b"a" * 3_000_000 + b'"}', "line too long"),
    (b'{"question": "' + b"a" * (LONGEST_LINE - 15) + b'"}', "line too long"),
    (b'{"question": "a", "b": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
]


def test_a_bad_line_comes_back_as_an_error_in_its_place(capsys: Capture) -> None:
    good = b'{"question": "q"}'
    content = b"\n".join(part for bad, _ in BAD for part in (good, bad))
    found = pipe_objects(content, capsys)
    assert [each["answer"] for each in found[::2]] == ["re:q"] * len(BAD)
    reasons = [f"line {2 * n}: {reason}" for n, (_, reason) in enumerate(BAD, start=1)]
    assert [each["error"] for each in found[1::2]] == reasons
    assert found[5]["a"] == 1


def test_what_is_nested_as_deeply_as_python_just_reads_comes_back_whole_or_as_an_error(
    capsys: Capture,
) -> None:
    deep = b"[" * 700 + b"]" * 700
    found, after = pipe_objects(b'{"question": "q", "b": %b}\n{"question": "q"}' % deep, capsys)
    assert found.get("error") == "line 1: nested too deeply" or (
        found["answer"] == "re:q" and json.dumps(found["b"]).encode() == deep
    )
    assert after["answer"] == "re:q"


def test_bad_lines_are_reported_like_those_of_a_data_file(capsys: Capture) -> None:
    form = JsonLines(Console(), question_key="question", answer_key="answer")
    stdin = io.BytesIO(b"\n".join([b"{", b""] * 8))
    answer_lines(FakeSession(), Console(), stdin, form=form, settings=CHAT)
    err = capsys.readouterr().err.splitlines()
    assert err[:2] == ["warning: stdin:1: not JSON", "warning: stdin:3: not JSON"]
    assert err[-1] == "warning: stdin: 8 left out: 8 not JSON"
    assert len(err) == 6


def test_blank_lines_stay_blank(capsys: Capture) -> None:
    found = pipe_objects(b'\n{"question": "a"}\n \n\xef\xbb\xbf{"question": "b"}\n', capsys)
    assert [each and each["answer"] for each in found] == [None, "re:a", None, "re:b"]


def test_numbers_that_json_cannot_hold_do_not_stop_it(capsys: Capture) -> None:
    content = b'{"question": "a", "x": NaN, "y": 1e999, "z": 12345678901234567890}'
    (found,) = pipe_objects(content, capsys)
    assert (found["x"], found["y"], found["z"]) == (None, None, 12345678901234567890)


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


def test_objects_come_from_a_pipe(
    run: Run, fake_service: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_service("chat", ChatSession=FakeSession)
    stdin = io.TextIOWrapper(io.BytesIO('{"q": "你"}\n'.encode()), encoding="gbk")
    monkeypatch.setattr("sys.stdin", stdin)
    done = run("chat", "--jsonl", "--question-key", "q")
    assert json.loads(done.out)["answer"] == "re:你"


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it_quietly(checkpoint_path: Path) -> None:
    read, write = os.pipe()
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "minigpt", "chat", "--checkpoint", str(checkpoint_path)]
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE
    ) as process:
        os.close(write)
        assert process.stdin is not None
        process.stdin.write("苹什么色\n".encode() * 3)
        process.stdin.flush()
        with os.fdopen(read, "rb") as reader:
            first = reader.readline()
        _, stderr = process.communicate("苹什么色\n".encode() * 500, timeout=60)
    assert first.endswith(b"\n")
    assert (process.returncode, b"Traceback" in stderr) == (141, False)
