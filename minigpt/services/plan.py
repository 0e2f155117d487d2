"""`minigpt train --dry-run`: what a training would be and take, before anything is spent."""

import math
from dataclasses import dataclass

from minigpt.errors import DataError
from minigpt.events import Note, Report, ignore
from minigpt.files import is_there
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.model.outline import Part, outline
from minigpt.model.runtime import Runtime
from minigpt.services.prepare import TrainingData, read_training_data, suited_settings
from minigpt.services.train import MEMORY_HINT
from minigpt.settings import Settings
from minigpt.training.loop import Trainer
from minigpt.training.optimizer import moment_numbers
from minigpt.training.trial import Nobody, Trial, try_out

SAVED_PER_S = 4e8  # bytes packed, hashed and written, as measured beside an H200


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """What would be trained.

    Attributes:
        parameters: Size of the model.
        n_layer: Its blocks.
        n_head: Its attention heads in a block.
        n_embd: Its width.
        block_size: Its positions.
        vocab_size: Its tokens.
        dropout: Its dropout.
        train_pairs: Pairs to train on.
        val_pairs: Pairs to validate on.
        left_out: Pairs longer than `max_length`.
        tokens_per_epoch: Targets in an epoch.
        epochs: Passes over the pairs.
        batch_size: Pairs of an optimizer step.
        steps: Optimizer steps in all epochs.
        device: Where it would run.
        dtype: Number format of its arithmetic.
        tokens_per_s: Targets in a second, as some steps for trial went.
        seconds_per_step: Of an optimizer step.
        seconds: Of all steps, validations and saves.
        state_bytes: Memory for weights, gradients and moments.
        memory_bytes: Most memory in use during the trial; 0 where that is not known.
        disk_bytes: Size of best and last checkpoint together.
        model: The model, part by part.
    """

    parameters: int
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    dropout: float
    train_pairs: int
    val_pairs: int
    left_out: int
    tokens_per_epoch: int
    epochs: int
    batch_size: int
    steps: int
    device: str
    dtype: str
    tokens_per_s: float
    seconds_per_step: float
    seconds: float
    state_bytes: int
    memory_bytes: int
    disk_bytes: int
    model: Part


def dry_run(settings: Settings, *, report: Report = ignore) -> DryRunResult:
    """Say what `train` would train and take, by some steps for trial; nothing is written.

    Raises:
        DataError: The data is missing or unusable.
        VocabError: The vocabulary is missing or damaged.
        DeviceError: The device is not there or out of memory.
    """
    runtime = Runtime.resolve(settings.runtime, training=True)
    for part in (settings.data.train, settings.data.val):
        if not is_there(part):
            raise DataError(
                f"{part}: missing, and a dry run builds nothing", hint="build it: minigpt split"
            )
    data = read_training_data(settings, report)
    settings = suited_settings(settings, data, report)
    config = GPTConfig.from_settings(settings.model, vocab_size=data.vocab.size)
    report(Note("training some steps for trial"))
    with runtime.memory_guard(MEMORY_HINT):
        trial = _try_out(settings, config, data, runtime)
    weights = 4 * config.parameters  # bytes, float32
    moments = 4 * moment_numbers(config, settings.train.optimizer)
    train, tokens = settings.train, data.train_set.n_tokens - data.train_set.n_pairs
    steps = train.epochs * math.ceil(data.train_set.n_pairs / train.batch_size)
    training_s = train.epochs * tokens / trial.tokens_per_s
    validations = steps // train.validate_every if train.validate_every else train.epochs
    pause_s = trial.validation_s + (2 * weights + moments) / SAVED_PER_S
    return DryRunResult(
        parameters=config.parameters,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        block_size=config.block_size,
        vocab_size=config.vocab_size,
        dropout=config.dropout,
        train_pairs=data.train_set.n_pairs,
        val_pairs=data.val_set.n_pairs,
        left_out=data.train_set.too_long + data.val_set.too_long,
        tokens_per_epoch=tokens,
        epochs=train.epochs,
        batch_size=train.batch_size,
        steps=steps,
        device=runtime.device_name,
        dtype=runtime.dtype_name,
        tokens_per_s=trial.tokens_per_s,
        seconds_per_step=training_s / steps,
        seconds=training_s + validations * pause_s,
        state_bytes=2 * weights + moments,
        memory_bytes=trial.memory_bytes,
        disk_bytes=2 * weights + moments,
        model=outline(config),
    )


def _try_out(settings: Settings, config: GPTConfig, data: TrainingData, runtime: Runtime) -> Trial:
    trainer = Trainer(
        GPT(config).to(runtime.device),
        data.train_set,
        data.val_set,
        settings.train,
        runtime,
        recorder=Nobody(),
        report=ignore,
    )
    return try_out(trainer)
