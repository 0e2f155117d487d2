"""What an evaluation measured, on one screen and explained."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from minigpt.cli.render import columns
from minigpt.cli.text import number, safe

if TYPE_CHECKING:
    from minigpt.services.evaluate import EvalResult, Row

SHARES = {
    "accuracy": "answers that contain an accepted one",
    "exact_match": "answers equal to the expected one",
    "character_f1": "characters in common, precision and recall balanced",
    "ended_by_itself": "answers with a stop; the others were cut",
    "empty": "answers without a character",
    "unknown_share": "characters of the data that the vocabulary lacks",
}


def lines_of_figures(result: "EvalResult") -> Iterator[Text]:
    """The figures in groups, each with what it means, then topics and samples."""
    left_out = f", {result.left_out:,} too long and left out" if result.left_out else ""
    yield Text(f"{result.pairs:,} pairs of {safe(str(result.file))}{left_out}")
    yield Text(f"measured with {safe(str(result.checkpoint))}")
    yield Text()
    yield from _headed(_losses(result), style="dim")
    yield Text()
    generated = "exact_match" in result.metrics
    yield Text("answers, generated greedily" if generated else "data", style="bold")
    yield from columns(list(_shares(result)))
    if result.accuracy_by_topic:
        yield Text()
        yield Text("accuracy by topic", style="bold")
        yield from columns(
            [[safe(topic), _percent(share)] for topic, share in result.accuracy_by_topic.items()]
        )
    if result.samples:
        yield Text()
        yield Text("samples", style="bold")
        for row in result.samples:
            yield from _sample(row)


def _headed(rows: list[list[str]], *, style: str) -> Iterator[Text]:
    lines = columns(rows)
    heading = next(lines)
    heading.stylize(style)
    yield heading
    yield from lines


def _losses(result: "EvalResult") -> list[list[str]]:
    metrics, baselines = result.metrics, result.baselines
    uniform = number(baselines["uniform_loss"])
    rows = [
        ["", "answers", "all tokens", ""],
        [
            "loss",
            number(metrics["loss_answer"]),
            number(metrics["loss_all"]),
            "nats per token; lower is better",
        ],
    ]
    if "unigram_loss_all" in baselines:
        rows.append(
            [
                "  of guessing by frequency",
                number(baselines["unigram_loss_answer"]),
                number(baselines["unigram_loss_all"]),
                "",
            ]
        )
    rows.append(["  of guessing blindly", uniform, uniform, "ln of the vocabulary size"])
    for name, meaning in (
        ("perplexity", "tokens it wavers between"),
        ("bits_per_character", "to write the text down with it"),
    ):
        found = [number(metrics[f"{name}_{part}"]) for part in ("answer", "all")]
        rows.append([name.replace("_", " "), *found, meaning])
    found = [_percent(metrics[f"token_accuracy_{part}"]) for part in ("answer", "all")]
    rows.append(["next token right", *found, "given the true text before it"])
    return rows


def _shares(result: "EvalResult") -> Iterator[list[str]]:
    for name, meaning in SHARES.items():
        if name in result.metrics:
            yield [name.replace("_", " "), _percent(result.metrics[name]), meaning]
    if "questions_per_s" in result.metrics:
        yield ["speed", number(result.metrics["questions_per_s"]), "questions per second"]


def _sample(row: "Row") -> Iterator[Text]:
    right = row.accepted if row.accepted is not None else row.exact
    yield Text.assemble("  ", (safe(row.question), "cyan"))
    answer = safe(row.answer) if row.answer else "(nothing)"
    yield Text.assemble("    answer    ", (answer, "green" if right else ""))
    if not right:
        yield Text(f"    expected  {safe(row.expected)}")


def _percent(share: float) -> str:
    return f"{share:.2%}"
