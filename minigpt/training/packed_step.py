"""One optimizer step over pairs that stand end to end."""

from collections.abc import Callable

import torch
from torch import Tensor

from minigpt.model.gpt import GPT
from minigpt.model.masks import TILE, document_mask
from minigpt.training.batches import Rows, counted_targets
from minigpt.training.loss import token_loss
from minigpt.training.muon import Muon
from minigpt.training.packing import PackedCorpus, packed_shape, stratified_batches
from minigpt.training.update import Update

STEPS_BEFORE_RECORDING = 3  # in which everything that is compiled or allocated once is


class PackedStep(Update):
    """Pairs end to end; on a CUDA GPU the whole step is recorded once and repeated."""

    choose_batches = staticmethod(stratified_batches)

    def __post_init__(self) -> None:
        super().__post_init__()
        runtime = self.runtime
        self._mine = slice(runtime.rank, None, runtime.world_size)
        self._counted = torch.ones((), device=runtime.device)
        self._nats = packed_nats
        # On a GPU the residual path is read and written more than anything else.
        self._residual_dtype = runtime.dtype if runtime.device.type == "cuda" else torch.float32
        self._records = runtime.device.type == "cuda"
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
