import json
from pathlib import Path

import pytest

from minigpt.corpus.qa import read_pairs
from minigpt.errors import OutputError
from minigpt.services.chat import Answer, StopReason
from minigpt.services.conversation import save_pairs
from minigpt.settings import DataSettings

DATA = DataSettings()


def answer(question: str, text: str, reason: StopReason = "stop") -> Answer:
    return Answer(question, text, reason, 0, len(text), 0.1, 10.0, 0.01, ())


TALK = [answer("你好", "你好，很高兴见到你。"), answer("1加1？", "2。")]


def test_saved_pairs_are_read_as_data(tmp_path: Path) -> None:
    path = tmp_path / "对话.jsonl"
    saved = save_pairs(path, TALK, DATA)
    assert (saved.path, saved.added, saved.known, saved.lines) == (path, 2, 0, 0)
    pairs = read_pairs(path, strict=True)
    assert [(pair.question, pair.answer) for pair in pairs] == [(a.question, a.text) for a in TALK]


def test_saving_again_adds_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    save_pairs(path, TALK[:1], DATA)
    once = path.read_bytes()
    assert save_pairs(path, TALK[:1], DATA).added == 0
    assert path.read_bytes() == once
    again = save_pairs(path, [*TALK, *TALK], DATA)
    assert (again.added, again.known, again.lines) == (1, 1, 1)
    assert path.read_bytes().startswith(once)
    assert len(read_pairs(path, strict=True)) == 2


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_what_a_file_holds_stays_as_it_is(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.jsonl"
    before = (
        '\ufeff{"question": "甲", "answer": "乙",  "topic": 3}\r\n\n{"x":1.50}' + end
    ).encode()
    path.write_bytes(before)
    saved = save_pairs(path, TALK, DATA)
    assert saved.lines == 2
    after = path.read_bytes()
    assert after.startswith(before)
    lines = after[len(before) :].decode().strip().split("\n")
    assert [json.loads(line)["question"] for line in lines] == ["你好", "1加1？"]
    assert after.endswith(b"\n")


def test_only_whole_answers_are_saved(tmp_path: Path) -> None:
    unfinished = [answer("a", "b", "length"), answer("c", "d", "loop"), answer("e", "")]
    saved = save_pairs(tmp_path / "a.jsonl", [*unfinished, *TALK], DATA)
    assert (saved.added, saved.unfinished) == (2, 3)


def test_nothing_to_save_writes_nothing(tmp_path: Path) -> None:
    assert save_pairs(tmp_path / "a.jsonl", [answer("a", "b", "length")], DATA).added == 0
    assert list(tmp_path.iterdir()) == []


def test_the_fields_have_the_names_of_the_data(tmp_path: Path) -> None:
    data = DataSettings(question_key="问", answer_key="答")
    save_pairs(tmp_path / "a.jsonl", TALK, data)
    assert read_pairs(tmp_path / "a.jsonl", question_key="问", answer_key="答", strict=True)


@pytest.mark.parametrize(
    "content", [b"# minigpt\n", b"[1]\n", b'"text"\n', b"\xff\xfe{\x00", b'{"a": 1}\nx\n']
)
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"README\.md: holds something else"):
        save_pairs(path, TALK, DATA)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "a" / "b.jsonl"):
        (tmp_path / "a").touch()
        with pytest.raises(OutputError):
            save_pairs(path, TALK, DATA)
