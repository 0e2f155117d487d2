"""Loss and accuracy over every pair of a dataset, per token."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.events import Progress, Report, ignore
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.training.batches import collate, micro_batches
from minigpt.training.loss import hits, token_losses


@dataclass(frozen=True, slots=True)
class Surprise:
    """A sum over targets.

    Attributes:
        nats: Summed cross-entropy.
        tokens: Number of targets.
        correct: Number of targets that were the likeliest token.
    """

    nats: float
    tokens: int
    correct: int

    @property
    def loss(self) -> float:
        """Nats per token; NaN without any."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def accuracy(self) -> float:
        """Share of the targets that were the likeliest token; NaN without any."""
        return self.correct / self.tokens if self.tokens else math.nan


@dataclass(frozen=True, slots=True)
class Validation:
    """What a model knows of a dataset: over all targets, and over answers with their stop."""

    all: Surprise
    answer: Surprise

    def on(self, loss_on: str) -> Surprise:
        """The part that `loss_on` names."""
        return self.answer if loss_on == "answer" else self.all


@torch.inference_mode()
def validate(
    model: GPT,
    dataset: TokenizedDataset,
    runtime: Runtime,
    *,
    micro_batch_tokens: int,
    report: Report = ignore,
) -> Validation:
    """Feed every pair once and sum what each true token cost.

    Args:
        model: Put into evaluation mode for the time being.
        dataset: Pairs no longer than the model's block_size.
        runtime: Several processes share the pairs; all get the same result.
        micro_batch_tokens: Places per forward pass; the result does not depend on it.
        report: Told how far it is.
    """
    was_training = model.training
    model.eval()
    rows = np.arange(dataset.n_pairs)
    parts = micro_batches(rows, dataset.lengths, tokens=micro_batch_tokens)
    sums = torch.zeros(5, dtype=torch.float64)
    for done, part in enumerate(parts[runtime.rank :: runtime.world_size]):
        batch = collate(dataset, part).to(runtime.device)
        with runtime.autocast():
            logits = model(batch.input_ids)
        losses, right = token_losses(logits, batch.targets), hits(logits, batch.targets)
        answer = batch.is_answer
        sums += torch.stack(
            [losses.sum(), losses[answer].sum(), right.sum(), right[answer].sum(), answer.sum()]
        ).cpu()
        report(Progress("validate", done + 1, len(parts[runtime.rank :: runtime.world_size])))
    model.train(was_training)
    total = sums.float().to(runtime.device) if runtime.device.type == "mps" else sums
    total = total.to(runtime.device)
    runtime.sum_over_ranks(total)
    nats, answer_nats, correct, answer_correct, answer_tokens = total.tolist()
    tokens = dataset.n_tokens - dataset.n_pairs
    return Validation(
        all=Surprise(nats, tokens, int(correct)),
        answer=Surprise(answer_nats, int(answer_tokens), int(answer_correct)),
    )
