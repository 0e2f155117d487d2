import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.report import cell, json_report, markdown_report
from minigpt.evaluation.result import EvalResult
from minigpt.evaluation.rows import Row
from tests.evaluation.examples import measured, result_of

PAIRS = [QAPair(f"问题{n}？", "答" * (n % 3 + 1), topic="题") for n in range(12)]
SAID = ["答" if n % 2 else "错" for n in range(12)]


def tables(text: str) -> list[list[str]]:
    """The lines of each table, without head and rule."""
    found: list[list[str]] = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines:
            found.append(lines[2:])
    return found


def columns_of(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def reported(pairs: Sequence[QAPair], said: Sequence[str] | None) -> tuple[EvalResult, list[Row]]:
    one = measured(pairs, said)
    return result_of(one), one.rows


def test_every_figure_stands_there_with_its_meaning() -> None:
    result, rows = reported(PAIRS, SAID)
    text = markdown_report(result, rows)
    for name, value in result.metrics.items():
        figure = FIGURES[name]
        assert f"| {figure.label} | {figure.shown(value)} |" in text
        assert cell(figure.meaning) in text
        assert figure.span(result.intervals.get(name)) in text


def test_the_verdict_stands_before_the_figures_and_every_pair_last() -> None:
    text = markdown_report(*reported(PAIRS, SAID))
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == "## Verdict: unclear"
    assert headings[1] == "## Figures"
    assert headings[-2:] == ["## How it was measured", "## Every pair"]
    assert {"## By question word", "## By length", "## By topic"} <= set(headings)
    assert len(tables(text)[-1]) == len(PAIRS)


def test_samples_are_not_called_right_or_wrong_where_they_may_be_neither() -> None:
    text = markdown_report(*reported(PAIRS, ["错"] * 12))
    best = text.partition("## Samples: best")[2].partition("##")[0]
    assert "| no |" in best
    assert "Right answers" not in best


def test_a_guess_stands_only_beside_figures_that_a_guess_can_have() -> None:
    text = markdown_report(*reported(PAIRS, SAID))
    data = text.partition("### The data")[2].partition("##")[0]
    assert "unknown share" in data
    assert "frequency" not in data


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (False, "no"),
        ("", "none"),
        ((), "none"),
        (["a=1", "b=2"], "a=1, b=2"),
        (0, "0"),
    ],
)
def test_facts_are_written_as_people_write_them(value: object, shown: str) -> None:
    result, rows = reported(PAIRS, SAID)
    facts = {"settings": {"fact": value}}
    assert f"  - fact: {shown}\n" in markdown_report(dataclasses.replace(result, facts=facts), rows)


def test_what_was_left_out_stands_in_the_first_line() -> None:
    result, rows = reported(PAIRS, SAID)
    text = markdown_report(dataclasses.replace(result, left_out=3), rows)
    assert "Measured on 12 pairs of data/val.jsonl (3 too long and left out)." in text


def test_a_report_without_answers_has_no_column_for_them() -> None:
    text = markdown_report(*reported(PAIRS, None))
    head = text.partition("## Every pair\n\n")[2].splitlines()[0]
    assert head == "| question | expected | loss |"


def test_what_was_cut_or_empty_is_marked() -> None:
    text = markdown_report(*reported(PAIRS[:2], ["", "答"]))
    assert "| 问题0？ | (nothing) | 答 | no | 0.00 |" in text
    assert "| 问题1？ | 答 | 答答 | no | 0.67 |" in text


texts = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@given(texts, texts, texts)
def test_no_text_breaks_a_table(question: str, answer: str, topic: str) -> None:
    result, rows = reported([QAPair(question, answer, topic), PAIRS[0]], [answer, question])
    text = markdown_report(result, rows)
    assert len(text.splitlines()) == len(text.split("\n")) - 1
    assert len(tables(text)[-1]) == 2
    for table in tables(text):
        assert len({columns_of(line) for line in table}) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("<script>", r"\<script\>"),
        ("[x](y)", r"\[x\](y)"),
        ("*a* _b_ `c` ~~d~~", r"\*a\* \_b\_ \`c\` \~\~d\~\~"),
        ("&lt;", r"\&lt;"),
        ("a\r\nb\u2028c\x1b[31m", r"a  b c \[31m"),
    ],
)
def test_markup_is_shown_as_it_stands(text: str, shown: str) -> None:
    assert cell(text) == shown
    assert f"| {shown} |" in markdown_report(*reported([QAPair(text, "答")], None))


def test_json_holds_the_same_figures_and_every_row() -> None:
    result, rows = reported(PAIRS, SAID)
    content = json.loads(json_report(result, rows))
    assert content["schema"] == 1
    assert content["metrics"] == result.metrics
    assert content["file"] == str(result.file)
    assert content["intervals"]["loss_all"]["low"] == result.intervals["loss_all"].low
    assert [row["answer"] for row in content["rows"]] == SAID
    assert content["breakdowns"].keys() == result.breakdowns.keys()
    assert Path(content["checkpoint"]) == result.checkpoint


@pytest.mark.parametrize("said", [None, [""]])
def test_json_of_a_single_pair_has_no_value_that_json_lacks(said: list[str] | None) -> None:
    result, rows = reported(PAIRS[:1], said)
    text = json_report(result, rows)
    assert "NaN" not in text
    assert "Infinity" not in text
