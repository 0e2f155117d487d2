"""Small data files for the tests."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from minigpt.corpus.qa import QAPair

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


def write_pairs(path: Path, given: Iterable[tuple[str, str]]) -> Path:
    lines = [to_line({"question": question, "answer": answer}) for question, answer in given]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def numbered_pairs(count: int) -> list[tuple[str, str]]:
    return [(f"第{number}个问题？", f"第{number}个回答。") for number in range(count)]
