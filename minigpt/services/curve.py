"""The loss curve of a run, as a picture."""

import importlib.util
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minigpt.files import atomic_path
from minigpt.services.run_directory import CURVE, RunDirectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP, TRAIN, ALL, ANSWER, GUESS = "#c6dbef", "#3182bd", "#e6550d", "#31a354", "#636363"

Rows = Sequence[dict[str, Any]]


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

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    _draw_losses(axes, rows, loss_on=loss_on)
    _draw_guesses(axes, math.log(vocab_size), unigram)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss, nats per token")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return figure


def _draw_losses(axes: "Axes", rows: Rows, *, loss_on: str) -> None:
    counted = "answers" if loss_on == "answer" else "all tokens"
    validations = [row for row in rows if row["kind"] == "validation"]
    steps = [row for row in rows if row["kind"] == "step"]
    axes.plot(
        [row["step"] for row in steps],
        [row["loss"] for row in steps],
        color=STEP,
        linewidth=1,
        label=f"training, {counted}: a single step",
    )
    for name, label, colour in (
        ("train_loss", f"training, {counted}: mean of the epoch", TRAIN),
        ("val_loss", "validation, all tokens", ALL),
        ("val_loss_answer", "validation, answers", ANSWER),
    ):
        at, values = [row["step"] for row in validations], [row[name] for row in validations]
        axes.plot(
            at,
            values,
            "o-",
            color=colour,
            markersize=4,
            label=f"{label}: {values[-1]:.2f} at the end",
        )


def _draw_guesses(axes: "Axes", uniform: float, unigram: tuple[float, float]) -> None:
    """Lines with their names on them; of the two that lie close, the lower is named below."""
    on_all, on_answers = unigram
    side = {True: "bottom", False: "top"}
    for value, name, colour, place in (
        (uniform, "blind guess, ln V", GUESS, "bottom"),
        (on_all, "guess by frequency, all tokens", ALL, side[on_all > on_answers]),
        (on_answers, "guess by frequency, answers", ANSWER, side[on_all <= on_answers]),
    ):
        axes.axhline(value, color=colour, linestyle="--", linewidth=1)
        axes.text(
            0.995,
            value,
            f"{name}: {value:.2f}",
            transform=axes.get_yaxis_transform(),  # x from 0 to 1 across the picture, y in nats
            horizontalalignment="right",
            verticalalignment=place,
            color=colour,
            fontsize="small",
        )
