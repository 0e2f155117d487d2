import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.model.masks import document_attention, documents
from tests.model.test_masks import EACH_PACKING, starts_of

pytestmark = pytest.mark.gpu


def expected_of(qkv: Tensor, starts: Tensor, n_head: int) -> Tensor:
    """[1, N, C] by the definition, in float64."""
    q, k, v = qkv.double().view(*qkv.shape[:2], 3, n_head, -1).permute(2, 0, 3, 1, 4)
    seen = (starts[:, None] == starts[None, :]).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-3)])
@pytest.mark.parametrize(("n_head", "head"), [(8, 96), (2, 8), (1, 24), (2, 64), (1, 256)])
@EACH_PACKING
def test_outputs_and_gradients_are_those_of_the_definition(
    lengths: list[int], n_head: int, head: int, dtype: torch.dtype, bound: float
) -> None:
    starts = starts_of(lengths).to("cuda")
    torch.manual_seed(0)
    qkv = torch.randn(1, len(starts), 3 * n_head * head, device="cuda").to(dtype).requires_grad_()
    direction = torch.randn(1, len(starts), n_head * head, device="cuda").to(dtype)

    found = document_attention(qkv, documents(starts), n_head)
    expected = expected_of(qkv, starts, n_head)

    assert distance(found.detach(), expected.detach()) < bound
    (ours,) = torch.autograd.grad(found, qkv, direction)
    (wanted,) = torch.autograd.grad(expected, qkv, direction.double())
    assert distance(ours, wanted) < bound


@pytest.mark.parametrize("n_head", [1, 3])
@EACH_PACKING
def test_dropout_leaves_that_share_of_the_weights_out(lengths: list[int], n_head: int) -> None:
    starts = starts_of(lengths).to("cuda")
    N, dropout_p = len(starts), 0.25
    places = torch.arange(N, device="cuda") - starts  # one-hot values: outputs are the weights
    head = 1 << int(places.max()).bit_length()
    if head > 256:
        pytest.skip("no head is so wide")
    torch.manual_seed(0)
    q, k = torch.randn(2, N, n_head, head, device="cuda").unbind()
    v = F.one_hot(places, head).float()[:, None].expand(-1, n_head, -1)
    qkv = torch.cat([x.flatten(1) for x in (q, k, v)], 1)[None]

    plain = document_attention(qkv, documents(starts), n_head)
    dropped = document_attention(qkv, documents(starts), n_head, dropout_p=dropout_p)

    weights, kept = plain[plain > 0], dropped[plain > 0]
    share = float((kept == 0).float().mean())
    assert abs(share - dropout_p) < 4 * (dropout_p * (1 - dropout_p) / len(weights)) ** 0.5
    torch.testing.assert_close(kept[kept > 0], weights[kept > 0] / (1 - dropout_p))
    assert not dropped[plain == 0].any()


def test_gradients_with_dropout_are_those_of_the_weights_that_are_left() -> None:
    """The definition with the weights that one-hot values show to be left out."""
    starts = starts_of([70, 3, 55]).to("cuda")
    n_head, head, N = 2, 128, len(starts)
    places = torch.arange(N, device="cuda") - starts
    torch.manual_seed(0)
    qkv = torch.randn(1, N, 3 * n_head * head, device="cuda")
    direction = torch.randn(1, N, n_head * head, device="cuda")
    q, k, v = qkv.view(N, 3, n_head, head).permute(1, 2, 0, 3)
    one_hot = F.one_hot(places, head).float().expand_as(v)
    shown = torch.stack([q, k, one_hot]).permute(2, 0, 1, 3).reshape(1, N, -1)
    torch.manual_seed(1)
    left = document_attention(shown, documents(starts), n_head, dropout_p=0.25) > 0
    kept = left.view(N, n_head, head).transpose(0, 1)[:, :, places].double() / 0.75
    qkv.requires_grad_()

    torch.manual_seed(1)
    found = document_attention(qkv, documents(starts), n_head, dropout_p=0.25)
    q, k, v = qkv.double().view(N, 3, n_head, head).permute(1, 2, 0, 3)
    seen = (starts[:, None] == starts[None, :]).tril()
    scores = (q @ k.mT / head**0.5).masked_fill(~seen, -torch.inf)
    expected = ((scores.softmax(-1) * kept) @ v).transpose(0, 1).reshape(1, N, -1)

    assert distance(found.detach(), expected.detach()) < 1e-5
    (ours,) = torch.autograd.grad(found, qkv, direction)
    (wanted,) = torch.autograd.grad(expected, qkv, direction.double())
    assert distance(ours, wanted) < 1e-5
