import math

import pytest
import torch
from torch import Tensor

from minigpt.model.cache import KVCache
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import CausalSelfAttention, attention_mask
from minigpt.model.reference import MultiHeadAttention, scaled_dot_product_attention

# The lesson's example: how well three restaurants match what one asks for, and what each gives.
QUERY = torch.tensor([[0.9, 0.8]])
KEYS = torch.tensor([[0.1, 0.3], [0.9, 0.5], [0.3, 0.1]])
VALUES = torch.tensor([[0.5, 0.9], [0.9, 0.6], [0.7, 0.8]])


def close(found: Tensor, expected: list[float]) -> bool:
    return torch.allclose(found.flatten(), torch.tensor(expected), rtol=0, atol=5e-5)


def test_restaurants_raw_scores_and_softmax() -> None:
    scores = QUERY @ KEYS.T
    assert close(scores, [0.33, 1.21, 0.35])
    assert close(scores.softmax(-1), [0.2257, 0.5441, 0.2302])
    # A query longer by the root of d_k undoes the scale.
    context, weights = scaled_dot_product_attention(QUERY * math.sqrt(2), KEYS, VALUES)
    assert close(weights, [0.2257, 0.5441, 0.2302])
    assert close(context, [0.7637, 0.7138])


def test_restaurants_with_the_scale_are_less_sharply_weighted() -> None:
    context, weights = scaled_dot_product_attention(QUERY, KEYS, VALUES)
    assert close(weights, [0.2579, 0.4805, 0.2616])
    assert close(context, [0.7445, 0.7297])


def test_masked_restaurant_has_exactly_no_weight() -> None:
    mask = torch.tensor([[True, True, False]])
    context, weights = scaled_dot_product_attention(QUERY, KEYS, VALUES, mask)
    assert weights[0, 2].item() == 0
    assert close(weights, [0.3493, 0.6507, 0.0])
    assert close(context, [0.7603, 0.7048])


def test_masked_key_and_value_do_not_matter() -> None:
    mask = torch.tensor([[True, True, False]])
    context, _ = scaled_dot_product_attention(QUERY, KEYS, VALUES, mask)
    keys, values = KEYS.clone(), VALUES.clone()
    keys[2], values[2] = 1e6, -1e6
    changed, _ = scaled_dot_product_attention(QUERY, keys, values, mask)
    assert torch.equal(changed, context)


@pytest.mark.parametrize("d_v", [1, 2, 5])
def test_weights_of_each_query_sum_to_one(d_v: int) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, d_v)
    context, weights = scaled_dot_product_attention(query, key, value)
    assert context.shape == (2, 3, 4, d_v)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4))


