"""How surprised a model is by each pair, given the true text before: one pass, teacher-forced."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.events import Progress, Report, ignore
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.training.batches import Batch, collate, micro_batches
from minigpt.training.loss import token_losses

TOP = 5

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairSums:
    """Sums over the targets of each pair.

    Attributes:
        nats: [pairs] cross-entropy.
        tokens: [pairs] number of targets.
        hits: [pairs] targets that were the likeliest token.
        top5: [pairs] targets among the five likeliest.
    """

    nats: Column
    tokens: Column
    hits: Column
    top5: Column

    @property
    def loss(self) -> float:
        """Nats per token over all pairs."""
        return float(self.nats.sum() / self.tokens.sum())

    @property
    def accuracy(self) -> float:
        """Share of the targets that were the likeliest token, over all pairs."""
        return float(self.hits.sum() / self.tokens.sum())


@dataclass(frozen=True, eq=False)
class Surprises:
    """The sums over all targets, and over answers with their stop."""

    all: PairSums
    answer: PairSums


@torch.inference_mode()
def measure_surprise(
    model: GPT,
    dataset: TokenizedDataset,
    runtime: Runtime,
    *,
    batch_tokens: int,
    report: Report = ignore,
) -> Surprises:
    """Feed every pair once.

    Args:
        model: In evaluation mode.
        dataset: Pairs no longer than the model's block_size.
        runtime: Where the model is.
        batch_tokens: Places per forward pass. Another number gives sums that differ by rounding
            alone, as other shapes add up in another order.
        report: Told how far it is.
    """
    sums = np.zeros((2, 4, dataset.n_pairs))
    rows = np.arange(dataset.n_pairs)
    parts = micro_batches(rows, dataset.lengths, tokens=batch_tokens)
    done = 0
    for part in parts:
        batch = collate(dataset, part).to(runtime.device)
        with runtime.autocast():
            hidden = model.hidden_states(batch.input_ids).flatten(0, 1)
            logits = model.lm_head(hidden[batch.counted])  # [N, V], only where a target is
        sums[:, :, part] = _sums_by_row(logits, batch)
        done += len(part)
        report(Progress("score", done, dataset.n_pairs, "pairs"))
    return Surprises(all=PairSums(*sums[0]), answer=PairSums(*sums[1]))


def _sums_by_row(logits: Tensor, batch: Batch) -> Column:
    """[2, 4, B]: over all targets and over answers; nats, tokens, hits and top five."""
    targets = batch.targets.flatten()[batch.counted]
    place = places_of(logits, targets)
    nats = token_losses(logits, targets)
    parts = (nats, torch.ones_like(nats), place < 1, place < TOP)
    values = torch.stack([part.double() for part in parts]).cpu().numpy()
    rows = (batch.counted // batch.targets.shape[1]).cpu().numpy()
    is_answer = batch.is_answer.flatten()[batch.counted].cpu().numpy()
    count = len(batch.targets)
    return np.stack(
        [
            [np.bincount(rows, weights=value * counts, minlength=count) for value in values]
            for counts in (np.ones(len(rows)), is_answer)
        ]
    )


def places_of(logits: Tensor, targets: Tensor) -> Tensor:
    """[N] number of tokens that come before the target, the likeliest first.

    Of equally likely tokens the one with the lower id comes first, so that a model that knows
    nothing is not right everywhere.

    Args:
        logits: [N, V].
        targets: [N].
    """
    own = logits.gather(1, targets[:, None])
    ids = torch.arange(logits.shape[1], device=logits.device)
    return ((logits > own) | ((logits == own) & (ids < targets[:, None]))).sum(dim=1)
