import io
import math

import pytest
from rich.cells import cell_len
from rich.console import Console

from minigpt.cli.why import WIDTH, explanation
from minigpt.services.explain import END, Choice


def choices(count: int, *, said: str = "京") -> list[Choice]:
    others = (("上", 0.0321), ("𠀀", 0.011), ("a", 0.0004))
    return [Choice(said, 0.9, others)] * count


def lines(*given: Choice) -> list[str]:
    return [line.plain for line in explanation(given)]


def rows(*given: Choice) -> list[str]:
    return lines(*given)[3:-1]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17, 33, 128])
@pytest.mark.parametrize("said", ["京", "a", "，", " ", END, "\x1b", "\u202e"])
def test_the_table_fits_80_columns_and_shows_every_choice(count: int, said: str) -> None:
    shown = lines(*choices(count, said=said))
    assert max(map(cell_len, shown)) <= WIDTH
    assert sum(line.count("90.0%") for line in shown) == count
    assert "\x1b" not in "".join(shown)


def test_columns_stand_below_each_other() -> None:
    mixed = [Choice(said, 0.25, (("上", 0.5), ("b", 0.125))) for said in "京a，b" * 8]
    starts = {tuple(i for i in range(len(r)) if r.startswith("25.0%", i)) for r in wide(mixed)}
    assert len(starts) == 1


def wide(given: list[Choice]) -> list[str]:
    """Rows in which a wide character takes two places."""
    return ["".join(c * cell_len(c) for c in row) for row in rows(*given)]


def test_choices_are_read_down_each_column() -> None:
    said = "一二三四五六七八九十"
    shown = rows(*(Choice(character, 0.9, ()) for character in said))
    assert [line[0] for line in shown] == list(said[: len(shown)])
    assert said[len(shown)] in shown[0]


@pytest.mark.parametrize(
    ("chance", "rival", "mark"),
    [(0.9, 0.1, ""), (0.5, 0.5, ""), (0.4, 0.3, "?"), (0.4, 0.6, "?*"), (0.05, 0.9, "!*")],
)
def test_doubt_is_marked_without_colour(chance: float, rival: float, mark: str) -> None:
    (row,) = rows(Choice("京", chance, (("上", rival),)))
    assert row.split("%")[1].split("上")[0].strip() == mark


def test_only_doubt_is_coloured() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=200)
    for chance in (0.9, 0.3, 0.01):
        *_, row, _ = explanation([Choice("京", chance, ())])
        console.print(row)
    certain, doubtful, surprising = stream.getvalue().splitlines()
    assert "\x1b[" not in certain.partition("90")[0]
    assert "\x1b[33m京" in doubtful
    assert "\x1b[1;31m京" in surprising


def test_the_end_is_a_choice_too() -> None:
    (row,) = rows(Choice(END, 0.75, (("，", 0.2),)))
    assert row.split()[:2] == ["end", "75.0%"]


def test_the_sum_says_how_sure_the_model_was() -> None:
    summary = lines(Choice("a", 0.9, ()), Choice("b", 0.1, ()))[-1]
    assert summary.startswith("2 choices, 1 of them uncertain")
    assert f"{math.sqrt(0.09):.0%}" in summary
