"""How an answer came about, as a table: each character, its chance, what else was likely."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from minigpt.cli.text import safe

if TYPE_CHECKING:
    from minigpt.services.explain import Choice

WIDTH = 80
GAP = "   "
END = ""  # as the explanation names it
LIKELY, UNLIKELY = 0.5, 0.1
"""A choice below the first is uncertain, below the second a surprise."""

_LEGEND = (
    "The chance of each character under the model alone (temperature 1, before top_k",
    "and top_p), given the question and what was said before; then what else was",
    f"likely. ?: under {LIKELY:.0%}, !: under {UNLIKELY:.0%}, *: something else was likelier.",
)


def explanation(choices: Sequence["Choice"]) -> Iterator[Text]:
    """The lines of the table, with what it means above and its sum below."""
    for sentence in _LEGEND:
        yield Text(sentence, style="dim")
    rows = [_row(choice) for choice in choices]
    width = max(row.cell_len for row in rows)
    columns = max(1, min((WIDTH + len(GAP)) // (width + len(GAP)), 1 + (len(rows) - 1) // 8))
    height = -(-len(rows) // columns)
    for first in range(height):
        line = Text()
        for row in rows[first::height]:
            if line.plain:
                line.append(GAP)
            line.append_text(_padded(row, width))
        line.rstrip()
        yield line
    yield Text(_summary(choices), style="dim")


def _row(choice: "Choice") -> Text:
    row = Text(f"{_name(choice.said)} {choice.chance:6.1%}", style=_style(choice.chance))
    row.append(f" {_mark(choice):2}", style="default")
    for character, chance in choice.others:
        row.append(f" {_name(character)}{_whole(chance)}", style="dim")
    return row


def _name(character: str) -> str:
    """A character in three cells."""
    shown = {END: "end", " ": "spc"}.get(character, safe(character))
    return shown + " " * max(0, 3 - cell_len(shown))


def _whole(chance: float) -> str:
    return f"{chance:4.0%}" if chance >= 0.005 else " <1%"


def _style(chance: float) -> str:
    if chance >= LIKELY:
        return ""
    return "yellow" if chance >= UNLIKELY else "bold red"


def _mark(choice: "Choice") -> str:
    doubt = "" if choice.chance >= LIKELY else "?" if choice.chance >= UNLIKELY else "!"
    return doubt + ("" if choice.is_likeliest else "*")


def _padded(row: Text, width: int) -> Text:
    return row.copy().append(" " * (width - row.cell_len))


def _summary(choices: Sequence["Choice"]) -> str:
    chances = [max(choice.chance, 1e-30) for choice in choices]
    typical = math.exp(sum(map(math.log, chances)) / len(chances))
    uncertain = sum(chance < LIKELY for chance in chances)
    return (
        f"{len(choices)} choices, {uncertain} of them uncertain; "
        f"{typical:.0%} each on average (geometric mean)"
    )
