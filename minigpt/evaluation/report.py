"""The full report of an evaluation, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol


class Answered(Protocol):
    """A row of the report."""

    @property
    def question(self) -> str:
        """What was asked."""

    @property
    def answer(self) -> str:
        """What the model said."""

    @property
    def expected(self) -> str:
        """What it should have said."""

    @property
    def f1(self) -> float:
        """How close it came."""


def markdown_report(
    facts: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, float]],
    rows: Sequence[Answered],
) -> str:
    """A Markdown document: facts, a table for each group of figures, every answer."""
    return "\n".join(_lines(facts, figures, rows)) + "\n"


def _lines(
    facts: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, float]],
    rows: Sequence[Answered],
) -> Iterator[str]:
    yield "# Evaluation\n"
    yield from (f"- {name}: {_cell(value)}" for name, value in facts.items())
    for title, values in figures.items():
        if values:
            yield f"\n## {title}\n\n| | |\n| --- | ---: |"
            yield from (f"| {_cell(name)} | {value:.4f} |" for name, value in values.items())
    if rows:
        yield "\n## Answers\n\n| question | answer | expected | F1 |\n| --- | --- | --- | ---: |"
        for row in rows:
            cells = (_cell(text) for text in (row.question, row.answer, row.expected))
            yield f"| {' | '.join(cells)} | {row.f1:.3f} |"


def _cell(text: object) -> str:
    """Text that stays in its cell and is shown as it is: no markup, no line breaks."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    for character in "\\|<>*_`[]&~":
        printable = printable.replace(character, "\\" + character)
    return printable
