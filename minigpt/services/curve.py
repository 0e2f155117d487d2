"""The loss curve of a run, as a picture."""

import importlib.util
import math

from minigpt.files import atomic_path
from minigpt.services.run_directory import CURVE, RunDirectory


def draw_curve(run: RunDirectory, *, vocab_size: int) -> bool:
    """Draw training and validation loss over the steps to loss.png.

    Args:
        run: Its metrics are drawn.
        vocab_size: For the line of a uniform guess, ln V.

    Returns:
        Whether there was something to draw, and matplotlib to draw it.
    """
    validations = [row for row in run.read_metrics() if row["kind"] == "validation"]
    if not validations or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    steps = [row["step"] for row in run.read_metrics() if row["kind"] == "step"]
    losses = [row["loss"] for row in run.read_metrics() if row["kind"] == "step"]
    axes.plot(steps, losses, color="#c6dbef", linewidth=1, label="a single step")
    for name, label, colour in (
        ("train_loss", "train (running mean of the epoch, with dropout)", "#3182bd"),
        ("val_loss", "validation, all tokens", "#e6550d"),
        ("val_loss_answer", "validation, answers", "#31a354"),
    ):
        values = [row[name] for row in validations]
        axes.plot([row["step"] for row in validations], values, "o-", color=colour, label=label)
    axes.axhline(math.log(vocab_size), color="grey", linestyle="--", label="uniform guess, ln V")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss, nats per token")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    with atomic_path(run.path / CURVE) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
