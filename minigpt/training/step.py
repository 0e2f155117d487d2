"""One optimizer step, with its pairs side by side in buckets or packed end to end."""

import importlib.util
import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.errors import DeviceError
from minigpt.events import Report, Warned
from minigpt.model.gpt import GPT
from minigpt.model.masks import TILE, document_mask
from minigpt.model.runtime import Runtime, is_out_of_memory
from minigpt.settings import TrainSettings
from minigpt.training.batches import (
    Rows,
    collate,
    counted_targets,
    epoch_batches,
    micro_batches,
    padding_share,
)
from minigpt.training.grouped import Grouped
from minigpt.training.loss import token_loss
from minigpt.training.muon import Muon
from minigpt.training.optimizer import Optimizer
from minigpt.training.packing import PackedCorpus, packed_shape, stratified_batches

MICRO_BATCH_TOKENS = {"cpu": 2_048, "mps": 8_192, "cuda": 65_536}
MOST_FOR_CORPUS = 0.25  # of the GPU's memory
STEPS_BEFORE_RECORDING = 3  # in which everything that is compiled or allocated once is


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
        DeviceError: Pairs shall be packed on a GPU, and there is no Triton for its kernels.
    """
    is_gpu = runtime.device.type == "cuda"
    has_kernels = bool(importlib.util.find_spec("triton"))
    if is_gpu and settings.batching == "packed" and not has_kernels:
        raise DeviceError(
            f"{runtime.device}: packed pairs need Triton there, which is not installed",
            hint="use --batching bucketed, or install triton",
        )
    packs = is_gpu and has_kernels and has_room(runtime, dataset)
    packs = settings.batching == "packed" or (settings.batching == "auto" and packs)
    kind = PackedStep if packs else BucketedStep
    return kind(model, dataset, optimizers, settings, runtime, report)


def has_room(runtime: Runtime, dataset: TokenizedDataset) -> bool:
    """Whether the corpus takes so little of the GPU that it can lie there while one trains."""
    needed = 4 * dataset.n_tokens + 24 * dataset.n_pairs  # bytes
    return needed <= MOST_FOR_CORPUS * runtime.gpu_bytes()


class _Update:
    """The model and its optimizers: what both kinds of step have."""

    def __init__(
        self,
        model: GPT,
        dataset: TokenizedDataset,
        optimizers: list[Optimizer],
        settings: TrainSettings,
        runtime: Runtime,
        report: Report,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.optimizers = optimizers
        self.settings = settings
        self.runtime = runtime
        self.report = report
        default = MICRO_BATCH_TOKENS[runtime.device.type]
        self.micro_batch_tokens = settings.micro_batch_tokens or default

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
                assert isinstance(optimizer, Grouped)  # on a GPU all are ours
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
        for part in self._parts(rows):
            nats += self._backward(part, counted)
        return nats

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
        report: Report,
    ) -> None:
        super().__init__(model, dataset, optimizers, settings, runtime, report)
        self._mine = slice(runtime.rank, None, runtime.world_size)
        self._counted = torch.ones((), device=runtime.device)
        self._nats = packed_nats
        # On a GPU the residual path is read and written more than anything else.
        self._residual_dtype = runtime.dtype if runtime.device.type == "cuda" else torch.float32
        self._records = runtime.device.type == "cuda" and runtime.world_size == 1
        self._arrange()

    def _arrange(self) -> None:
        """Lay out the rows, as long as `micro_batch_tokens` allows."""
        device = self.runtime.device
        self.shape = shape = packed_shape(
            self.dataset.lengths,
            batch_size=self.settings.batch_size,
            micro_batch_tokens=self.micro_batch_tokens,
            processes=self.runtime.world_size,
        )
        self._corpus = PackedCorpus(self.dataset, shape, device, loss_on=self.settings.loss_on)
        rows = shape.rows // self.runtime.world_size
        self._pairs = torch.zeros(rows, shape.pairs, dtype=torch.int64, device=device)
        self._recorded: Callable[[], Tensor] | None = None
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
        counted = counted_targets(self.dataset, rows, loss_on=self.settings.loss_on)
        self._counted.fill_(max(1, counted))
        while True:
            self._load(rows)
            try:
                if self._records and self._taken >= STEPS_BEFORE_RECORDING:
                    return self._repeat()
                nats = self._gradients()
                break
            except (RuntimeError, MemoryError) as error:
                self.halve(error, tokens=self.shape.tokens, least=TILE)
                self._arrange()
        self._taken += 1
        return self.update(nats)

    def _load(self, rows: Rows) -> None:
        pairs = torch.from_numpy(self._corpus.arranged(rows)[self._mine])
        if self.runtime.device.type == "cuda":
            pairs = pairs.pin_memory()
        self._pairs.copy_(pairs, non_blocking=True)

    def _repeat(self) -> Tensor:
        """A whole step; recording it does nothing to the model, repeating it does."""
        if self._recorded is None:
            self._recorded = self.runtime.graphed(lambda: self.update(self._gradients()))
        return self._recorded().clone()

    def padding(self, rows: Rows) -> float:
        """Share of the places of this batch that are padding."""
        places = self.shape.rows * self.shape.tokens
        return 1 - (int(self.dataset.lengths[rows].sum()) - len(rows)) / places

    def compile(self) -> None:
        """Compile the blocks, what stands around them and Muon's update, each for its one shape.

        Not the lookup of embeddings: compiled, their gradients would be summed in any order.
        """
        self.runtime.compile_blocks(self.model.transformer.blocks, dynamic=False)
        self.model.transformer.compile(dynamic=False)
        self._nats = torch.compile(packed_nats, dynamic=False)
        for optimizer in self.optimizers:
            if isinstance(optimizer, Muon):
                optimizer.compile()

    def _gradients(self) -> Tensor:
        batch = self._corpus.gather(self._pairs)
        nats = torch.zeros((), device=self.runtime.device)
        for row in range(len(self._pairs)):
            with self.runtime.autocast():
                x = self.model.embed(
                    batch.input_ids[row : row + 1],
                    batch.positions[row : row + 1],
                    self._residual_dtype,
                )
                mask = document_mask(batch.starts[row : row + 1])
                for block in self.model.transformer.blocks:
                    x = block(x, mask=mask)
                loss = self._nats(self.model, x[0], batch.targets[row])
            torch.autograd.backward(loss / self._counted)
            nats += loss.detach()
        return nats


def packed_nats(model: GPT, x: Tensor, targets: Tensor) -> Tensor:
    """The summed loss of what the last block gives, [N, C]."""
    nats, _ = token_loss(model.padded_logits(model.transformer.ln_f(x)), targets)
    return nats