def lesson() -> tuple[MultiHeadAttention, Tensor, Tensor]:
    """Two heads of width 2 over a model of width 4; one query over three keys."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(n_heads=2, d_model=4, d_k=2, d_v=2)
    return attention, torch.randn(1, 1, 4), torch.randn(1, 3, 4)


def test_multi_head_example_has_the_lessons_shapes() -> None:
    attention, query, keys = lesson()
    output, weights = attention(query, keys, keys)
    assert output.shape == (1, 1, 4)
    assert weights.shape == (1, 2, 1, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 1))
    assert all(parameter.dim() == 2 for n, parameter in attention.named_parameters() if "w_" in n)


def test_each_head_attends_over_its_own_part_of_the_projections() -> None:
    attention, query, keys = lesson()
    output, weights = attention(query, keys, keys)
    contexts = []
    for head in range(2):
        part = slice(2 * head, 2 * head + 2)
        q, k, v = (
            x @ layer.weight[part].T
            for x, layer in (
                (query, attention.w_q),
                (keys, attention.w_k),
                (keys, attention.w_v),
            )
        )
        context, expected = scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(weights[:, head], expected)
        contexts.append(context)
    mixed = torch.cat(contexts, -1) @ attention.fc.weight.T
    torch.testing.assert_close(output, attention.layer_norm(query + mixed))


def test_mask_acts_on_every_head() -> None:
    attention, query, keys = lesson()
    _, weights = attention(query, keys, keys, torch.tensor([[True, False, True]]))
    assert weights[..., 1].count_nonzero() == 0
    assert bool((weights[..., [0, 2]] > 0).all())


def test_mask_may_differ_between_the_rows_of_a_batch() -> None:
    attention, _, _ = lesson()
    x = torch.randn(2, 3, 4)
    mask = torch.stack([torch.ones(3, 3).tril(), torch.eye(3)]).bool()
    _, weights = attention(x, x, x, mask)
    assert torch.equal(weights > 0, mask[:, None].expand(2, 2, 3, 3))


# The fast attention of the model against the plain form, with the same weights.
B, T, C, H = 2, 12, 32, 4
DTYPES = {
    # How far two orders of the same sums may lie apart: (of the value, around zero).
    torch.float32: (1e-5, 1e-5),
    # bfloat16 keeps 8 bits: one rounding is up to 2**-8 = 0.4 %, and there are a few in a row.
    torch.bfloat16: (2e-2, 2e-2),
}


def causal(*, padded: int = 0) -> Tensor:
    """[B, T, T]: a triangle; the last `padded` places of the second row are pads, seen by none."""
    mask = torch.ones(T, T, dtype=torch.bool).tril().repeat(B, 1, 1)
    if padded:
        mask[1, :, T - padded :] = False
    return mask


def segments() -> Tensor:
    """[B, T] pairs of different lengths side by side: three in the first row, two in the second."""
    return torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [0] * 2 + [1] * 10])


def plain(attention: CausalSelfAttention, x: Tensor, mask: Tensor) -> Tensor:
    """What `attention` is to compute, from its weights and in the plain form.

    Args:
        attention: Gives the weights.
        x: [B, T, C].
        mask: Boolean [B, T, T], True = may attend.
    """
    q, k, v = (
        part.view(*x.shape[:2], H, C // H).transpose(1, 2)  # [B, H, T, D]
        for part in torch.split(attention.qkv_proj(x), C, dim=-1)
    )
    context, _ = scaled_dot_product_attention(q, k, v, mask[:, None])
    out: Tensor = attention.out_proj(context.transpose(1, 2).flatten(2))
    return out


@pytest.fixture(
    params=[
        pytest.param((device, dtype), id=f"{device}-{dtype}".replace("torch.", ""), marks=marks)
        for device, marks in (("cpu", ()), ("cuda", pytest.mark.gpu))
        for dtype in DTYPES
    ]
)
def fast(request: pytest.FixtureRequest) -> CausalSelfAttention:
    """The model's attention with weights that make its choices sharp."""
    device, dtype = request.param
    torch.manual_seed(0)
    attention = CausalSelfAttention(GPTConfig(vocab_size=9, n_embd=C, n_head=H)).eval()
    with torch.no_grad():
        attention.qkv_proj.bias.normal_()
        attention.qkv_proj.weight.mul_(2)
    attention.to(device, dtype)
    return attention


