"""One optimizer step: with its pairs packed end to end, or side by side in buckets."""

from typing import Protocol

import torch
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.errors import DeviceError
from minigpt.events import Report
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime, runs_kernels
from minigpt.settings import TrainSettings
from minigpt.training.base_optimizer import Optimizer
from minigpt.training.batches import (
    Rows,
    collate,
    counted_targets,
    epoch_batches,
    micro_batches,
    padding_share,
)
from minigpt.training.loss import token_loss
from minigpt.training.packed_step import PackedStep
from minigpt.training.update import Update

MOST_FOR_CORPUS = 0.25  # of the GPU's memory


class Step(Protocol):
    """How batches are chosen, and what one of them does to the model."""

    micro_batch_tokens: int

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
    report: Report,
) -> Step:
    """The kind of step that `batching` names; `auto` packs on a CUDA GPU that holds the corpus.

    Raises:
        DeviceError: Pairs shall be packed on a GPU that runs no kernels of ours.
    """
    is_gpu = runtime.device.type == "cuda"
    if is_gpu and settings.batching == "packed" and not runs_kernels(runtime.device):
        raise DeviceError(
            f"{runtime.device}: packed pairs need Triton there, and compute capability 8.0 or more",
            hint="use --batching bucketed",
        )
    packs = runs_kernels(runtime.device) and has_room(runtime, dataset)
    packs = settings.batching == "packed" or (settings.batching == "auto" and packs)
    kind = PackedStep if packs else BucketedStep
    return kind(model, dataset, optimizers, settings, runtime, report)


def has_room(runtime: Runtime, dataset: TokenizedDataset) -> bool:
    """Whether the corpus takes so little of the GPU that it can lie there while one trains."""
    needed = 4 * dataset.n_tokens + 24 * dataset.n_pairs  # bytes
    return needed <= MOST_FOR_CORPUS * runtime.gpu_bytes()


class BucketedStep(Update):
    """Pairs of like length side by side, as many at a time as suit the device."""

    choose_batches = staticmethod(epoch_batches)

    def take(self, rows: Rows) -> Tensor:
        """One forward and backward pass for each part of the batch, and the update."""
        while True:
            try:
                nats = self._gradients(rows)
                break
            except (RuntimeError, MemoryError) as error:
                most = max(len(p) * int(self.dataset.lengths[p].max()) for p in self._parts(rows))
                self.halve(error, tokens=min(most, self.micro_batch_tokens))
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

    def _gradients(self, rows: Rows) -> Tensor:
        counted = counted_targets(self.dataset, rows, loss_on=self.settings.loss_on)
        nats = torch.zeros((), device=self.runtime.device)
        with self.runtime.autocast():  # around all parts: they share the copies of the weights
            for part in self._parts(rows):
                nats += self._backward(part, counted)
        return nats

    def _backward(self, rows: Rows, counted: int) -> Tensor:
        batch = collate(self.dataset, rows, loss_on=self.settings.loss_on)
        batch = batch.to(self.runtime.device)
        hidden = self.model.hidden_states(batch.input_ids).flatten(0, 1)
        logits = self.model.lm_head(hidden[batch.counted])  # only where a target counts
        nats, _ = token_loss(logits, batch.targets.flatten()[batch.counted])
        with self.runtime.autocast(enabled=False):
            torch.autograd.backward(nats / max(1, counted))
        return nats.detach()
