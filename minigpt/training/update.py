"""What follows the gradients of a step: they are clipped, and the optimizers use them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.events import Report, Warned
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime, is_out_of_memory
from minigpt.settings import TrainSettings
from minigpt.training.base_optimizer import Optimizer
from minigpt.training.batches import Rows

MICRO_BATCH_TOKENS = {"cpu": 2_048, "mps": 8_192, "cuda": 65_536}


@dataclass(eq=False)
class Update:
    """The model and its optimizers: what both kinds of step have."""

    choose_batches: ClassVar[Callable[..., list[Rows]]]

    model: GPT
    dataset: TokenizedDataset
    optimizers: list[Optimizer]
    settings: TrainSettings
    runtime: Runtime
    report: Report

    def __post_init__(self) -> None:
        default = MICRO_BATCH_TOKENS[self.runtime.device.type]
        self.micro_batch_tokens = self.settings.micro_batch_tokens or default

    def batches(self, epoch: int) -> list[Rows]:
        """Every pair once, as this kind of step likes them together."""
        return type(self).choose_batches(
            self.dataset.lengths,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            epoch=epoch,
        )

    def halve(self, error: Exception, *, tokens: int, least: int = 1) -> None:
        """After running out of memory: forward passes of half of `tokens`, gradients anew.

        Raises:
            Exception: `error`, where it is another one or no pass can be smaller.
        """
        alone = self.runtime.world_size == 1
        smaller = tokens // 2
        least = max(least, int(self.dataset.lengths.max()))
        if not (is_out_of_memory(error) and alone and smaller >= least):
            raise error
        self.micro_batch_tokens = smaller
        self.model.zero_grad()
        self.runtime.free_memory()
        self.report(
            Warned(
                f"out of memory: forward passes of {smaller:,} tokens from now on, summed up to "
                "the same batches",
                hint=f"start with --micro-batch-tokens {smaller} next time",
            )
        )

    def update(self, nats: Tensor) -> Tensor:
        """Clip the gradients, let the optimizers use them, and return loss and norm.

        A step whose loss or gradient is no number leaves weights and moments as they were; on a
        CUDA GPU without anybody waiting for the numbers.
        """
        self._sum_over_ranks(nats)
        limit = self.settings.grad_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        leave_out = False
        if self.runtime.device.type == "cuda":
            found_inf = 1 - (nats + norm).isfinite().float()
            for optimizer in self.optimizers:
                optimizer.found_inf = found_inf
        else:
            leave_out = not math.isfinite(float(nats) + float(norm))
        for optimizer in self.optimizers:
            if not leave_out:
                optimizer.step()
            optimizer.zero_grad()
        return torch.stack([nats, norm])

    def _sum_over_ranks(self, nats: Tensor) -> None:
        if self.runtime.world_size == 1:
            return
        sums = [nats]
        for parameter in self.model.parameters():
            if parameter.grad is None:  # a small last batch leaves nothing for this process
                parameter.grad = torch.zeros_like(parameter)
            sums.append(parameter.grad)
        self.runtime.sum_over_ranks(*sums)
