"""What an evaluation measured, on one screen: figures, verdict, samples."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.text import Text

from minigpt.cli.render import INDENT, columns
from minigpt.cli.text import counted, safe
from minigpt.evaluation.figures import FIGURES, Figure

if TYPE_CHECKING:
    from minigpt.evaluation.comparison import Comparison
    from minigpt.evaluation.result import EvalResult
    from minigpt.evaluation.rows import Row

HEADLINE = (
    *("loss_answer", "token_accuracy_answer"),
    *("accuracy", "exact_match", "character_f1", "ended_by_itself", "memorised"),
)
GUESSES = {
    "frequency": "each token by its frequency",
    "common answer": "always the most frequent answer",
}
VERDICTS = {"balanced": "green", "unclear": "dim"}


def lines_of_figures(result: "EvalResult", *, width: int | None = None) -> Iterator[Text]:
    """The headline figures, what to make of them, and some answers.

    Args:
        result: What was measured.
        width: Cells of a line of the terminal: what does not fit is left to the report. None for
            a pipe, which gets everything.
    """
    yield Text(_title(result))
    yield Text()
    yield from _table(result, width)
    yield from _folded(_beside(result), width)
    yield Text()
    yield from _folded(_verdict(result), width)
    if result.comparison:
        yield Text()
        yield from _folded(_comparison(result.comparison), width)
    if result.samples.random:
        yield Text()
        for row in result.samples.random:
            yield from (_cut(line, width) for line in _sample(row))
    if result.report is None:
        yield Text("--report FILE.md has every figure, explained, and every answer", style="dim")


def _title(result: "EvalResult") -> str:
    left_out = f" ({result.left_out:,} too long and left out)" if result.left_out else ""
    file, checkpoint = safe(str(result.file)), safe(str(result.checkpoint))
    pairs = counted(result.pairs, "pair")
    return f"{pairs} of {file}{left_out}, {checkpoint}"


def _table(result: "EvalResult", width: int | None) -> Iterator[Text]:
    figures = [FIGURES[name] for name in HEADLINE if name in result.metrics]
    rows = [["", "value", "95 % interval", "guess"], *(_cells(result, each) for each in figures)]
    meanings = ["", *(figure.meaning for figure in figures)]
    explained = [[*row, meaning] for row, meaning in zip(rows, meanings, strict=True)]
    lines = list(columns(explained))
    if width is not None and max(cell_len(line.plain) for line in lines) > width:
        lines = list(columns(rows))
    lines[0].stylize("dim")
    yield from lines


def _cells(result: "EvalResult", figure: Figure) -> list[str]:
    found = [result.baselines[guess].metrics for guess in GUESSES if guess in result.baselines]
    guesses = [figure.shown(each[figure.name]) for each in found if figure.name in each]
    return [
        figure.label,
        figure.shown(result.metrics[figure.name]),
        figure.span(result.intervals.get(figure.name)),
        guesses[0] if guesses else "",
    ]


def _beside(result: "EvalResult") -> Iterator[Text]:
    """What belongs to the table: which guess, what was near to training, speed, what to mind."""
    metrics = result.metrics
    guesses = [meaning for name, meaning in GUESSES.items() if name in result.baselines]
    if guesses:
        yield Text(f"{INDENT}guess: {'; or '.join(guesses)}", style="dim")
    name = "accuracy" if "accuracy" in metrics else "character_f1"
    parts = result.breakdowns.get("training_question")
    if parts and len(parts.buckets) == 2 and name in metrics:
        figure = FIGURES[name]
        near, new = (f"{_shown(figure, each.metrics)} of {each.pairs:,}" for each in parts.buckets)
        yield Text(f"{INDENT}{figure.label} near a training question {near}, elsewhere {new}")
    if "quantization_loss" in metrics:
        cost = FIGURES["quantization_loss"].shown(metrics["quantization_loss"])
        nats = "nats of loss on answers, next to the full ones"
        yield Text(f"{INDENT}quantised weights: {cost} {nats}")
    if "questions_per_s" in metrics:
        rate, first = (
            FIGURES[name].shown(metrics[name]) for name in ("questions_per_s", "time_to_first_s")
        )
        yield Text(f"{INDENT}{rate} questions a second; one alone: first character after {first}")
    for remark in result.remarks:
        yield Text(INDENT + safe(remark), style="yellow")


def _shown(figure: Figure, metrics: Mapping[str, float]) -> str:
    return figure.shown(metrics[figure.name]) if figure.name in metrics else "-"


def _verdict(result: "EvalResult") -> Iterator[Text]:
    verdict = result.verdict
    margin = "" if verdict.sure or verdict.label == "unclear" else ", by a narrow margin"
    style = VERDICTS.get(verdict.label, "yellow")
    yield Text.assemble("verdict: ", (verdict.label, style), f"{margin}; {safe(verdict.reason)}")
    if verdict.advice:
        yield Text.assemble("next: ", safe(verdict.advice))


def _comparison(comparison: "Comparison") -> Iterator[Text]:
    yield Text(f"compared with {safe(str(comparison.other))}", style="bold")
    rows = [["", "this", "the other", "difference", "95 % interval"]]
    for each in comparison.contrasts:
        figure = FIGURES[each.name]
        values = [figure.shown(value) for value in (each.value, each.other, each.difference)]
        rows.append([figure.label, *values, figure.span(each.interval)])
    yield from columns(rows)
    yield from (Text(INDENT + safe(sentence)) for sentence in comparison.sentences)


def _sample(row: "Row") -> Iterator[Text]:
    yield Text.assemble(INDENT, (safe(row.question), "cyan"))
    answer = safe(row.answer) if row.answer else "(nothing)"
    if row.answer is None:
        yield Text(f"{INDENT * 2}expected {safe(row.expected)}")
    elif row.is_right:
        yield Text.assemble(INDENT * 2, (answer, "green"))
    else:
        yield Text(f"{INDENT * 2}{answer}  (expected {safe(row.expected)})")


def _folded(lines: Iterable[Text], width: int | None) -> Iterator[Text]:
    """The lines in as many as they need, each word whole, each begun where the first one is."""
    for line in lines:
        if width is None or line.cell_len <= width:
            yield line
            continue
        start = len(line.plain) - len(line.plain.lstrip())
        for part in line[start:].wrap(RichConsole(), max(1, width - start)):
            part.rstrip()
            yield Text(" " * start).append_text(part)


def _cut(line: Text, width: int | None) -> Text:
    if width is not None:
        line.truncate(width, overflow="ellipsis")
    return line
