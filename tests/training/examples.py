"""Small trainings, alone or with several processes."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.events import Event
from minigpt.model.checkpoint import CheckpointInfo, save_checkpoint
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.settings import RuntimeSettings, TrainSettings
from minigpt.training.loop import Trainer
from minigpt.training.validation import Validation
from tests.tiny import snapshot, tiny_model, tiny_set, tiny_vocab

CPU = Runtime(torch.device("cpu"))
BATCHES = 4  # an epoch: 20 pairs in batches of 6


def train_settings(**changes: Any) -> TrainSettings:
    """A short training with AdamW; 12 steps in 3 epochs."""
    base = {"epochs": 3, "batch_size": 6, "warmup_steps": 2, "max_length": 32, "save_every_s": 0}
    rates: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 0.001, "schedule": "cosine"}
    rates |= {"muon_learning_rate": 0.01, "weight_decay": 0.02}
    return TrainSettings.model_validate(base | rates | changes)


@dataclass
class Kept:
    """Keeps what a training brings: events, validations, and where it saved."""

    path: Path | None = None
    events: list[Event] = field(default_factory=list)
    validations: list[tuple[int, float, bool]] = field(default_factory=list)
    saves: list[int] = field(default_factory=list)

    def report(self, event: Event) -> None:
        self.events.append(event)

    def validated(self, trainer: Trainer, validation: Validation, *, is_best: bool) -> None:
        loss = validation.on(trainer.settings.loss_on).loss
        self.validations.append((trainer.state.step, loss, is_best))

    def save(self, trainer: Trainer) -> None:
        self.saves.append(trainer.state.step)
        if self.path is not None:
            state = trainer.state
            save_checkpoint(
                self.path,
                trainer.model,
                tiny_vocab(),
                CheckpointInfo(step=state.step, epoch=state.epoch, max_length=32),
                training=trainer.tensors(),
                state=state.to_json(),
            )


def trainer_of(
    settings: TrainSettings,
    *,
    model: GPT | None = None,
    runtime: Runtime = CPU,
    kept: Kept | None = None,
    stop_at: int = 0,
    val_set: TokenizedDataset | None = None,
) -> Trainer:
    """A trainer of a tiny model on the 20 pairs; it stops after step `stop_at`."""
    kept = kept or Kept()
    trainer: list[Trainer] = []
    should_stop: Callable[[], bool] = lambda: trainer[0].state.step == stop_at  # noqa: E731 - short
    trainer.append(
        Trainer(
            model or tiny_model(),
            tiny_set(),
            val_set or tiny_set(),
            settings,
            runtime,
            recorder=kept,
            report=kept.report,
            should_stop=should_stop,
        )
    )
    return trainer[0]


def state_without_time(trainer: Trainer) -> dict[str, Any]:
    values = dataclasses.asdict(trainer.state)
    del values["seconds"]
    return values


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """Weights and moments."""
    return snapshot(trainer.model) | {k: t.clone() for k, t in trainer.tensors().items()}


def first_gradients(trainer: Trainer) -> Mapping[str, Tensor]:
    """AdamW's first moments after one step: the gradients times 1 - beta."""
    return {name: t for name, t in trainer.tensors().items() if name.endswith("exp_avg")}


def train_as_a_rank(path: Path, device: str) -> None:
    """What each process of a `torchrun` does; writes its weights and validation losses."""
    runtime = Runtime.resolve(
        RuntimeSettings(device=device, dtype="float32", compile="off"), training=True
    )
    with runtime.distributed():
        kept = Kept(path / f"{runtime.rank}.safetensors")
        model = tiny_model().to(runtime.device)
        trainer_of(train_settings(batch_size=19), model=model, runtime=runtime, kept=kept).fit()
    losses = [loss for _, loss, _ in kept.validations]
    (path / f"{runtime.rank}.json").write_text(json.dumps(losses))
