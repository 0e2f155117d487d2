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
