import math

import pytest
import torch
from torch import Tensor

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
