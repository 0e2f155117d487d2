"""One optimizer step, with its pairs side by side in buckets or packed end to end."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.model.gpt import GPT
from minigpt.model.masks import document_mask
from minigpt.model.runtime import Runtime
from minigpt.settings import TrainSettings
from minigpt.training.batches import (
    Rows,
    collate,
    counted_targets,
    epoch_batches,
    micro_batches,
    padding_share,
)
from minigpt.training.loss import token_loss
from minigpt.training.packing import PackedCorpus, packed_shape, stratified_batches

MICRO_BATCH_TOKENS = {"cpu": 2_048, "mps": 8_192, "cuda": 65_536}
SMALLEST_HEAD = 16  # channels; FlexAttention has no smaller
STEPS_BEFORE_RECORDING = 3  # in which everything that is compiled or allocated once is


class Step(Protocol):
    """How batches are chosen, and what one of them does to the model."""

    micro_batch_tokens: int
    leaves_out: bool  # whether a step that is no number leaves the weights as they were

    def batches(self, epoch: int) -> list[Rows]:
        """Indices of the pairs of each step of the epoch."""

    def take(self, rows: Rows) -> Tensor:
        """Gradients of the mean loss over the batch's counted targets, and the update.

        Returns:
            [2]: the summed loss in nats and the norm of the gradient before it was clipped.
        """

    def padding(self, rows: Rows) -> float:
        """Share of the places of this batch that are padding."""

    def compile(self) -> None:
        """Compile what runs in every step."""


def build_step(
    model: GPT,
    dataset: TokenizedDataset,
    optimizers: list[Optimizer],
    settings: TrainSettings,
    runtime: Runtime,
) -> Step:
    """The kind of step that `batching` names; `auto` packs on a CUDA GPU."""
    head = model.config.n_embd // model.config.n_head
    packs = runtime.device.type == "cuda" and head >= SMALLEST_HEAD
    packs = settings.batching == "packed" or (settings.batching == "auto" and packs)
    kind = PackedStep if packs else BucketedStep
    return kind(model, dataset, optimizers, settings, runtime)


class _Update:
    """The model and its optimizers: what both kinds of step have."""

    def __init__(
        self,
        model: GPT,
        dataset: TokenizedDataset,
        optimizers: list[Optimizer],
        settings: TrainSettings,
        runtime: Runtime,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.optimizers = optimizers
        self.settings = settings
        self.runtime = runtime
        default = MICRO_BATCH_TOKENS[runtime.device.type]
        self.micro_batch_tokens = settings.micro_batch_tokens or default
        self.leaves_out = runtime.device.type == "cpu"

    def update(self, nats: Tensor) -> Tensor:
        """Clip the gradients, let the optimizers use them, and return loss and norm.

        On a CPU, which has both at once, a step whose loss or gradient is no number is left out.
        """
        self._sum_over_ranks(nats)
        limit = self.settings.grad_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        leave_out = self.leaves_out and not math.isfinite(float(nats) + float(norm))
        for optimizer in self.optimizers:
            if not leave_out:
                optimizer.step()
            optimizer.zero_grad()
        return torch.stack([nats, norm])

    def _sum_over_ranks(self, nats: Tensor) -> None:
        if self.runtime.world_size == 1:
            return
        for parameter in self.model.parameters():
            if parameter.grad is None:  # a small last batch leaves nothing for this process
                parameter.grad = torch.zeros_like(parameter)
            self.runtime.sum_over_ranks(parameter.grad)
        self.runtime.sum_over_ranks(nats)


class BucketedStep(_Update):
    """Pairs of like length side by side, as many at a time as suit the device."""

    def batches(self, epoch: int) -> list[Rows]:
        """Every pair once, those of like length together."""
        return epoch_batches(
            self.dataset.lengths,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            epoch=epoch,
        )

    def take(self, rows: Rows) -> Tensor:
        """One forward and backward pass for each part of the batch, and the update."""
        counted = counted_targets(self.dataset, rows, loss_on=self.settings.loss_on)
        nats = torch.zeros((), device=self.runtime.device)
        for part in self._parts(rows):
            nats += self._backward(part, counted)
        return self.update(nats)

    def padding(self, rows: Rows) -> float:
        """Share of the places of this batch that are padding."""
        return padding_share(self.dataset.lengths, self._parts(rows))

    def compile(self) -> None:
        """Compile the blocks, for rows of any length."""
        self.runtime.compile_blocks(self.model.transformer.blocks, dynamic=True)

    def _parts(self, rows: Rows) -> list[Rows]:
        """This process's share of the batch, cut into forward passes."""
        mine = rows[self.runtime.rank :: self.runtime.world_size]
        return micro_batches(mine, self.dataset.lengths, tokens=self.micro_batch_tokens)

    def _backward(self, rows: Rows, counted: int) -> Tensor:
        batch = collate(self.dataset, rows, loss_on=self.settings.loss_on)
        batch = batch.to(self.runtime.device)
        with self.runtime.autocast():
            hidden = self.model.hidden_states(batch.input_ids).flatten(0, 1)
            logits = self.model.lm_head(hidden[batch.counted])  # only where a target counts
        nats, _ = token_loss(logits, batch.targets.flatten()[batch.counted])
        torch.autograd.backward(nats / max(1, counted))
        return nats.detach()


