import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from minigpt.cli.render import columns, lines_of, show


@dataclass(frozen=True)
class Bin:
    first: int
    last: int | None
    count: int


@dataclass(frozen=True)
class Sample:
    question: str
    answer: str


def text_of(result: Any) -> str:
    return "\n".join(line.plain for line in lines_of(result))


def test_plain_values_stand_first_with_their_names() -> None:
    shown = text_of({"path": Path("a"), "train_pairs": 1234, "seed": 1234, "moved": False})
    assert shown.splitlines() == [
        "path         a",
        "train pairs  1,234",
        "seed         1234",
        "moved        no",
    ]


def test_a_rate_has_no_more_digits_than_it_means() -> None:
    assert text_of({"tokens_per_s": 2380.489}) == "tokens per s  2,380"
    assert text_of({"tokens_per_s": 2.489}) == "tokens per s  2.5"


def test_what_is_not_there_is_not_shown() -> None:
    assert text_of({"plot": None, "shown": ()}) == ""


def test_wide_characters_stay_aligned() -> None:
    lines = [line.plain for line in columns([["好", "x"], ["ab", "y"], ["，", "z"]])]
    assert {cell_len(line) for line in lines} == {7}


def test_text_from_data_cannot_steer_the_terminal() -> None:
    shown = text_of({"samples": (Sample("\x1b[2J\u202e", "[red]a[/red]"),), "x": "\x9b"})
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown


def test_text_from_data_is_no_markup() -> None:
    stream = io.StringIO()
    show(Console(file=stream, markup=False, highlight=False), {"text": "[bold]a[/bold] :smile:"})
    assert stream.getvalue() == "text  [bold]a[/bold] :smile:\n"


def test_a_pipe_gets_long_lines_whole() -> None:
    stream = io.StringIO()
    show(Console(file=stream, width=20, markup=False), {"text": "字" * 100})
    assert stream.getvalue() == f"text  {'字' * 100}\n"


def test_no_bin_that_holds_a_pair_looks_empty() -> None:
    shown = text_of({"histogram": (Bin(0, 19, 100_000), Bin(20, 39, 1), Bin(40, None, 0))})
    assert [line.count("#") for line in shown.splitlines()[2:]] == [40, 1, 0]
    assert "40+" in shown


def test_equal_parts_become_one_table() -> None:
    shown = text_of({"question": Bin(1, 2, 3), "answer": Bin(4, 5, 6)})
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["first", "last", "count"],
        ["question", "1", "2", "3"],
        ["answer", "4", "5", "6"],
    ]


def test_amounts_of_a_column_have_as_many_decimals() -> None:
    losses = [
        {"epoch": epoch, "loss": loss} for epoch, loss in enumerate([1.8142, 1.0, 0.95, None], 1)
    ]
    shown = text_of({"by_epoch": losses}).splitlines()[-4:]
    assert [line.split() for line in shown] == [
        ["1", "1.8142"],
        ["2", "1.0000"],
        ["3", "0.9500"],
        ["4", "-"],
    ]


def test_figures_by_name_stand_one_below_the_other() -> None:
    shown = text_of({"metrics": {"loss_all": 1.5, "share": 0.25}, "baselines": {"uniform": 6.0}})
    assert "  loss all  1.5\n" in shown
    assert "  share     25.00%" in shown


def test_what_was_right_is_shown_in_percent_as_by_eval() -> None:
    epochs = [{"epoch": 1, "accuracy": 0.2802, "exact_match": 0.0}]
    shown = text_of({"by_epoch": epochs}).splitlines()
    assert shown[-1].split() == ["1", "28.0%", "0.0%"]


def test_a_column_that_ends_in_nothing_is_right_aligned_by_its_last_number() -> None:
    rows = [["a", "100.0%", "0.1% to 2.0%"], ["b", "1.0%", ""], ["c", "", ""]]
    assert [line.plain for line in columns(rows)] == [
        "  a  100.0%  0.1% to 2.0%",
        "  b    1.0%",
        "  c",
    ]


def test_every_sample_is_shown() -> None:
    samples = tuple(Sample("问" * 20 + str(n), "答" * 20) for n in range(3))
    shown = text_of({"samples": samples})
    assert all(sample.question in shown for sample in samples)