def like(attention: CausalSelfAttention, *shape: int, seed: int = 1) -> Tensor:
    """Random numbers on the device and in the format of the weights."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(attention.out_proj.weight)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    rtol, atol = DTYPES[found.dtype]
    atol *= max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


def assert_same_gradients(
    attention: CausalSelfAttention, x: Tensor, found: Tensor, expected: Tensor, counts: Tensor
) -> None:
    """The same gradients in the input and all weights, from the places [B, T] that count."""
    direction = like(attention, *found.shape, seed=2) * counts.to(found)[..., None]
    wanted = [x, *attention.parameters()]
    ours = torch.autograd.grad(found, wanted, direction)
    theirs = torch.autograd.grad(expected, wanted, direction)
    assert all(gradient.abs().max() > 0.01 for gradient in theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert_equal(our, their)


def test_fast_attention_is_the_reference_under_a_triangle(fast: CausalSelfAttention) -> None:
    x = like(fast, B, T, C).requires_grad_()
    found, expected = fast(x, mask=None), plain(fast, x, causal().to(x.device))
    assert_equal(found, expected)
    assert_same_gradients(fast, x, found, expected, torch.ones(B, T))


def test_fast_attention_is_the_reference_with_pads_on_the_right(fast: CausalSelfAttention) -> None:
    pads = 5
    x = like(fast, B, T, C).requires_grad_()
    mask = causal(padded=pads)
    counts = torch.ones(B, T)
    counts[1, T - pads :] = 0
    found, expected = fast(x, mask=None), plain(fast, x, mask.to(x.device))
    assert_equal(found[counts > 0], expected[counts > 0])
    assert_same_gradients(fast, x, found, expected, counts)


def test_fast_attention_is_the_reference_for_packed_pairs(fast: CausalSelfAttention) -> None:
    x = like(fast, B, T, C).requires_grad_()
    of = segments().to(x.device)
    mask = causal().to(x.device) & (of[:, :, None] == of[:, None, :])
    fused = attention_mask(T, segment_ids=of, device=x.device)
    found, expected = fast(x, mask=fused), plain(fast, x, mask)
    assert_equal(found, expected)
    assert_same_gradients(fast, x, found, expected, torch.ones(B, T))


EACH_CUT = pytest.mark.parametrize("steps", [[1] * T, [T], [5, 1, 4, 1, 1]], ids=str)


def cached(
    attention: CausalSelfAttention, x: Tensor, steps: list[int], kind: type[KVCache] = KVCache
) -> Tensor:
    """What `attention` makes of [B, T, C] in parts of so many tokens, with a cache."""
    config = GPTConfig(vocab_size=9, n_layer=1, n_embd=C, n_head=H)
    cache = kind(config, batch_size=B, capacity=T, device=x.device, dtype=x.dtype)
    found = []
    for part in torch.split(x, steps, dim=1):
        mask = attention_mask(part.shape[1], past=cache.length, device=x.device)
        found.append(attention(part, mask=mask, cache=cache))
        cache.advance(part.shape[1])
    return torch.cat(found, dim=1)


@EACH_CUT
def test_fast_attention_is_the_reference_with_a_cache(
    fast: CausalSelfAttention, steps: list[int]
) -> None:
    x = like(fast, B, T, C)
    with torch.no_grad():
        assert_equal(cached(fast, x, steps), plain(fast, x, causal().to(x.device)))


class Remembering(KVCache):
    """A cache that gradients flow through: nothing in it is written over."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        assert layer == 0
        if self.length:
            keys = torch.cat([self.keys, keys], dim=2)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values


@EACH_CUT
def test_gradients_through_cached_keys_are_those_of_the_reference(
    fast: CausalSelfAttention, steps: list[int]
) -> None:
    x = like(fast, B, T, C).requires_grad_()
    found, expected = cached(fast, x, steps, Remembering), plain(fast, x, causal().to(x.device))
    assert_equal(found, expected)
    assert_same_gradients(fast, x, found, expected, torch.ones(B, T))


def test_the_cache_itself_gives_gradients_for_one_part_and_refuses_more(
    fast: CausalSelfAttention,
) -> None:
    x = like(fast, B, T, C).requires_grad_()
    found, expected = cached(fast, x, [T]), plain(fast, x, causal().to(x.device))
    assert_same_gradients(fast, x, found, expected, torch.ones(B, T))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(cached(fast, x, [T - 1, 1]).sum(), x)


def test_both_formats_stay_close_to_the_reference_in_float32(fast: CausalSelfAttention) -> None:
    x = like(fast, B, T, C)
    with torch.no_grad():
        found = fast(x, mask=None).float()
        expected = plain(fast.float(), x.float(), causal().to(x.device))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2 * expected.abs().max().item())


def test_the_tutorials_multi_head_attention_is_the_models_within_residual_and_norm() -> None:
    torch.manual_seed(0)
    fast = CausalSelfAttention(GPTConfig(vocab_size=9, n_embd=C, n_head=H)).eval()
    lesson = MultiHeadAttention(n_heads=H, d_model=C, d_k=C // H, d_v=C // H)
    with torch.no_grad():
        for own, part in zip(
            (lesson.w_q, lesson.w_k, lesson.w_v), fast.qkv_proj.weight.chunk(3), strict=True
        ):
            own.weight.copy_(part)
        lesson.fc.weight.copy_(fast.out_proj.weight)
        fast.qkv_proj.bias.zero_()  # the lesson's projections have none
    x = torch.randn(B, T, C)
    output, weights = lesson(x, x, x, causal())
    torch.testing.assert_close(output, lesson.layer_norm(x + fast(x, mask=None)))
    assert weights.triu(1).count_nonzero() == 0
