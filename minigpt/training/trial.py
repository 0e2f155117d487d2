"""A few steps for trial: how long training will take on this device."""

import time
from dataclasses import dataclass

import numpy as np

from minigpt.training.batches import Rows
from minigpt.training.loop import Trainer
from minigpt.training.packed_step import STEPS_BEFORE_RECORDING
from minigpt.training.validation import Validation, validate

ENOUGH_S = 2.0
FEWEST_STEPS, MOST_STEPS = 4, 256
VALIDATION_PAIRS = 1_024


class Nobody:
    """Keeps nothing of what training brings."""

    def validated(self, trainer: Trainer, validation: Validation, *, is_best: bool) -> None:
        """Forget it."""

    def save(self, trainer: Trainer) -> None:
        """Save nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What some steps took.

    Attributes:
        tokens_per_s: Targets learnt from in a second.
        validation_s: Seconds of one validation over every pair.
        memory_bytes: Most memory that was in use; 0 where that is not known.
    """

    tokens_per_s: float
    validation_s: float
    memory_bytes: int


def try_out(trainer: Trainer) -> Trial:
    """Train some steps, which spoils the model for anything else, and validate a part."""
    batches = _spread(trainer)
    trainer.compile()
    for rows in batches[: STEPS_BEFORE_RECORDING + 1]:
        _step(trainer, rows)
    tokens_per_s = _rate(trainer, batches)
    return Trial(tokens_per_s, _validation(trainer), trainer.runtime.peak_memory())


def _spread(trainer: Trainer) -> list[Rows]:
    """Batches of an epoch, the largest first, then some of every size."""
    batches = trainer.step.batches(1)
    lengths = trainer.train_set.lengths
    batches.sort(key=lambda rows: -int(lengths[rows].max()) * len(rows))
    rest = len(batches) - 1
    golden = np.arange(1, rest + 1) * 0.618034 % 1  # any start of it is spread evenly
    order = np.argsort(np.argsort(golden))
    return [batches[0], *(batches[1 + i] for i in order[:MOST_STEPS].tolist())]


def _step(trainer: Trainer, rows: Rows) -> None:
    trainer.state.step %= trainer.steps  # the schedule of the learning rate ends there
    trainer.train_step(rows)


def _rate(trainer: Trainer, batches: list[Rows]) -> float:
    runtime, lengths = trainer.runtime, trainer.train_set.lengths
    runtime.synchronize()
    started, tokens, steps = time.perf_counter(), 0, 0
    while steps < FEWEST_STEPS or (steps < MOST_STEPS and time.perf_counter() - started < ENOUGH_S):
        rows = batches[(steps + 1) % len(batches)]
        _step(trainer, rows)
        tokens += int(lengths[rows].sum()) - len(rows)
        steps += 1
        if steps % 16 == 0:
            runtime.synchronize()
    runtime.synchronize()
    return tokens / (time.perf_counter() - started)


def _validation(trainer: Trainer) -> float:
    whole = trainer.val_set
    part = whole.first(VALIDATION_PAIRS)
    places = trainer.step.micro_batch_tokens
    with trainer.runtime.uncompiled():
        started = time.perf_counter()
        validate(trainer.model, part, trainer.runtime, micro_batch_tokens=places)
    return (time.perf_counter() - started) * whole.n_tokens / part.n_tokens