class PackedStep(_Update):
    """Pairs end to end; one process alone on a CUDA GPU records the whole step and repeats it."""

    def __init__(
        self,
        model: GPT,
        dataset: TokenizedDataset,
        optimizers: list[Optimizer],
        settings: TrainSettings,
        runtime: Runtime,
    ) -> None:
        super().__init__(model, dataset, optimizers, settings, runtime)
        device = runtime.device
        shape = packed_shape(
            dataset.lengths,
            batch_size=settings.batch_size,
            micro_batch_tokens=self.micro_batch_tokens,
            processes=runtime.world_size,
        )
        self._mine = slice(runtime.rank, None, runtime.world_size)
        self.shape = shape
        self._corpus = PackedCorpus(dataset, shape, device, loss_on=settings.loss_on)
        rows = shape.rows // runtime.world_size
        self._pairs = torch.zeros(rows, shape.pairs, dtype=torch.int64, device=device)
        self._counted = torch.ones((), device=device)
        self._loss = packed_nats
        self._run = self._whole_step
        self._records = device.type == "cuda" and runtime.world_size == 1
        self._taken = 0

    def batches(self, epoch: int) -> list[Rows]:
        """Every pair once, each batch of the same mixture of lengths."""
        return stratified_batches(
            self.dataset.lengths,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            epoch=epoch,
        )

    def take(self, rows: Rows) -> Tensor:
        """Give the device the numbers of the pairs; all else it has."""
        pairs = torch.from_numpy(self._corpus.arranged(rows)[self._mine])
        if self.runtime.device.type == "cuda":
            pairs = pairs.pin_memory()
        self._pairs.copy_(pairs, non_blocking=True)
        counted = counted_targets(self.dataset, rows, loss_on=self.settings.loss_on)
        self._counted.fill_(max(1, counted))
        if self._records and self._taken == STEPS_BEFORE_RECORDING:
            self._run = self.runtime.graphed(self._whole_step)
        self._taken += 1
        return self._run().clone()

    def padding(self, rows: Rows) -> float:
        """Share of the places of this batch that are padding."""
        places = self.shape.rows * self.shape.tokens
        return 1 - (int(self.dataset.lengths[rows].sum()) - len(rows)) / places

    def compile(self) -> None:
        """Compile the blocks and the loss, for this one shape."""
        self.runtime.compile_blocks(self.model.transformer.blocks, dynamic=False)
        self._loss = torch.compile(packed_nats, dynamic=False)

    def _whole_step(self) -> Tensor:
        batch = self._corpus.gather(self._pairs)
        nats = torch.zeros((), device=self.runtime.device)
        for row in range(len(self._pairs)):
            with self.runtime.autocast():
                hidden = self.model.hidden_states(
                    batch.input_ids[row : row + 1],
                    positions=batch.positions[row : row + 1],
                    mask=document_mask(batch.starts[row : row + 1]),
                )
                loss = self._loss(self.model, hidden[0], batch.targets[row])
            torch.autograd.backward(loss / self._counted)
            nats += loss.detach()
        return self.update(nats)


def packed_nats(model: GPT, hidden: Tensor, targets: Tensor) -> Tensor:
    """The summed loss of [N, C] hidden states."""
    nats, _ = token_loss(model.padded_logits(hidden), targets)
    return nats
