"""Which pairs stand together, and how they become tensors.

Pairs of like length share a batch, so that hardly any place is padding, and pads stand on the
right of a causal model, so that no padding mask is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.corpus.vocab import PAD_ID

IGNORE_INDEX = -100
WINDOW = 64  # batches: lengths are sorted among so many, the order of the batches stays random

Rows = NDArray[np.int64]
LossOn = Literal["all", "answer"]


@dataclass(frozen=True)
class Batch:
    """Some pairs, shifted by one: the target of each token is the next one.

    Attributes:
        input_ids: [B, T] int64, padded on the right.
        targets: [B, T] int64; places that do not count are IGNORE_INDEX.
        is_answer: [B, T] boolean, True where the target belongs to the answer or is its stop.
        counted: [N] int64 places of the flattened [B · T] whose targets count: found on the CPU,
            so that no device has to wait for their number.
    """

    input_ids: Tensor
    targets: Tensor
    is_answer: Tensor
    counted: Tensor

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        tensors = (self.input_ids, self.targets, self.is_answer, self.counted)
        if device.type == "cuda":
            moved = (t.pin_memory().to(device, non_blocking=True) for t in tensors)
            return type(self)(*moved)
        return type(self)(*(t.to(device) for t in tensors))


def collate(dataset: TokenizedDataset, rows: Rows, *, loss_on: LossOn = "all") -> Batch:
    """Put the pairs `rows` of the dataset side by side, as wide as the longest of them."""
    lengths = dataset.lengths[rows]
    columns = np.arange(int(lengths.max()))
    places = dataset.offsets[rows][:, None] + columns
    real = columns < lengths[:, None]
    ids = np.where(real, dataset.ids[np.where(real, places, 0)], PAD_ID).astype(np.int64)
    is_answer = real & (columns >= dataset.prompt_lengths[rows][:, None])
    counted = is_answer if loss_on == "answer" else real
    targets = np.where(counted, ids, IGNORE_INDEX)[:, 1:]
    return Batch(
        input_ids=torch.from_numpy(ids[:, :-1].copy()),
        targets=torch.from_numpy(targets.copy()),
        is_answer=torch.from_numpy(is_answer[:, 1:].copy()),
        counted=torch.from_numpy(np.flatnonzero(targets != IGNORE_INDEX)),
    )


def counted_targets(dataset: TokenizedDataset, rows: Rows, *, loss_on: LossOn = "all") -> int:
    """Number of targets of these pairs that count for the loss."""
    first = dataset.prompt_lengths[rows] if loss_on == "answer" else 1
    return int((dataset.lengths[rows] - first).sum())


def epoch_batches(
    lengths: NDArray[np.int64], *, batch_size: int, seed: int, epoch: int
) -> list[Rows]:
    """The batches of an epoch: every pair once, a pure function of its arguments.

    Returns:
        Indices of pairs; one batch holds the remainder when `batch_size` does not divide them.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    span = WINDOW * batch_size
    batches: list[Rows] = []
    for start in range(0, len(order), span):
        window = order[start : start + span]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def micro_batches(rows: Rows, lengths: NDArray[np.int64], *, tokens: int) -> list[Rows]:
    """Cut a batch into parts of at most `tokens` places, pairs of like length together.

    A single pair that is longer stands alone.
    """
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    parts: list[Rows] = []
    start = 0
    for end in range(1, len(ordered) + 1):
        full = end == len(ordered) or (end + 1 - start) * (lengths[ordered[end]] - 1) > tokens
        if full:
            parts.append(ordered[start:end])
            start = end
    return parts


def padding_share(lengths: NDArray[np.int64], parts: Sequence[Rows]) -> float:
    """Share of the places of these batches that are padding."""
    places = sum(len(part) * int(lengths[part].max()) for part in parts)
    return 1 - sum(int(lengths[part].sum()) for part in parts) / max(1, places)
