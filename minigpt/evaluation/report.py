"""The full report of an evaluation: as Markdown, to be read from top to bottom, or as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

from minigpt.evaluation.breakdown import BUCKET_FIGURES, Breakdown, Bucket
from minigpt.evaluation.comparison import Comparison
from minigpt.evaluation.figures import FIGURES, GROUPS, Figure
from minigpt.evaluation.result import EvalResult
from minigpt.evaluation.rows import Row

INTERVALS = (
    "The 95 % interval is where a figure would probably lie on other pairs of the same kind "
    "(bootstrap over the pairs, 1,000 resamples); another training run can differ by more."
)
SAMPLES = {
    "worst": "Wrong ones first, then by characters in common with the expected answer, fewest "
    "first; of equals the most surprising.",
    "random": "Drawn with the seed of the settings.",
    "best": "Right ones first, then by characters in common, most first; of equals the least "
    "surprising.",
}


def report_bytes(result: EvalResult, rows: Sequence[Row], suffix: str) -> bytes:
    """The report in the form that the suffix of its file names: `.json`, or else Markdown."""
    if suffix.lower() == ".json":
        return json_report(result, rows).encode("utf-8")
    return markdown_report(result, rows).encode("utf-8")


def json_report(result: EvalResult, rows: Sequence[Row]) -> str:
    """What `--json` gives, and every row."""
    content = dataclasses.asdict(result) | {"rows": [dataclasses.asdict(row) for row in rows]}
    text = json.dumps(
        {"schema": 1, **content}, ensure_ascii=False, allow_nan=False, indent=2, default=str
    )
    return text + "\n"


def markdown_report(result: EvalResult, rows: Sequence[Row]) -> str:
    """A Markdown document: verdict, figures, kinds of pairs, samples, facts, every answer."""
    return "\n".join(_lines(result, rows)) + "\n"


def _lines(result: EvalResult, rows: Sequence[Row]) -> Iterator[str]:
    yield f"# How good is {cell(result.checkpoint)}?\n"
    pairs = "1 pair" if result.pairs == 1 else f"{result.pairs:,} pairs"
    left_out = f" ({result.left_out:,} too long and left out)" if result.left_out else ""
    yield f"Measured on {pairs} of {cell(result.file)}{left_out}."
    yield from (f"\n> {cell(remark)}" for remark in result.remarks)
    yield from _verdict(result)
    yield "\n## Figures\n"
    yield INTERVALS
    for group, title in GROUPS.items():
        yield from _group(result, group, title)
    if result.comparison:
        yield from _comparison(result.comparison)
    for breakdown in result.breakdowns.values():
        yield from _breakdown(breakdown)
    for kind, meaning in SAMPLES.items():
        chosen: tuple[Row, ...] = getattr(result.samples, kind)
        if chosen:
            yield f"\n## Samples: {kind}\n\n{meaning}\n"
            yield from _rows(chosen)
    yield from _facts(result)
    yield "\n## Every pair\n"
    yield from _rows(rows)


def _verdict(result: EvalResult) -> Iterator[str]:
    verdict = result.verdict
    sure = "" if verdict.sure or verdict.label == "unclear" else " (by a narrow margin)"
    yield f"\n## Verdict: {verdict.label}{sure}\n"
    yield f"{cell(verdict.reason[:1].upper() + verdict.reason[1:])}."
    if verdict.advice:
        yield f"\nNext: {cell(verdict.advice)}."


def _group(result: EvalResult, group: str, title: str) -> Iterator[str]:
    figures = [each for each in FIGURES.values() if each.group == group]
    measured = [each for each in figures if each.name in result.metrics]
    if not measured:
        return
    guesses = [
        each
        for each in result.baselines.values()
        if any(figure.name in each.metrics for figure in measured)
    ]
    has_intervals = any(figure.name in result.intervals for figure in measured)
    yield f"\n### {title}\n"
    yield from (f"- {each.name}: {cell(each.meaning)}" for each in guesses)
    if guesses:
        yield ""
    intervals = ["95 % interval"] if has_intervals else []
    yield from _head(["figure", "value", *intervals, *(each.name for each in guesses), "meaning"])
    for figure in measured:
        cells = [figure.shown(result.metrics[figure.name])]
        if has_intervals:
            cells.append(figure.span(result.intervals.get(figure.name)))
        for guess in guesses:
            found = guess.metrics.get(figure.name)
            cells.append("" if found is None else figure.shown(found))
        yield _line([figure.label, *cells, figure.meaning])


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield f"\n## Compared with {cell(comparison.other)}\n"
    yield from (f"{cell(sentence)}\n" for sentence in comparison.sentences)
    yield from _head(["figure", "this", "the other", "difference", "95 % interval", "better"])
    for each in comparison.contrasts:
        figure = FIGURES[each.name]
        values = (figure.shown(value) for value in (each.value, each.other, each.difference))
        yield _line([figure.label, *values, figure.span(each.interval), each.verdict])


def _breakdown(breakdown: Breakdown) -> Iterator[str]:
    yield f"\n## {breakdown.title}\n\n{cell(breakdown.meaning)}\n"
    names = [name for name in BUCKET_FIGURES if name in breakdown.buckets[0].metrics]
    yield from _head(["pairs that are", "number", *(FIGURES[name].label for name in names)])
    for bucket in breakdown.buckets:
        figures = (_with_interval(bucket, FIGURES[name]) for name in names)
        yield _line([bucket.label, f"{bucket.pairs:,}", *figures])


def _with_interval(bucket: Bucket, figure: Figure) -> str:
    if figure.name not in bucket.metrics:
        return ""
    interval = figure.span(bucket.intervals.get(figure.name))
    value = figure.shown(bucket.metrics[figure.name])
    return f"{value} ({interval})" if interval else value


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    tables = [_row(row) for row in rows]
    yield from _head(list(tables[0]))
    yield from (_line(table.values()) for table in tables)


def _row(row: Row) -> dict[str, str]:
    """The cells of a row by their column; a column that was not measured is missing in all."""
    cells = {"question": row.question}
    if row.answer is not None:
        cells["answer"] = (row.answer or "(nothing)") + ("" if row.ended_by_itself else " (cut)")
    cells["expected"] = " / ".join(row.references)
    if row.character_f1 is not None:
        cells |= {"right": "yes" if row.is_right else "no", "F1": f"{row.character_f1:.2f}"}
    cells["loss"] = f"{row.loss_answer:.3f}"
    if row.similarity is not None:
        near = f"{row.nearest_training_question} ({row.similarity:.0%})"
        cells["nearest training question"] = near
    return cells


def _facts(result: EvalResult) -> Iterator[str]:
    yield "\n## How it was measured"
    for name, facts in result.facts.items():
        yield f"\n- {cell(name)}"
        yield from (f"  - {cell(key)}: {cell(_fact(value))}" for key, value in facts.items())


def _fact(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value) or "none"


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield f"| {' | '.join('---' for _ in names)} |"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell(each) for each in cells)} |"


def cell(text: object) -> str:
    """Text that stays in its cell and is shown as it is: no markup, no line breaks."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    for character in "\\|<>*_`[]&~":
        printable = printable.replace(character, "\\" + character)
    return printable
