import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from minigpt.corpus.blocks import Block, read_blocks
from minigpt.corpus.columns import ColumnReader, Columns
from minigpt.corpus.layout import Layout
from minigpt.corpus.qa import MAX_LINE_BYTES, QAPair, parse_line, raw_lines
from tests.corpus.examples import ODD_KINDS, few_examples, files, odd_line, to_line

GOOD = to_line({"question": "你好？", "answer": "你好！"})
# What JSON writes as it stands.
plain_characters = st.characters(min_codepoint=0x20, exclude_categories=["Cs"]).filter(
    lambda character: character not in '"\\'
)
many_examples = settings(max_examples=400, deadline=None)


@dataclass
class Read:
    """All that reading a file can tell."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    bad: list[tuple[int, bytes, str]] = field(default_factory=list)
    lines: int = 0


def line_by_line(content: bytes, keys: tuple[str, str] = ("question", "answer")) -> Read:
    read = Read()
    for raw in raw_lines(io.BytesIO(content)):
        if raw.strip():
            pair = parse_line(raw, question_key=keys[0], answer_key=keys[1])
            if isinstance(pair, QAPair):
                read.pairs.append((pair.question, pair.answer))
                read.raw.append(raw)
            else:
                read.bad.append((read.lines, raw, pair))
        read.lines += 1
    return read


def in_blocks(
    content: bytes,
    cuts: list[int],
    block_bytes: int,
    keys: tuple[str, str] = ("question", "answer"),
) -> Read:
    read = Read()
    reader = ColumnReader(question_key=keys[0], answer_key=keys[1])
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    for start, end in pairwise(places):
        for block in read_blocks(io.BytesIO(content), start, end, block_bytes=block_bytes):
            columns = reader.read(block)
            read.pairs += texts(columns)
            starts, sizes = columns.spans()
            read.raw += [
                content[at : at + size]
                for at, size in zip(starts.tolist(), sizes.tolist(), strict=True)
            ]
            read.bad += [(read.lines + row.number, row.raw, row.reason) for row in columns.bad]
            read.lines += columns.lines
    return read


def texts(columns: Columns) -> Iterator[tuple[str, str]]:
    parts, start = [], 0
    for length in columns.lengths.ravel().tolist():
        points = columns.code_points[start : start + length - 1]
        parts.append(points.tobytes().decode("utf-32-le"))
        start += length
    assert start == columns.code_points.size
    yield from zip(parts[::2], parts[1::2], strict=True)


@many_examples
@given(content=files(), cuts=st.lists(st.integers(0, 5_000), max_size=3), block=st.integers(1, 400))
def test_blocks_give_what_lines_give(content: bytes, cuts: list[int], block: int) -> None:
    assert in_blocks(content, cuts, block) == line_by_line(content)


@few_examples
@given(content=files(), keys=st.sampled_from([("answer", "question"), ("q", "a"), ("answer",) * 2]))
def test_blocks_give_what_lines_give_under_other_names(
    content: bytes, keys: tuple[str, str]
) -> None:
    assert in_blocks(content, [], 10_000, keys) == line_by_line(content, keys)


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_an_odd_line_among_usual_ones_is_read_as_alone(kind: str) -> None:
    content = b"\n".join([GOOD, GOOD, odd_line(kind, "问", "答"), GOOD, b""])
    assert in_blocks(content, [], 10_000) == line_by_line(content)


@pytest.mark.parametrize("excess", [-2, -1, 0, 1, 2, 5, 6, MAX_LINE_BYTES])
@pytest.mark.parametrize(
    ("head", "filler", "tail"),
    [(b"", b" ", GOOD), (b"", b"x", b""), (GOOD[:-2], b"x", GOOD[-2:])],
    ids=["spaces before", "no JSON", "long answer"],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_long_lines_are_cut_alike(
    excess: int, head: bytes, filler: bytes, tail: bytes, end: bytes
) -> None:
    long = head + filler * (MAX_LINE_BYTES + excess - len(head + tail)) + tail
    content = GOOD + b"\n" + long + end + (GOOD if end else b"")
    expected = line_by_line(content)
    assert in_blocks(content, [], 512 * 1024) == expected
    assert in_blocks(content, [700_000, 1_100_000], 512 * 1024) == expected


def test_a_line_without_end_is_never_held() -> None:
    content = GOOD + b"\n" + b"x" * (4 * MAX_LINE_BYTES)
    blocks = list(read_blocks(io.BytesIO(content), 0, len(content)))
    assert max(len(block.raw) for block in blocks) < 2 * MAX_LINE_BYTES
    assert len(blocks) == 1


@example(text='{"a": 1} ')
@example(text=' {"a": 1}')
@example(text='{"a": 1}{}')
@example(text='{"a": NaN}')
@given(text=st.text(st.sampled_from('{}[]",:\\ \t1-.eanulsfE'), max_size=12))
def test_a_line_is_json_when_the_decoder_says_so(text: str) -> None:
    try:
        expected = json.JSONDecoder(parse_int=float).decode(text)
    except ValueError:
        expected = "not JSON"
    found = parse_line(text.encode(), question_key="question", answer_key="answer")
    if not isinstance(expected, dict):
        assert found == ("not JSON" if expected == "not JSON" else "not an object")
    else:
        assert found == "field 'question' missing"


@few_examples
@given(given=st.lists(st.text(plain_characters, min_size=1), min_size=1))
def test_usual_lines_are_read_at_once(given: list[str]) -> None:
    lines = [
        to_line({"question": f"{text}？", "answer": f"\N{GRINNING FACE}{text}"}) for text in given
    ]
    layout = Layout.of(lines[0] + b"\n", question_key="question", answer_key="answer")
    assert layout is not None
    assert layout.read(b"".join(line + b"\n" for line in lines)) is not None


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        b"\n",
        b"{}\n",
        b'{"question": "a"}\n',
        b'{"question": "a", "answer": 1}\n',
        b'{"question": "a", "answer": "b"},\n',
        b'{"question": "a", "question": "b", "answer": "c"}\n',
        b'{"question": "a", "answer": "b", "answe\\u0072": "c"}\n',
        b'{"question": "a", "answer": "c", "\xff": "d"}\n',
        b'{"question": "a", "answer": "c", "\x01": "d"}\n',
        b'{"question": "a" "answer": "c"}\n',
    ],
)
def test_what_is_no_usual_line_has_no_layout(line: bytes) -> None:
    assert Layout.of(line, question_key="question", answer_key="answer") is None


@pytest.mark.parametrize(
    "lines",
    [
        GOOD + b"\n" + odd_line(kind, "问", "答") + b"\n" + GOOD + b"\n"
        for kind in ODD_KINDS
        if kind != "surrogate pair"
    ]
    + [
        b'{"question": "a", "answer": "b", "answer": "c"}\n{"question": "d"}\n',
        b'{"question": "d"}\n{"question": "a", "answer": "b", "answer": "c"}\n',
        b'{"question": "a\\", "answer": "b"}\n',
        b'{"question": """"""}\n',
    ],
)
def test_a_layout_reads_nothing_but_its_own_lines(lines: bytes) -> None:
    layout = Layout.of(GOOD + b"\n", question_key="question", answer_key="answer")
    assert layout is not None
    assert layout.read(GOOD + b"\n") is not None
    assert layout.read(lines) is None
    assert in_blocks(lines, [], 10_000) == line_by_line(lines)


def test_fields_of_a_layout_stand_in_any_order() -> None:
    lines = [
        to_line({"answer": "一二" * i, "topic": "三" * i, "question": "四五六" * i}) for i in (1, 2)
    ]
    block = Block(0, b"\n".join([*lines, b""]))
    columns = ColumnReader(question_key="question", answer_key="answer").read(block)
    assert list(texts(columns)) == [("四五六", "一二"), ("四五六" * 2, "一二" * 2)]
    assert columns.code_points.dtype == np.uint32


@few_examples
@given(content=files())
def test_what_the_fast_parser_takes_is_what_json_takes(content: bytes) -> None:
    for line in content.split(b"\n"):
        try:
            fields = from_json(line)
        except ValueError:
            continue
        assert json.loads(line.decode("utf-8")) == fields


def test_texts_full_of_newlines_and_quotes_need_no_slow_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = ColumnReader(question_key="question", answer_key="answer")
    monkeypatch.setattr(reader, "_fields", None)
    lines = [odd_line("quoted", f"问{n}", '1. "一"\n2. "二"') for n in range(5)]
    columns = reader.read(Block(0, b"\n".join(lines)))
    assert len(columns.lengths) == 5
