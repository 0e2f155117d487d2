import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.cli.text import duration, number, safe, to_json

DANGEROUS = [
    *map(chr, range(32)),
    *map(chr, range(127, 160)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]


@pytest.mark.parametrize("character", DANGEROUS, ids=lambda character: f"U+{ord(character):04X}")
def test_what_steers_a_terminal_is_spelled_out(character: str) -> None:
    shown = safe(f"a{character}b")
    assert character not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("b")


@given(st.text())
def test_safe_text_is_safe_already(text: str) -> None:
    assert safe(safe(text)) == safe(text)
    assert not set(safe(text)) & set(DANGEROUS)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_wanted_newlines_are_kept() -> None:
    assert safe("a\nb\x1b[2J", keep="\n") == "a\nb\\x1b[2J"


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_json_says_the_same_on_one_safe_line(value: dict[str, Any]) -> None:
    value.pop("schema", None)
    line = to_json(value)
    assert json.loads(line) == {"schema": 1, **value}
    assert not set(line) & set(DANGEROUS)


def test_json_leaves_other_languages_unescaped() -> None:
    assert to_json({"answer": "你好😀"}) == '{"schema": 1, "answer": "你好😀"}'


def test_json_of_a_result_has_its_fields() -> None:
    @dataclass(frozen=True)
    class Part:
        share: float
        path: Path | None

    value = {"parts": (Part(0.5, Path("a/b")), Part(float("nan"), None))}
    parts = json.loads(to_json(value))["parts"]
    assert parts == [{"share": 0.5, "path": str(Path("a/b"))}, {"share": None, "path": None}]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (46_403_328, "46,403,328"),
        (0.9, "0.9"),
        (1.2e-5, "1.2e-05"),
        (3.0, "3"),
        (2.71828, "2.7183"),
    ],
)
def test_numbers_are_written_as_people_read_them(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.44, "0.4 s"),
        (12, "12 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
        (float("inf"), "?"),
    ],
)
def test_durations_are_written_as_people_say_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
