"""Fonts of this machine that really have the characters of a picture."""

import contextlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from minigpt.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry, FontProperties

# Families made for simplified Chinese, then others that know Chinese characters.
_CHINESE = re.compile(
    r"CJK SC|Han Sans (SC|CN)|YaHei|PingFang|SimHei|Heiti SC|WenQuanYi|Hiragino Sans GB|DengXian"
)
_EASTERN = re.compile(r"CJK|Han S|Hei|Song|Sun|Ming|Kai|Fang|Gothic|Fallback|Arial Unicode")
_BOXES = re.compile(r"Last ?Resort|Blank|Tofu")  # they claim every character and show none
_REGULAR = 400
_SHOWN = 12
_BASIC = 0xFFFF  # the Basic Multilingual Plane; of the rarer characters beyond, fonts have a part

HINT = (
    "install a font that has them: the package fonts-noto-cjk (Debian, Ubuntu), "
    "google-noto-sans-cjk-fonts (Fedora) or noto-fonts-cjk (Arch)"
)


def fonts_for(characters: Iterable[str]) -> dict[str, "FontProperties"]:
    """A font for each character; as few different ones as there need be.

    Returns:
        No font for a character that none of this machine has, nor the one that the error advises:
        an emoji, say.

    Raises:
        SettingsError: A character of Chinese text stands in no font of this machine.
    """
    from matplotlib.font_manager import FontProperties

    missing = set(characters)
    fonts: dict[str, FontProperties] = {}
    for entry in _candidates():
        if not missing:
            break
        found = _covered(entry, missing)
        fonts |= dict.fromkeys(found, FontProperties(fname=_file(entry)))
        missing -= found
    eastern = sorted(filter(_is_eastern, missing))
    if eastern:
        shown = " ".join(eastern[:_SHOWN])
        raise SettingsError(f"no font of this machine can draw {shown}", hint=HINT)
    return fonts


def _is_eastern(character: str) -> bool:
    """Whether a font made for Chinese text has it: a wide letter, numeral or mark, not an emoji."""
    wide = unicodedata.east_asian_width(character) in "WF"
    return wide and ord(character) <= _BASIC and unicodedata.category(character)[0] in "LNP"


def _candidates() -> Iterator["FontEntry"]:
    """The fonts that are installed, those for Chinese first; new ones too."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:  # installed after matplotlib made its list
            with contextlib.suppress(Exception):  # whatever a broken font file may raise
                manager.addfont(path)
    entries = [entry for entry in manager.ttflist if not _BOXES.search(entry.name)]
    return iter(sorted(entries, key=_rank))


def _rank(entry: "FontEntry") -> tuple[int, bool, int, str]:
    family = 0 if _CHINESE.search(entry.name) else 1 if _EASTERN.search(entry.name) else 2
    weight = entry.weight if isinstance(entry.weight, int) else _REGULAR
    return family, "Mono" in entry.name, abs(weight - _REGULAR), entry.name


def _covered(entry: "FontEntry", characters: set[str]) -> set[str]:
    """Those of the characters that the font has a glyph for."""
    from matplotlib.font_manager import get_font

    try:
        glyphs = get_font(_file(entry)).get_charmap()
    except (OSError, RuntimeError):  # removed since, or broken
        return set()
    return {character for character in characters if glyphs.get(ord(character), 0)}


def _file(entry: "FontEntry") -> str:
    """The font's file, and which of its faces where matplotlib (3.11 or later) can tell."""
    from matplotlib import font_manager

    with_face = getattr(font_manager, "FontPath", None)
    return entry.fname if with_face is None else with_face(entry.fname, entry.index)
