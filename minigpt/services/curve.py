"""The loss curve of a run, as a picture."""

import importlib.util
import io
import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from minigpt.files import atomic_path
from minigpt.services.run_directory import CURVE, RunDirectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP, TRAIN, ALL, ANSWER, GUESS = "#c6dbef", "#3182bd", "#e6550d", "#31a354", "#636363"

LINE_HEIGHT = 0.045  # of a name beside the picture, as a share of the picture's

Rows = Sequence[dict[str, Any]]
Label = tuple[float, str, str]  # the last value of a line, its name and colour


def draw_curve(
    run: RunDirectory, *, vocab_size: int, unigram: tuple[float, float], loss_on: str
) -> bool:
    """Draw the losses of a run to its loss.png; the arguments are those of `loss_figure`.

    Returns:
        Whether there was something to draw, and matplotlib to draw it.
    """
    rows = run.read_metrics()
    validated = any(row["kind"] == "validation" for row in rows)
    if not validated or importlib.util.find_spec("matplotlib") is None:
        return False
    figure = loss_figure(rows, vocab_size=vocab_size, unigram=unigram, loss_on=loss_on)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    with atomic_path(run.path / CURVE) as temporary:
        temporary.write_bytes(picture.getvalue())
    return True


def loss_figure(
    rows: Rows, *, vocab_size: int, unigram: tuple[float, float], loss_on: str
) -> "Figure":
    """Training and validation loss over the steps, and lines for what guessing costs.

    Args:
        rows: Lines of metrics.jsonl, with at least one validation.
        vocab_size: For the line of a blind guess, ln V.
        unigram: Nats per token of a guess by training frequency on the validation pairs, over all
            targets and over answers.
        loss_on: Which targets the training loss counts.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    labels = [
        *_draw_losses(axes, rows, loss_on=loss_on),
        *_draw_guesses(axes, math.log(vocab_size), unigram),
    ]
    axes.set_xlabel("optimizer step (the pale line: the training loss of single steps)")
    axes.set_ylabel("loss, nats per token")
    axes.set_xlim(0, max(row["step"] for row in rows))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    _name_at_the_end(axes, labels)
    return figure


def _draw_losses(axes: "Axes", rows: Rows, *, loss_on: str) -> Iterator[Label]:
    counted = "answers" if loss_on == "answer" else "all tokens"
    validations = [row for row in rows if row["kind"] == "validation"]
    steps = [row for row in rows if row["kind"] == "step"]
    axes.plot([row["step"] for row in steps], [row["loss"] for row in steps], color=STEP, lw=1)
    for name, label, colour in (
        ("train_loss", f"training, {counted}", TRAIN),
        ("val_loss", "validation, all tokens", ALL),
        ("val_loss_answer", "validation, answers", ANSWER),
    ):
        at, values = [row["step"] for row in validations], [row[name] for row in validations]
        axes.plot(at, values, "o-", color=colour, markersize=4, clip_on=False)
        yield values[-1], label, colour


def _draw_guesses(axes: "Axes", uniform: float, unigram: tuple[float, float]) -> Iterator[Label]:
    on_all, on_answers = unigram
    for value, label, colour in (
        (uniform, "blind guess, ln V", GUESS),
        (on_all, "guess by frequency, all tokens", ALL),
        (on_answers, "guess by frequency, answers", ANSWER),
    ):
        axes.axhline(value, color=colour, linestyle="--", linewidth=1)
        yield value, label, colour


def _name_at_the_end(axes: "Axes", labels: Sequence[Label]) -> None:
    """Write the value and name of each line beside its right end."""
    labels = sorted(labels)
    low, high = axes.get_ylim()
    heights = apart([value for value, _, _ in labels], gap=LINE_HEIGHT * (high - low))
    for (value, label, colour), height in zip(labels, heights, strict=True):
        axes.text(
            1.015,
            height,
            f"{value:.2f}  {label}",
            transform=axes.get_yaxis_transform(),  # x from 0 to 1 across the picture, y in nats
            verticalalignment="center",
            color=colour,
            fontsize=9,
        )


def apart(values: Sequence[float], *, gap: float) -> list[float]:
    """Rising values, moved as little as need be so that any two are at least `gap` apart."""
    groups: list[list[float]] = []  # each stands around its mean, its members `gap` apart
    for number, value in enumerate(values):
        groups.append([value - number * gap])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    middles = [fmean(group) for group in groups for _ in group]
    return [middle + number * gap for number, middle in enumerate(middles)]
