import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from minigpt.corpus import objects
from minigpt.corpus.objects import ObjectReader
from minigpt.corpus.qa import MAX_LINE_BYTES, parse_fields
from tests.corpus.examples import to_line

KEYS = {"question_key": "question", "answer_key": "answer"}
GOOD = to_line({"question": "你\n好", "answer": '"你"\\好"'})
# What lines could be made of that are valid together and not alone, or count quotes wrongly.
pieces = st.sampled_from(
    [
        *('{"question": "a"', '"answer": "b"', '"answers": ["c"', '"x": [', '"x": {', '"x": 1'),
        *("{", "}", "[", "]", ",", "{}", "[]", '"', '\\"', "\\\\", "\\", "\\n", ":", " ", "null"),
        *('"question"', '"answer"', '{"question": "a", "answer": "b"}', '"quest\\u0069on": "d"'),
        *('{"question": "a", "answer": "b"', '"answers": []', '"\\ud800"', "\ufeff", "\r"),
    ]
)
lines_of_pieces = st.lists(st.lists(pieces, max_size=9).map("".join), min_size=1, max_size=5)


def one_by_one(lines: list[bytes]) -> list[tuple[str, str] | None]:
    found = (parse_fields(line, **KEYS) for line in lines)
    return [None if isinstance(of, str) else (of["question"], of["answer"]) for of in found]


def read(lines: list[bytes]) -> list[tuple[str, str] | None]:
    return ObjectReader(*KEYS.values()).read(lines)


@settings(max_examples=2_000, deadline=None)
@example(lines=['{"question": "a", "answer": "b", "x": [{}', "{}]}", "{},{}"])
@example(lines=['{"question": "a", "answer": "b", "x": [', '{"question": "a", "answer": "b"}]}'])
@example(lines=['{"question": "a", "answer": "b", "x": ["', '{"]}'])
@example(lines=['{"question": "a"', '"answer": "b"}', '{"question": "a", "answer": "b"},{}'])
@example(lines=['{"question": "a", "answer": "b", "question": "c"}'])
@example(lines=['{"question": "a", "answer": "\\\\", "x": 1, "x": "\\""}'])
@example(lines=['{"question": "a", "answers": ["b", " "]}', '{"question": "a", "answers": ["b"]}'])
@given(lines=lines_of_pieces)
def test_what_is_taken_from_lines_is_what_json_finds_in_each(lines: list[str]) -> None:
    given_lines = [line.encode("utf-8", "surrogatepass") for line in lines]
    found = read(given_lines)
    assert len(found) == len(given_lines)
    for ours, theirs in zip(found, one_by_one(given_lines), strict=True):
        assert ours in (None, theirs)


def test_one_line_in_many_that_is_for_json_spoils_no_other() -> None:
    lines = [GOOD] * 150
    lines[70] = b'{"question": "a", "answer": {"b": 1}}'
    found = read(lines)
    assert found[70] is None
    assert [*found[:70], *found[71:]] == one_by_one([GOOD]) * 149


@pytest.mark.parametrize(
    "fields",
    [
        {"question": "问\n", "answer": "\\答\\"},
        {"id": 3, "question": "问\n", "answer": "答", "score": 0.5, "seen": True, "by": None},
        {"question": "问\n", "answers": ["答", "\\\\"], "topic": "题"},
    ],
    ids=["two texts", "plain values", "accepted answers"],
)
def test_lines_of_plain_values_need_no_json(
    fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counted(raw: bytes, **options: Any) -> object:
        asked.append(raw)
        return from_json(raw, **options)

    monkeypatch.setattr(objects, "from_json", counted)
    line = json.dumps(fields).encode()
    assert read([line] * 100) == one_by_one([line]) * 100
    assert len(asked) == 2


def test_a_line_over_the_limit_is_not_taken() -> None:
    long = GOOD[:-1] + b" " * (MAX_LINE_BYTES + 1 - len(GOOD)) + b"}"
    assert read([GOOD, long, long[:-2] + b"}"]) == [*one_by_one([GOOD]), None, *one_by_one([GOOD])]
