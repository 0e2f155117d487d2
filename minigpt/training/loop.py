"""The training loop, in reading order."""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.errors import DivergedError
from minigpt.events import Note, Report, StepDone, Warned
from minigpt.model.gpt import GPT
from minigpt.model.peak import FLOPS_PER_PARAMETER, matmul_peak
from minigpt.model.runtime import Runtime, runs_kernels
from minigpt.settings import TrainSettings
from minigpt.training.base_optimizer import Optimizer
from minigpt.training.batches import Rows, counted_targets
from minigpt.training.clock import Clock
from minigpt.training.optimizer import (
    build_optimizers,
    learning_rate_factor,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from minigpt.training.state import TrainState
from minigpt.training.step import build_step
from minigpt.training.validation import Validation, validate

LEFT_OUT_IN_A_ROW = 3  # steps that are no numbers end the training
CHECK_STOP_EVERY = 8  # steps, when several processes have to agree on it
FIRST_LOSS_TOLERANCE = 0.5  # nats around ln V


class Recorder(Protocol):
    """Who keeps what training brings; the loop itself writes no file."""

    def validated(self, trainer: "Trainer", validation: Validation, *, is_best: bool) -> None:
        """A validation is done; `trainer.state` says where."""

    def save(self, trainer: "Trainer") -> None:
        """Keep everything that continuing from here needs."""


class Trainer:
    """A model on its way: `fit` trains until the last epoch, patience or `should_stop` ends it."""

    def __init__(
        self,
        model: GPT,
        train_set: TokenizedDataset,
        val_set: TokenizedDataset,
        settings: TrainSettings,
        runtime: Runtime,
        *,
        recorder: Recorder,
        report: Report,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model = model
        self.train_set = train_set
        self.val_set = val_set
        self.settings = settings
        self.runtime = runtime
        self.recorder = recorder
        self.report = report
        self.should_stop = should_stop
        self.optimizers: list[Optimizer] = build_optimizers(model, settings)
        self.step = build_step(model, train_set, self.optimizers, settings, runtime, report)
        self.state = TrainState()
        self.batches_per_epoch = math.ceil(train_set.n_pairs / settings.batch_size)
        self.steps = settings.epochs * self.batches_per_epoch
        self._pending: list[Tensor] = []  # loss and gradient norm of steps not yet read back
        self._pending_tokens: list[int] = []
        self._newest_loss = math.nan
        self._clock = Clock()
        self._peak = 0.0  # floating point operations a second

    def fit(self) -> str:
        """Train.

        Returns:
            Why it ended: "finished", "early" (patience) or "stopped" (`should_stop`; saved).

        Raises:
            DivergedError: The loss or gradient is no longer a number; what was saved before is
                good.
        """
        self.compile()
        self._peak = matmul_peak(self.runtime)
        self._clock.restart()
        if self._validation_is_due():  # stopped between the step and its validation
            self._validate()
        if self._patience_is_over():
            return "early"
        while self.state.epoch <= self.settings.epochs:
            for rows in self._remaining_batches():
                self.train_step(rows)
                self._report_step(rows)
                if self._stops_now():
                    self._save()
                    return "stopped"
                if self._validation_is_due():
                    self._validate()
                    if self._patience_is_over():
                        return "early"
                elif self._clock.save_is_due(self.settings.save_every_s):
                    self._save()
            self._next_epoch()
        return "finished"

    def tensors(self) -> dict[str, Tensor]:
        """The optimizers' moments, to be saved beside the weights."""
        return optimizer_tensors(self.optimizers)

    def restore(self, tensors: Mapping[str, Tensor], state: TrainState) -> None:
        """Continue from what `tensors` and `state` were when they were saved.

        Raises:
            ValueError: They belong to another model or other optimizers.
        """
        load_optimizer_tensors(self.optimizers, tensors)
        self.state = state

    def compile(self) -> None:
        """Compile if that pays, and say what the first steps wait for."""
        per_epoch = self.train_set.n_tokens - self.train_set.n_pairs
        left = per_epoch * (self.steps - self.state.step) // self.batches_per_epoch
        if self.runtime.compiles(left):
            self.step.compile()
            self.report(
                Note("compiling the model: some seconds, or half a minute the first time of all")
            )
        elif self.runtime.compile == "auto" and runs_kernels(self.runtime.device):
            self.report(
                Note("a run this short is not worth compiling the model; the first step waits less")
            )

    def _remaining_batches(self) -> list[Rows]:
        return self.step.batches(self.state.epoch)[self.state.batch :]

    def _rate_factor(self) -> float:
        return learning_rate_factor(self.state.step, steps=self.steps, settings=self.settings)

    def _next_epoch(self) -> None:
        self.state.epoch += 1
        self.state.batch = 0
        self.state.epoch_nats = 0.0
        self.state.epoch_tokens = 0

    def train_step(self, rows: Rows) -> None:
        """One optimizer step: gradients of the summed loss over the batch's counted targets."""
        state, settings = self.state, self.settings
        state.step += 1
        state.batch += 1
        # Dropout is a pure function of seed, step and rank: a resumed run needs no generator state.
        entropy = np.random.SeedSequence([settings.seed, state.step, self.runtime.rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        counted = counted_targets(self.train_set, rows, loss_on=settings.loss_on)
        self.model.train()
        set_learning_rate(self.optimizers, self._rate_factor())
        self._pending.append(self.step.take(rows))
        self._pending_tokens.append(counted)
        if self.runtime.device.type == "cpu":
            self._read_losses()

    def _read_losses(self) -> None:
        """Bring the losses of the latest steps to the CPU, where they are checked and summed."""
        if not self._pending:
            return
        first = self.state.step - len(self._pending) + 1
        losses_and_norms = torch.stack(self._pending).tolist()
        for step, (nats, norm) in enumerate(losses_and_norms, start=first):
            tokens = self._pending_tokens[step - first]
            if not math.isfinite(nats + norm):
                self._leave_out(step, "gradient" if math.isfinite(nats) else "loss")
                continue
            self.state.left_out = 0
            self.state.epoch_nats += nats
            self.state.epoch_tokens += tokens
            self.state.tokens += tokens
            self._newest_loss = nats / max(1, tokens)
            if step == 1 and not self.settings.init_from:
                self._check_first_loss(self._newest_loss)
        self._pending.clear()
        self._pending_tokens.clear()

    def _leave_out(self, step: int, what: str) -> None:
        """Go on after a step that was no number, unless it is one of many.

        Raises:
            DivergedError: It is the third in a row.
        """
        self.state.left_out += 1
        if self.state.left_out == LEFT_OUT_IN_A_ROW:
            raise self._diverged(step, what)
        self.report(Warned(f"step {step}: the {what} is not a number: the step is left out"))

    def _diverged(self, step: int, what: str) -> DivergedError:
        rate = self.settings.learning_rate * self._rate_factor()
        again = ", the third time in a row" if self.state.left_out == LEFT_OUT_IN_A_ROW else ""
        good = "; the checkpoints that are there are good" if self.state.best_step else ""
        return DivergedError(
            f"step {step}: the {what} is not a number{again} (learning rate {rate:.2g})",
            hint=f"train again with --learning-rate {self.settings.learning_rate / 3:.1g}{good}",
        )

    def _check_first_loss(self, loss: float) -> None:
        """Fresh weights know nothing: their loss is that of a uniform guess, ln V."""
        uniform = math.log(self.model.config.vocab_size)
        if abs(loss - uniform) > FIRST_LOSS_TOLERANCE:
            self.report(
                Warned(
                    f"the first loss is {loss:.2f}, a fresh model's should be near ln V = "
                    f"{uniform:.2f}",
                    hint="look at the data with `minigpt stats --show 3`",
                )
            )

    def _report_step(self, rows: Rows) -> None:
        self._clock.count(int(self.train_set.lengths[rows].sum()) - len(rows))
        if not self._clock.report_is_due():
            return
        self._read_losses()
        pace = self._clock.seconds_per_step()
        rate = self._clock.tokens_per_s()
        peak = self._peak * self.runtime.world_size
        self.report(
            StepDone(
                epoch=self.state.epoch,
                epochs=self.settings.epochs,
                step=self.state.step,
                steps=self.steps,
                loss=self._newest_loss,
                learning_rate=self.settings.learning_rate * self._rate_factor(),
                tokens_per_s=rate,
                padding=self.step.padding(rows),
                utilization=FLOPS_PER_PARAMETER * self.model.config.parameters * rate / peak,
                seconds_left=None if pace is None else (self.steps - self.state.step) * pace,
            )
        )

    def _stops_now(self) -> bool:
        if self.runtime.world_size == 1:
            return self.should_stop()
        if self.state.step % CHECK_STOP_EVERY:
            return False
        return self.runtime.any_rank(self.should_stop())

    def _validation_is_due(self) -> bool:
        if self.state.step == self.state.validated_step:
            return False
        if self.settings.validate_every and self.state.step % self.settings.validate_every == 0:
            return True
        return self.state.batch == self.batches_per_epoch

    def _validate(self) -> None:
        self._read_losses()
        self.state.seconds += self._clock.pause()
        self.state.validated_step = self.state.step
        with self.runtime.uncompiled():
            validation = validate(
                self.model,
                self.val_set,
                self.runtime,
                micro_batch_tokens=self.step.micro_batch_tokens,
                report=self.report,
            )
        loss = validation.on(self.settings.loss_on).loss
        if not math.isfinite(loss):
            raise self._diverged(self.state.step, "validation loss")
        is_best = loss < self.state.best_loss
        if is_best:
            self.state.best_loss, self.state.best_loss_answer = loss, validation.answer.loss
            self.state.best_step, self.state.best_epoch = self.state.step, self.state.epoch
            self.state.bad_validations = 0
        else:
            self.state.bad_validations += 1
        self.recorder.validated(self, validation, is_best=is_best)
        self.recorder.save(self)
        self._clock.restart()

    def _patience_is_over(self) -> bool:
        return 0 < self.settings.patience <= self.state.bad_validations

    def _save(self) -> None:
        self._read_losses()
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise self._diverged(self.state.step, "update")
        self.state.seconds += self._clock.pause()
        self.recorder.save(self)
        self._clock.restart()
