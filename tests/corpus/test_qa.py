import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.qa import (
    MAX_LINE_BYTES,
    QAPair,
    parse_line,
    read_file,
    read_pairs,
)
from minigpt.errors import DataError
from minigpt.events import BadLine, BadLines, Event
from tests.corpus.examples import few_examples, pairs, to_line, write_pairs

GOOD = to_line({"question": "你好？", "answer": "你好！"})
BOM = b"\xef\xbb\xbf"


def parse(raw: bytes) -> QAPair | str:
    return parse_line(raw, question_key="question", answer_key="answer")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not JSON"),
        (b'{"question": "a\x00", "answer": "b"}', "not JSON"),
        (GOOD + GOOD, "not JSON"),
        (b'["question", "answer"]', "not an object"),
        (b"null", "not an object"),
        (b'{"answer": "b"}', "field 'question' missing"),
        (b'{"question": "a"}', "field 'answer' missing"),
        (b'{"question": 1, "answer": "b"}', "field 'question' not a string"),
        (b'{"question": "a", "answer": null}', "field 'answer' not a string"),
        (b'{"question": "", "answer": "b"}', "field 'question' empty"),
        (b'{"question": "a", "answer": "\\u3000 "}', "field 'answer' empty"),
        (b'{"question": "\xff", "answer": "b"}', "not UTF-8"),
        (b'{"question": "\\ud800", "answer": "b"}', "lone surrogate"),
        (b'{"question": "a", "answer": "b", "topic": "\\udfff"}', "lone surrogate"),
        (b'{"question": "a", "question": "b", "answer": "c"}', "a key twice"),
        (b'{"question": "a", "answer": "b", "\\u0061nswer": "c"}', "a key twice"),
        (b'{"question": "a", "answer": "b", "x": {"y": 1, "y": 2}}', "a key twice"),
        ('{"question": "中", "answer": "b"}'.encode("gb18030"), "not UTF-8 but GB18030"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * MAX_LINE_BYTES + GOOD, "line too long"),
    ],
)
def test_bad_line_has_its_reason(raw: bytes, reason: str) -> None:
    assert parse(raw) == reason


@pytest.mark.parametrize(
    ("raw", "question"),
    [
        (b'{"question": "a", "answer": "c", "score": NaN}', "a"),
        (b'{"question": "a", "answer": "c", "score": ' + b"9" * 10_000 + b"}", "a"),
        (b'{"question": " a\\n", "answer": "c"}', " a\n"),
        (b'{"question": "\\ud83d\\ude00", "answer": "c"}', "\N{GRINNING FACE}"),
    ],
    ids=["NaN", "huge number", "white space", "surrogate pair"],
)
def test_unusual_json_is_read_as_it_stands(raw: bytes, question: str) -> None:
    assert parse(raw) == QAPair(question, "c")


def test_topic_and_accepted_answers_are_kept() -> None:
    raw = to_line({"question": "q", "answer": "a", "topic": "t", "answers": ["a", "b"]})
    assert parse(raw) == QAPair("q", "a", "t", ("a", "b"))


def test_absent_answer_is_the_first_accepted_one() -> None:
    assert parse(to_line({"question": "q", "answers": ["a", "b"]})) == QAPair(
        "q", "a", answers=("a", "b")
    )


@pytest.mark.parametrize("answers", [[], ["a", ""], [1], "a", {"text": ["a"]}])
def test_unusable_accepted_answers_count_as_absent(answers: object) -> None:
    assert parse(to_line({"question": "q", "answers": answers})) == "field 'answer' missing"


@few_examples
@given(given=st.lists(pairs, min_size=1, max_size=5))
def test_written_pairs_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, given: list[QAPair]
) -> None:
    path = tmp_path_factory.mktemp("qa") / "data.jsonl"
    write_pairs(path, [(pair.question, pair.answer) for pair in given])
    assert read_pairs(path) == given


@few_examples
@given(blocks=st.lists(st.sampled_from([GOOD, b"\n", b"\r\n", b" ", b"{", BOM]) | st.binary()))
def test_good_and_bad_and_blank_lines_add_up(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("qa") / "data.jsonl"
    content = b"".join(blocks)
    path.write_bytes(content)
    events: list[Event] = []
    try:
        good = len(read_file(path, report=events.append).lines)
    except DataError:
        good = 0
    bad = sum(event.total for event in events if isinstance(event, BadLines))
    marked = [line.removesuffix(b"\r").removeprefix(BOM) for line in content.split(b"\n")]
    assert good + bad == sum(bool(line.strip()) for line in marked)


def test_raw_line_keeps_every_byte_but_mark_and_line_end(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    spaced = b'  {"question":"a" ,  "answer":"\\u4f60", "x": [1, 2]}\t'
    path.write_bytes(BOM + spaced + b"\r\n\r\n" + GOOD + b"\n" + GOOD)
    lines = read_file(path).lines
    assert [(line.number, line.raw) for line in lines] == [(1, spaced), (3, GOOD), (4, GOOD)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("excess", [0, 1, 5, MAX_LINE_BYTES])
def test_line_limit_counts_neither_mark_nor_line_end(
    tmp_path: Path, mark: bytes, end: bytes, excess: int
) -> None:
    path = tmp_path / "data.jsonl"
    padding = b" " * (MAX_LINE_BYTES - len(GOOD) + excess)
    path.write_bytes(GOOD + b"\n" + mark + GOOD + padding + end + (GOOD if end else b""))
    file = read_file(path)
    assert dict(file.by_reason) == ({"line too long": 1} if excess else {})
    assert file.lines[-1].number == (3 if end else 1 if excess else 2)


def test_other_field_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(to_line({"q": "a", "r": "b"}))
    assert read_pairs(path, question_key="q", answer_key="r") == [QAPair("a", "b")]


def test_first_bad_lines_are_reported_and_all_counted(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([GOOD, *[b"{"] * 7, b"[]", GOOD]))
    events: list[Event] = []
    file = read_file(path, report=events.append)
    assert events == [
        *(BadLine(path, line, "not JSON") for line in range(2, 7)),
        BadLines(path, 8, {"not JSON": 7, "not an object": 1}),
    ]
    assert file.skipped == 8
    assert len(file.pairs) == 2


def test_strict_refuses_a_bad_line_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b"\n{\n")
    with pytest.raises(DataError, match="1 bad line, the first is line 2: not JSON"):
        read_pairs(path, strict=True)


def test_strict_accepts_a_file_without_bad_lines(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "data.jsonl", [("a", "b")])
    assert read_pairs(path, strict=True) == [QAPair("a", "b")]


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot read the data"):
        read_pairs(tmp_path / "absent.jsonl")


def test_directory_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is a directory"):
        read_pairs(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_named_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_pairs(tmp_path / "pipe")
