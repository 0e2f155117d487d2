from pathlib import Path
from typing import Any

import pytest

from minigpt.errors import SettingsError
from minigpt.services.fonts import fonts_for

font_manager = pytest.importorskip("matplotlib.font_manager")


@pytest.fixture(autouse=True)
def _own_fonts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [each for each in font_manager.fontManager.ttflist if "mpl-data" in each.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])


def glyph(font: Any, character: str) -> int:
    return int(font_manager.get_font(font.get_file()).get_char_index(ord(character)))


@pytest.mark.parametrize("text", ["", "aZ1", "éж≤☃", "a𝔸"])
def test_every_character_gets_a_font_that_has_it(text: str) -> None:
    found = fonts_for(text)
    assert found.keys() == set(text)
    assert all(glyph(font, character) for character, font in found.items())


def test_one_font_does_for_characters_that_it_has_all() -> None:
    assert len({font.get_file() for font in fonts_for("abcXYZ129éß").values()}) == 1


@pytest.mark.parametrize("text", ["中", "a中国\U0001f600"])
def test_a_font_of_boxes_is_no_font(text: str) -> None:
    boxes = [e for e in font_manager.fontManager.ttflist if "Last Resort" in e.name]
    with pytest.raises(SettingsError, match="中"):
        fonts_for(text)
    assert all(font_manager.get_font(e.fname).get_char_index(ord("中")) for e in boxes)


@pytest.mark.parametrize("text", ["🫠🤔", "\U00020000", "a🫠\u0e01", "a\u3000\n"])
def test_what_a_chinese_font_would_not_have_either_is_left_out(text: str) -> None:
    assert fonts_for(text).keys() == set(text) & {"a"}


@pytest.mark.parametrize("text", ["中", "。", "か", "한", "Ａ"])
def test_an_error_names_only_what_the_advised_font_has(text: str) -> None:
    with pytest.raises(SettingsError, match=rf"can draw {text}\n") as caught:
        fonts_for(f"🫠a{text}")
    assert "fonts-noto-cjk" in caught.value.hint


def test_a_font_that_was_installed_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = font_manager.fontManager
    (serif,) = [e for e in manager.ttflist if Path(e.fname).name == "DejaVuSerif.ttf"]
    monkeypatch.setattr(manager, "ttflist", [])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [serif.fname])
    assert fonts_for("a")["a"].get_file() == serif.fname


def test_a_broken_font_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(broken)])
    assert fonts_for("a").keys() == {"a"}


def test_chinese_families_come_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = font_manager.fontManager
    sans = next(e for e in manager.ttflist if e.name == "DejaVu Sans" and e.weight == 400)
    serif = next(e for e in manager.ttflist if e.name == "DejaVu Serif" and e.weight == 400)
    named = font_manager.FontEntry(fname=serif.fname, name="Noto Sans CJK SC", weight=400)
    monkeypatch.setattr(manager, "ttflist", [sans, named])
    assert fonts_for("a")["a"].get_file() == serif.fname
