import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.training.batches import IGNORE_INDEX
from minigpt.training.loss import hits, token_loss, token_losses

V = 11


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, 5, V, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def targets() -> Tensor:
    targets = torch.randint(0, V, (3, 5), generator=torch.Generator().manual_seed(1))
    targets[0, 3:] = IGNORE_INDEX
    targets[2] = IGNORE_INDEX
    return targets


def test_loss_is_the_surprise_at_each_counted_token(logits: Tensor, targets: Tensor) -> None:
    nats, tokens = token_loss(logits, targets)
    expected = sum(
        -math.log(logits[row, place].double().softmax(-1)[targets[row, place]].item())
        for row in range(3)
        for place in range(5)
        if targets[row, place] != IGNORE_INDEX
    )
    assert nats.item() == pytest.approx(expected, rel=1e-6)
    assert tokens.item() == 8
    assert nats.shape == tokens.shape == ()


def test_uniform_guess_costs_ln_v(targets: Tensor) -> None:
    nats, tokens = token_loss(torch.zeros(3, 5, V), targets)
    assert nats.item() / tokens.item() == pytest.approx(math.log(V), rel=1e-6)


def test_places_that_do_not_count_cost_nothing_and_get_no_gradient(
    logits: Tensor, targets: Tensor
) -> None:
    logits.requires_grad_()
    losses = token_losses(logits, targets)
    torch.autograd.backward(losses.sum())
    ignored = targets == IGNORE_INDEX
    assert losses[ignored].count_nonzero() == 0
    assert logits.grad is not None
    assert logits.grad[ignored].count_nonzero() == 0
    assert bool((logits.grad[~ignored].abs().sum(-1) > 0).all())


def test_nothing_counted_is_zero_and_not_nan(logits: Tensor) -> None:
    nats, tokens = token_loss(logits, torch.full((3, 5), IGNORE_INDEX))
    assert (nats.item(), tokens.item()) == (0, 0)


def test_sum_over_parts_is_the_sum_of_all(logits: Tensor, targets: Tensor) -> None:
    whole, count = token_loss(logits, targets)
    parts = [token_loss(logits[row : row + 1], targets[row : row + 1]) for row in range(3)]
    torch.testing.assert_close(sum(nats for nats, _ in parts), whole)
    assert sum(int(tokens) for _, tokens in parts) == count


def test_bfloat16_logits_are_summed_in_float32(logits: Tensor, targets: Tensor) -> None:
    coarse = logits.bfloat16()
    losses = token_losses(coarse, targets)
    assert losses.dtype is torch.float32
    expected = F.cross_entropy(
        coarse.double().flatten(0, 1),
        targets.flatten(),
        reduction="none",
        ignore_index=IGNORE_INDEX,
    )
    torch.testing.assert_close(losses.flatten().double(), expected, rtol=1e-5, atol=1e-6)


def test_hits_are_the_likeliest_tokens_that_count(logits: Tensor, targets: Tensor) -> None:
    targets[0, 0] = logits[0, 0].argmax()
    targets[0, 1] = logits[0, 1].argmin()
    found = hits(logits, targets)
    assert found.dtype is torch.bool
    assert found[0, :2].tolist() == [True, False]
    assert not bool(found[targets == IGNORE_INDEX].any())
