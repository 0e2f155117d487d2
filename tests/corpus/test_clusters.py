import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.clusters import Clusters, extends

ACUTE, SELECTOR, JOINER, TONE = "\u0301", "\ufe0f", "\u200d", "\U0001f3fd"
MARKS = [ACUTE, SELECTOR, JOINER, TONE, "\u0e34", "\u3099", "\U000e0100"]


def pieces(text: str, *, known: str | None = None) -> list[str]:
    clusters = Clusters(text if known is None else known)
    return [*map(clusters.add, text), clusters.end()]


@pytest.mark.parametrize("mark", [mark for mark in MARKS if mark != JOINER])
def test_a_mark_belongs_to_the_character_before_it(mark: str) -> None:
    assert extends(mark)
    assert [piece for piece in pieces(f"你a{mark}好") if piece] == ["你", f"a{mark}", "好"]


def test_a_joiner_takes_the_next_character_along() -> None:
    family = f"👩{JOINER}👧{SELECTOR}{JOINER}👦"
    assert [piece for piece in pieces(f"{family}们") if piece] == [family, "们"]


@pytest.mark.parametrize("character", "你a1，。 \n😀")
def test_ordinary_characters_stand_alone(character: str) -> None:
    assert not extends(character)


@given(st.text())
def test_nothing_is_held_back_where_no_mark_is_known(text: str) -> None:
    assert pieces(text, known="你好，ab<sep>") == [*text, ""]


@given(st.text(alphabet=["a", "你", "👩", *MARKS], max_size=12))
def test_the_pieces_are_the_text_and_none_begins_with_a_mark_but_the_first(text: str) -> None:
    found = [piece for piece in pieces(text) if piece]
    assert "".join(found) == text
    assert not any(extends(piece[0]) for piece in found[1:])


@given(st.text(alphabet=["a", ACUTE], max_size=12))
def test_only_the_newest_place_is_held_back(text: str) -> None:
    clusters = Clusters(["a", ACUTE])
    said = ""
    for place, character in enumerate(text, start=1):
        said += clusters.add(character)
        assert text[:place].removeprefix(said).count("a") <= 1
