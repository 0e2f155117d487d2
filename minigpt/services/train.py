"""`minigpt train`: settings and data become a run directory with a trained model."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from minigpt.errors import CheckpointError, InterruptedRunError
from minigpt.events import Event, Note, Report, StepDone, TrainingStarted, Warned, ignore
from minigpt.model.checkpoint import Checkpoint, load_checkpoint, load_training_state
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.model.location import BEST
from minigpt.model.runtime import Runtime
from minigpt.model.transplant import transplant
from minigpt.services.prepare import (
    TrainingData,
    build_missing,
    read_training_data,
    suited_settings,
)
from minigpt.services.record import RunRecorder
from minigpt.services.resume import resumed_settings
from minigpt.services.run_directory import RunDirectory, machine, versions
from minigpt.services.signals import stop_on_signals
from minigpt.services.train_result import TrainResult, result_of
from minigpt.settings import Settings, TrainSettings
from minigpt.training.loop import Trainer
from minigpt.training.state import TrainState

MEMORY_HINT = "lower --micro-batch-tokens (the result stays the same), or choose a smaller --size"


def train(
    settings: Settings, *, resume: bool = False, force: bool = False, report: Report = ignore
) -> TrainResult:
    """Train a model; build the vocabulary and the split first where they are missing.

    Args:
        settings: `[data]`, `[model]`, `[train]` and `[runtime]` say what is trained and how.
        resume: Continue the run in the run directory, exactly, with the settings it was started
            with; options and environment variables given now win where they can.
        force: Replace the run in the run directory.
        report: Receives events while it works.

    Raises:
        SettingsError: The run would write over its own data or vocabulary.
        DataError: The data is missing or unusable.
        VocabError: The vocabulary is damaged.
        CheckpointError: There is nothing to resume, or it does not match.
        OutputError: The run directory holds a run, is in use or cannot be written.
        DeviceError: The device is not there or out of memory.
        DivergedError: The loss is no longer a number.
        InterruptedRunError: A signal stopped it; what was done is saved.

    Example:
        >>> from minigpt import load_settings, train
        >>> tiny = {"model": {"size": "tiny"}, "train": {"epochs": 1, "run_dir": "another"}}
        >>> result = train(load_settings(tiny))
        >>> result.steps, result.best.name
        (1, 'best.safetensors')
    """
    runtime = Runtime.resolve(settings.runtime, training=True)
    report = report if runtime.is_main else ignore
    run = RunDirectory(settings.train.run_dir)
    run.check_apart_from(_inputs(settings))
    run.check(resume=resume, force=force)
    with runtime.distributed(), runtime.memory_guard(MEMORY_HINT):
        if not runtime.is_main:
            runtime.barrier()  # the main process builds what is missing
            return _train(settings, run, runtime, resume=resume, report=report)
        with run.locked():
            if resume:
                settings = resumed_settings(settings, run.read_settings(), report)
                run.check_apart_from(_inputs(settings))
            build_missing(settings, report)
            if runtime.world_size > 1:  # a large corpus is encoded once, not by all at once
                read_training_data(settings, ignore)
            runtime.barrier()
            return _train(settings, run, runtime, resume=resume, report=report)


def _train(
    settings: Settings, run: RunDirectory, runtime: Runtime, *, resume: bool, report: Report
) -> TrainResult:
    if resume and not runtime.is_main:
        settings = resumed_settings(settings, run.read_settings(), report)
    data = read_training_data(settings, report)
    settings = suited_settings(settings, data, report)
    checkpoint = load_checkpoint(run.last) if resume else None
    model = _model(settings, data, checkpoint, report).to(runtime.device)
    recorder = RunRecorder(run, settings, data, runtime, report)
    with stop_on_signals() as stop:
        trainer = Trainer(
            model,
            data.train_set,
            data.val_set,
            settings.train,
            runtime,
            recorder=recorder,
            report=_recorded(recorder, report),
            should_stop=stop,
        )
        if checkpoint is not None:
            _restore(trainer, checkpoint, data, report)
        if runtime.is_main:
            if not resume:
                run.clear()  # not before the new run has all that it needs
            run.write_settings(settings, _facts(trainer, data))
            run.open_tensorboard(settings.train.tensorboard, step=trainer.state.step)
            run.cut_metrics(trainer.state.step)
        report(_started(trainer))
        try:
            outcome = trainer.fit()
            recorder.draw()
        finally:
            recorder.close()
    if outcome == "stopped":
        raise InterruptedRunError(
            f"stopped after step {trainer.state.step:,} of {trainer.steps:,}; saved {run.last}",
            hint=f"continue with: {resume_command(run.path)}",
            signal_number=stop.signal_number or 15,
        )
    return result_of(run, trainer, outcome)


def _inputs(settings: Settings) -> list[Path]:
    """What a run is made from."""
    data, model = settings.data, settings.train.init_from
    models = [Path(model), Path(model) / BEST] if model else []
    return [data.source, data.train, data.val, data.vocab, *models, *settings.files]


def resume_command(run_dir: Path) -> str:
    """What to type to continue the run in `run_dir`."""
    command = "minigpt train --resume"
    if run_dir != TrainSettings().run_dir:
        command += f" --run-dir {shlex.quote(str(run_dir))}"
    return command


def _started_from(model: GPT, settings: Settings, data: TrainingData, report: Report) -> GPT:
    if settings.train.init_from:
        path = Path(settings.train.init_from)
        known = transplant(load_checkpoint(path), model, data.vocab)
        report(Note(f"starting from {path}, which knows {known:,} of {data.vocab.size:,} tokens"))
    return model


def _model(
    settings: Settings, data: TrainingData, checkpoint: Checkpoint | None, report: Report
) -> GPT:
    if checkpoint is None:
        torch.manual_seed(settings.train.seed)
        config = GPTConfig.from_settings(settings.model, vocab_size=data.vocab.size)
        return _started_from(GPT(config), settings, data, report)
    if checkpoint.vocab != data.vocab:
        raise CheckpointError(
            f"{checkpoint.path}: was trained with the vocabulary {checkpoint.vocab.sha256[:12]}, "
            f"{settings.data.vocab} is {data.vocab.sha256[:12]}",
            hint="restore that vocabulary file, or start anew with --force",
        )
    config = checkpoint.config.model_copy(update={"dropout": settings.model.dropout})
    return replace(checkpoint, config=config).build().requires_grad_()


def _restore(trainer: Trainer, checkpoint: Checkpoint, data: TrainingData, report: Report) -> None:
    if checkpoint.info.data_sha256 != data.train_set.sha256:
        raise CheckpointError(
            f"{checkpoint.path}: the training data has changed since the run was started",
            hint="restore the data to resume, or start anew with --force",
        )
    tensors, values = load_training_state(checkpoint.path)
    try:
        trainer.restore(tensors, TrainState.from_json(values["state"]))
        then_machine = dict(values.get("machine", {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its training state does not fit: {error}",
            hint="start anew with --force",
        ) from error
    now = machine(trainer.runtime)
    for name, then in then_machine.items():
        if now.get(name) != then:
            report(
                Warned(
                    f"the run was started with {name} {then}, now it is {now.get(name)}: "
                    "it continues well, but not bit for bit"
                )
            )
    report(Note(f"resuming after step {trainer.state.step:,} of {trainer.steps:,}"))


def _recorded(recorder: RunRecorder, report: Report) -> Callable[[Event], None]:
    def both(event: Event) -> None:
        if isinstance(event, StepDone):
            recorder.step_done(event)
        report(event)

    return both


def _facts(trainer: Trainer, data: TrainingData) -> dict[str, Any]:
    return {
        "versions": versions(),
        "machine": machine(trainer.runtime),
        "model": trainer.model.config.model_dump(),
        "sha256": {
            "train": data.train_set.sha256,
            "val": data.val_set.sha256,
            "vocab": data.vocab.sha256,
        },
    }


def _started(trainer: Trainer) -> TrainingStarted:
    return TrainingStarted(
        parameters=trainer.model.config.parameters,
        device=trainer.runtime.device_name,
        dtype=trainer.runtime.dtype_name,
        train_pairs=trainer.train_set.n_pairs,
        val_pairs=trainer.val_set.n_pairs,
        tokens_per_epoch=trainer.train_set.n_tokens - trainer.train_set.n_pairs,
        steps=trainer.steps,
        epochs=trainer.settings.epochs,
        first_step=trainer.state.step,
    )
