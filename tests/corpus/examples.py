"""Small data files for the tests."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from minigpt.corpus.qa import BOM, QAPair

few_examples = settings(max_examples=30, deadline=None)

# Everything a UTF-8 file can hold: all code points but the surrogates.
characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=12)
pairs = st.builds(
    QAPair,
    question=texts.filter(lambda text: bool(text.strip())),
    answer=texts.filter(lambda text: bool(text.strip())),
)


def to_line(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode("utf-8")


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    path.write_bytes(b"".join(to_line(row) + b"\n" for row in rows))
    return path


def write_pairs(path: Path, given: Iterable[tuple[str, str]]) -> Path:
    return write_lines(
        path, ({"question": question, "answer": answer} for question, answer in given)
    )


def numbered_pairs(count: int) -> list[tuple[str, str]]:
    return [(f"第{number}个问题？", f"第{number}个回答。") for number in range(count)]


def odd_line(kind: str, question: str, answer: str) -> bytes:
    """A line that is not of the usual form, or is none at all."""
    usual = to_line({"question": question, "answer": answer})
    made: dict[str, bytes] = {
        "blank": b"",
        "spaces": b" \t ",
        "carriage return": b"\r",
        "mark": BOM + usual,
        "two marks": BOM + BOM + usual,
        "spaced": b" " + usual + b"\t",
        "inner carriage return": usual.replace(b", ", b",\r"),
        "tab": usual.replace(b": ", b":\t"),
        "escaped": json.dumps({"question": question, "answer": answer}).encode(),
        "escapes": to_line({"question": f'"{question}\n', "answer": f"\\{answer}\x1f\x01"}),
        "quoted": to_line({"question": f'"{question}"', "answer": f'{answer}\n"b"'}),
        "duplicate behind escapes": to_line(
            {"question": "a\\", "answer": "b\\", "x": "\\", "y": '\\"'}
        ).replace(b"{", b'{"x": "", ', 1),
        "nul": usual.replace(b'": "', b'": "\0', 1),
        "raw mark": usual.replace(b'", "answer": "', b"\x01"),
        "not UTF-8": usual.replace(b'": "', b'": "\xed\xa0\x80', 1),
        "cut character": to_line({"question": "好", "answer": "b"}).replace(b"\xbd", b""),
        "lone surrogate": b'{"question": "\\ud800", "answer": "b"}',
        "surrogate pair": b'{"question": "\\ud83d\\ude00", "answer": "b"}',
        "duplicate": usual.replace(b"{", b'{"answer": "first", ', 1),
        "last is empty": usual.replace(b"}", b', "question": ""}'),
        "escaped duplicate": usual.replace(b"}", b', "\\u0061nswer": "b"}'),
        "duplicate below": usual.replace(b"}", b', "x": {"y": 1, "y": 2}}'),
        "GB18030": usual.replace(b"}", '，"}'.encode("gb18030")) + "中".encode("gb18030"),
        "nested": to_line({"question": question, "answer": answer, "x": {"question": ["{", 1]}}),
        "number": to_line({"question": 1, "answer": answer}),
        "null": to_line({"question": question, "answer": None}),
        "empty": to_line({"question": "", "answer": answer}),
        "white": to_line({"question": question, "answer": "\u3000\x85"}),
        "topic": to_line({"topic": "天", "question": question, "answer": answer}),
        "turned": to_line({"answer": answer, "question": question}),
        "compact": json.dumps(
            {"question": question, "answer": answer}, ensure_ascii=False, separators=(",", ":")
        ).encode(),
        "answers": to_line({"question": question, "answers": [answer, "b"]}),
        "more answers": to_line({"question": question, "answer": answer, "answers": ["b"]}),
        "answers are text": to_line({"question": question, "answer": answer, "answers": "b"}),
        "missing": to_line({"question": question}),
        "other names": to_line({"q": question, "a": answer}),
        "two objects": usual + usual,
        "joined": usual[:-1] + b'"}{"question": "' + usual,
        "overlap": b'{"question": ", "answer": "}',
        "only quotes": b'{"question": """"""}',
        "half": usual[: len(usual) // 2],
        "array": b"[" + usual + b"]",
        "huge number": b'{"question": "a", "answer": "c", "n": ' + b"9" * 5_000 + b"}",
        "deep": b"[" * 60,
    }
    return made[kind]


ODD_KINDS = [
    *("blank", "spaces", "carriage return", "mark", "two marks", "spaced"),
    *("inner carriage return", "tab", "escaped", "escapes", "nul", "raw mark", "not UTF-8"),
    *("cut character", "lone surrogate", "surrogate pair", "duplicate", "last is empty"),
    *("escaped duplicate", "duplicate below", "GB18030", "nested"),
    *(
        "quoted",
        "duplicate behind escapes",
        "number",
        "null",
        "empty",
        "white",
        "topic",
        "turned",
        "compact",
        "answers",
    ),
    *("more answers", "answers are text", "missing", "other names", "two objects", "joined"),
    *("overlap", "only quotes", "half", "array", "huge number", "deep"),
]

_usual_lines = st.builds(
    lambda pair: to_line({"question": pair.question, "answer": pair.answer}), pairs
)
_odd_lines = st.builds(
    lambda kind, pair: odd_line(kind, pair.question, pair.answer),
    st.sampled_from(ODD_KINDS),
    pairs,
)
_line_lists = st.one_of(
    st.lists(_usual_lines, max_size=12),
    st.lists(_usual_lines | _usual_lines | _usual_lines | _odd_lines, max_size=12),
    st.builds(
        lambda kind, given: [odd_line(kind, pair.question, pair.answer) for pair in given],
        st.sampled_from(ODD_KINDS),
        st.lists(pairs, max_size=6),
    ),
    st.lists(_usual_lines | st.binary(max_size=12), max_size=8),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The bytes of a data file: usual lines, odd ones, or some of both; whole or damaged."""
    end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    content = end.join(draw(_line_lists)) + draw(st.sampled_from([end, b"", b"\n\n"]))
    content = draw(st.sampled_from([b"", b"", BOM])) + content
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        place = draw(st.integers(0, len(content)))
        cut = draw(st.integers(0, 2))
        new = draw(st.sampled_from([b"", b'"', b"\\", b"\n", b"\r", b"\0", b"\x01", b"\xff", b"}"]))
        content = content[:place] + new + content[place + cut :]
    return content
