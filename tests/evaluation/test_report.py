import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.report import markdown_report


@dataclass(frozen=True)
class Row:
    question: str = "问"
    answer: str = "答"
    expected: str = "答"
    f1: float = 1.0


def answers(text: str) -> list[str]:
    """The lines of the table of answers, its head included."""
    lines = text.partition("## Answers\n\n")[2].removesuffix("\n").split("\n")
    return [line for line in lines if line]


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))


def test_a_report_has_facts_figures_and_answers() -> None:
    text = markdown_report(
        {"pairs": 2},
        {"Metrics": {"loss": 1.5}, "Accuracy by topic": {}},
        [Row(), Row(answer="", f1=0.0)],
    )
    assert text == (
        "# Evaluation\n\n"
        "- pairs: 2\n"
        "\n## Metrics\n\n| | |\n| --- | ---: |\n"
        "| loss | 1.5000 |\n"
        "\n## Answers\n\n| question | answer | expected | F1 |\n| --- | --- | --- | ---: |\n"
        "| 问 | 答 | 答 | 1.000 |\n"
        "| 问 |  | 答 | 0.000 |\n"
    )


def test_a_report_without_answers_has_no_table_of_them() -> None:
    assert "## Answers" not in markdown_report({}, {"Metrics": {"loss": 1.0}}, [])


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_the_table(question: str, answer: str, expected: str) -> None:
    text = markdown_report({}, {}, [Row(question, answer, expected), Row()])
    lines = answers(text)
    assert len(lines) == len(text.partition("## Answers\n\n")[2].splitlines()) == 4
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 5


@given(st.text())
def test_no_topic_breaks_the_table(topic: str) -> None:
    text = markdown_report({}, {"Accuracy by topic": {topic: 0.5}}, [])
    assert len(text.splitlines()) == len(text.split("\n")) - 1 == 8
    assert text.splitlines()[-1].endswith(" | 0.5000 |")


@pytest.mark.parametrize(
    ("text", "cell"),
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
def test_markup_is_shown_as_it_stands(text: str, cell: str) -> None:
    line = answers(markdown_report({}, {}, [Row(question=text)]))[-1]
    assert cells(line)[0] == cell
