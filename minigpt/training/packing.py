"""Packed batches: pairs end to end in rows of one fixed length, gathered on the device.

A step holds `batch_size` pairs. Pairs are sorted by length and cut into as many strata as a step
has places, and each step draws one pair of every stratum. So the sums of any two steps differ by
less than one longest pair: all steps have one shape, and hardly any place of it is padding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.model.masks import TILE
from minigpt.training.batches import IGNORE_INDEX, LossOn, Rows


@dataclass(frozen=True)
class PackedBatch:
    """Pairs end to end, shifted by one: M rows of N places each.

    Attributes:
        input_ids: [M, N] int64.
        targets: [M, N] int64; places that do not count are IGNORE_INDEX.
        starts: [M, N] int64: where in its row the pair of a place begins; padding is its own pair.
        positions: [M, N] int64: the place within the pair.
    """

    input_ids: Tensor
    targets: Tensor
    starts: Tensor
    positions: Tensor


@dataclass(frozen=True)
class PackedShape:
    """How the pairs of a step stand: `rows` rows of `pairs` pairs in `tokens` places each."""

    rows: int
    pairs: int
    tokens: int


def stratified_batches(lengths: Rows, *, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """The batches of an epoch: every pair once, a pure function of its arguments.

    Returns:
        Indices of pairs, each batch from short to long; its size is `batch_size`, less what a
        number of pairs that `batch_size` does not divide leaves open.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    strata = _strata(order, batch_size, fill=-1)
    drawn = rng.permuted(strata, axis=1).T
    return [batch[batch >= 0] for batch in drawn]


def _strata(ordered: Rows, batch_size: int, *, fill: int) -> Rows:
    """[batch_size, batches]: a row is a stratum; `fill` stands before the first where they lack."""
    batches = -(-len(ordered) // batch_size)
    missing = batches * batch_size - len(ordered)
    return np.concatenate([np.full(missing, fill), ordered]).reshape(batch_size, batches)


def packed_shape(
    lengths: Rows, *, batch_size: int, micro_batch_tokens: int, processes: int = 1
) -> PackedShape:
    """The shape that every batch of `stratified_batches` fits in, whatever seed and epoch.

    Args:
        lengths: [pairs] tokens of each pair.
        batch_size: Pairs of a step.
        micro_batch_tokens: Most places of a row, unless one pair is longer.
        processes: Divides the number of rows.
    """
    longest = _strata(np.sort(lengths) - 1, batch_size, fill=0).max(axis=1)
    rows = 0
    while True:
        rows += processes
        pairs = -(-batch_size // rows)
        open_places = np.zeros(rows * pairs - batch_size, np.int64)
        filled = np.concatenate([open_places, longest]).reshape(pairs, rows)
        tokens = -(-int(filled.max(axis=1).sum()) // TILE) * TILE
        if tokens <= micro_batch_tokens or pairs == 1:
            return PackedShape(rows, pairs, max(TILE, tokens))


class PackedCorpus:
    """A whole dataset on the device, from which batches are gathered without the CPU."""

    def __init__(
        self,
        dataset: TokenizedDataset,
        shape: PackedShape,
        device: torch.device,
        *,
        loss_on: LossOn,
    ) -> None:
        self.shape = shape
        self.loss_on = loss_on
        self.nobody = dataset.n_pairs  # a pair without a token, for places left open
        self._ids = torch.from_numpy(dataset.ids.astype(np.int32)).to(device)
        offsets = np.append(dataset.offsets[:-1], 0)
        self._offsets = torch.from_numpy(offsets).to(device)
        self._lengths = torch.from_numpy(np.append(dataset.lengths - 1, 0)).to(device)
        prompts = np.append(dataset.prompt_lengths, 0).astype(np.int64)
        self._prompts = torch.from_numpy(prompts).to(device)

    def arranged(self, rows: Rows) -> Rows:
        """[M, pairs] the pairs of a batch as they stand in the rows, open places first."""
        shape = self.shape
        places = np.full(shape.rows * shape.pairs, self.nobody)
        places[len(places) - len(rows) :] = rows
        return np.ascontiguousarray(places.reshape(shape.pairs, shape.rows).T)

    def gather(self, pairs: Tensor) -> PackedBatch:
        """The tokens of [M, pairs] int64 indices; nothing in it waits for the device."""
        lengths = self._lengths[pairs]
        ends = lengths.cumsum(1)
        place = torch.arange(self.shape.tokens, device=pairs.device).expand(len(pairs), -1)
        which = torch.searchsorted(ends, place.contiguous(), right=True)
        real = which < pairs.shape[1]
        which = which.clamp(max=pairs.shape[1] - 1)
        starts = torch.where(real, (ends - lengths).gather(1, which), place)
        positions = place - starts
        pair = pairs.gather(1, which)
        source = torch.where(real, self._offsets[pair] + positions, 0)
        counted = real
        if self.loss_on == "answer":
            counted = real & (positions + 1 >= self._prompts[pair])
        targets = torch.where(counted, self._ids[source + 1].long(), IGNORE_INDEX)
        input_ids = torch.where(real, self._ids[source].long(), 0)
        return PackedBatch(input_ids, targets, starts, positions)
