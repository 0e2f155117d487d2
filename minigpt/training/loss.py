"""The loss: how surprised the model is by the tokens that count."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.training.batches import IGNORE_INDEX


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of each place, 0 where the target does not count.

    Args:
        logits: [..., V], any float type; computed in float32.
        targets: [...] int64; places equal to IGNORE_INDEX do not count.

    Returns:
        [...] float32, in nats.
    """
    losses = F.cross_entropy(
        logits.flatten(0, -2).float(),
        targets.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="none",
    )
    return losses.view_as(targets)


def token_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy of the counted tokens.

    Args:
        logits: [..., V], any float type; the sum is taken in float32.
        targets: [...] int64; places equal to IGNORE_INDEX do not count.

    Returns:
        The sum in nats and the number of counted tokens, both [] on the device of `logits`.
    """
    return token_losses(logits, targets).sum(), (targets != IGNORE_INDEX).sum()


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """[B, T] boolean: whether the likeliest token is the target; False where it does not count."""
    return torch.eq(logits.argmax(-1), targets)
