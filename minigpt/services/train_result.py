"""What a training came to, as a whole and by epoch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minigpt.services.run_directory import RunDirectory
from minigpt.training.loop import Trainer


@dataclass(frozen=True, slots=True)
class EpochDone:
    """What was learnt by the end of an epoch.

    Attributes:
        epoch: From 1.
        train_loss: Nats per token that `loss_on` counts, mean over the epoch.
        val_loss_answer: Nats per token of the validation pairs' answers.
        perplexity: Its exponential: between how many tokens the model wavers.
        accuracy: Share of the answers' tokens that were the likeliest.
        exact_match: Share of 100 validation questions that were answered word for word; None
            where no sample answers are shown.
    """

    epoch: int
    train_loss: float
    val_loss_answer: float
    perplexity: float
    accuracy: float
    exact_match: float | None


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run came to.

    Attributes:
        run_dir: The run directory.
        best: The checkpoint with the lowest validation loss.
        last: The checkpoint to resume from.
        stopped: "finished", or "early" when patience ended it.
        best_val_loss: Lowest validation loss, nats per token that `loss_on` counts.
        best_val_loss_answer: The loss on answers at that validation.
        best_epoch: Epoch of the best validation.
        best_step: Step of the best validation.
        epochs: Epochs trained.
        steps: Optimizer steps taken.
        tokens: Targets learnt from, over all epochs.
        seconds: Time spent in training, without validation and saving.
        parameters: Size of the model.
        by_epoch: The last validation of each epoch.
    """

    run_dir: Path
    best: Path
    last: Path
    stopped: str
    best_val_loss: float
    best_val_loss_answer: float
    best_epoch: int
    best_step: int
    epochs: int
    steps: int
    tokens: int
    seconds: float
    parameters: int
    by_epoch: tuple[EpochDone, ...]


def result_of(run: RunDirectory, trainer: Trainer, outcome: str) -> TrainResult:
    """What the run of `trainer` in `run` came to."""
    state = trainer.state
    return TrainResult(
        run_dir=run.path,
        best=run.best,
        last=run.last,
        stopped=outcome,
        best_val_loss=state.best_loss,
        best_val_loss_answer=state.best_loss_answer,
        best_epoch=state.best_epoch,
        best_step=state.best_step,
        epochs=min(state.epoch, trainer.settings.epochs),
        steps=state.step,
        tokens=state.tokens,
        seconds=state.seconds,
        parameters=trainer.model.config.parameters,
        by_epoch=tuple(_by_epoch(run)),
    )


def _by_epoch(run: RunDirectory) -> Iterator[EpochDone]:
    rows = {row["epoch"]: row for row in run.read_metrics() if row["kind"] == "validation"}
    for epoch, row in rows.items():
        yield EpochDone(
            epoch=epoch,
            train_loss=row["train_loss"],
            val_loss_answer=row["val_loss_answer"],
            perplexity=_perplexity(row["val_loss_answer"]),
            accuracy=row["val_accuracy_answer"],
            exact_match=row.get("exact_match"),
        )


def _perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
