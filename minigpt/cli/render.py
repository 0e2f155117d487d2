"""Results as lines of text: every field is shown, under the name it has in JSON."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.text import Text

from minigpt.cli.text import duration, number, safe

INDENT = "  "
NARROW = 24  # cells; a table whose cells are wider reads better as blocks
BAR = 40  # cells of the longest bar
AMOUNT = re.compile(r"-?[\d,]+(?:\.(\d+))?")


def lines_of(result: Any) -> Iterator[Text]:  # noqa: ANN401 - the dataclass of any service
    """The lines that show a result: its plain values first, then what is made of parts."""
    fields = _fields(result)
    plain = {name: value for name, value in fields.items() if _is_plain(value)}
    given = {name: value for name, value in plain.items() if value is not None}
    yield from _facts({name: _plain(name, value) for name, value in given.items()})
    parts = {name: value for name, value in fields.items() if name not in plain and value}
    rows = {
        name: value
        for name, value in parts.items()
        if not isinstance(value, Mapping) and _is_flat(value)
    }
    if len({type(value) for value in rows.values()}) == 1 < len(rows):
        yield Text()
        yield from _table(list(rows.values()), names=list(rows))
        parts = {name: value for name, value in parts.items() if name not in rows}
    for name, value in parts.items():
        yield Text()
        yield Text(_label(name), style="bold")
        yield from _part(name, value)


Lines = Callable[[Any], Iterator[Text]]


def show(
    console: RichConsole,
    result: Any,  # noqa: ANN401 - the dataclass of any service
    *,
    lines: Lines = lines_of,
) -> None:
    """Write a result; long lines are the terminal's to wrap, so that a pipe gets them whole."""
    for line in lines(result):
        console.print(line, soft_wrap=True)


def _part(name: str, value: Any) -> Iterator[Text]:  # noqa: ANN401 - a part of any result
    if not isinstance(value, tuple | list):
        yield from _indented(lines_of(value))
    elif name == "histogram":
        yield from _bars([(_range(each), each.count) for each in value])
    elif all(_is_plain(item) for item in value):
        yield from (Text(INDENT + _plain("", item)) for item in value)
    elif all(isinstance(item, tuple | list) for item in value):
        yield from columns([[_plain("", cell) for cell in row] for row in value])
    elif all(_is_flat(item) and _is_narrow(item) for item in value):
        yield from _table(value)
    else:
        for position, item in enumerate(value):
            if position:
                yield Text()
            yield from _indented(lines_of(item))


def _indented(lines: Iterator[Text]) -> Iterator[Text]:
    for line in lines:
        yield Text(INDENT).append_text(line) if line.plain else line


def _facts(facts: Mapping[str, str]) -> Iterator[Text]:
    width = max((cell_len(_label(name)) for name in facts), default=0)
    for name, value in facts.items():
        yield Text.assemble((_pad(_label(name), width), "dim"), INDENT, value)


def _table(items: Sequence[Any], *, names: Sequence[str] = ()) -> Iterator[Text]:
    """One row for each dataclass (or mapping), one column for each of its fields."""
    rows = [[_plain(name, value) for name, value in _fields(item).items()] for item in items]
    rows = [list(row) for row in zip(*map(_alike, zip(*rows, strict=True)), strict=True)]
    header = [_label(name) for name in _fields(items[0])]
    if names:
        rows = [[_label(name), *row] for name, row in zip(names, rows, strict=True)]
        header = ["", *header]
    lines = columns([header, *rows])
    heading = next(lines)
    heading.stylize("dim")
    yield heading
    yield from lines


def _alike(column: Sequence[str]) -> list[str]:
    """The cells of a column, amounts with as many decimals as the one with the most."""
    decimals = [len(found[1] or "") if (found := AMOUNT.fullmatch(c)) else -1 for c in column]
    most = max(decimals)
    return [
        cell if has in (-1, most) else cell + "." * (has == 0) + "0" * (most - has)
        for cell, has in zip(column, decimals, strict=True)
    ]


def columns(rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Rows in aligned columns; numbers to the right, wide characters counted as two."""
    count = max(map(len, rows), default=0)
    padded = [[*row, *[""] * (count - len(row))] for row in rows]
    turned = list(zip(*padded, strict=True))
    widths = [max(map(cell_len, column)) for column in turned]
    last = [next((cell for cell in reversed(column) if cell), "") for column in turned]
    for row in padded:
        cells = [
            _pad(cell, width, right=_is_number(end))
            for cell, width, end in zip(row, widths, last, strict=True)
        ]
        yield Text((INDENT + INDENT.join(cells)).rstrip())


def _bars(bars: Sequence[tuple[str, int]]) -> Iterator[Text]:
    most = max((count for _, count in bars), default=0) or 1
    lines = columns([(label, number(count)) for label, count in bars])
    for line, (_, count) in zip(lines, bars, strict=True):
        filled = -(-count * BAR // most)  # rounded up: one pair is not nothing
        yield line.append(INDENT + "#" * filled, style="cyan")


def _range(bin_: Any) -> str:  # noqa: ANN401 - a bin of the token statistics
    return f"{bin_.first}+" if bin_.last is None else f"{bin_.first}-{bin_.last}"


def _pad(text: str, width: int, right: bool = False) -> str:
    room = " " * (width - cell_len(text))
    return room + text if right else text + room


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() and (cell[-1:].isdigit() or cell.endswith("%"))


def _fields(result: Any) -> dict[str, Any]:  # noqa: ANN401 - any result
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | PurePath)


def _is_flat(value: object) -> bool:
    if not isinstance(value, Mapping) and not dataclasses.is_dataclass(value):
        return False
    return all(_is_plain(item) for item in _fields(value).values())


def _is_narrow(value: object) -> bool:
    return all(cell_len(_plain(name, item)) <= NARROW for name, item in _fields(value).items())


def _plain(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _figure(name, value)
    return "-" if value in (None, "") else safe(str(value))


def _figure(name: str, value: float) -> str:
    if name == "seconds":
        return duration(value)
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.0f} MB"
    if name.endswith("_per_s"):
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    if name == "share" or name.endswith("_share"):
        return f"{value:.2%}"
    if name in {"accuracy", "exact_match"}:
        return f"{value:.1%}"
    return str(value) if name == "seed" else number(value)  # a seed is a name, not an amount


def _label(name: str) -> str:
    return safe(name).replace("_", " ")
