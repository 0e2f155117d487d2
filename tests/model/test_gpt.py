import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minigpt.corpus.vocab import PAD_ID
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT, INIT_STD, CausalSelfAttention, attention_mask, short_attention
from minigpt.model.reference import scaled_dot_product_attention
from tests.tiny import BLOCK_SIZE, random_ids, sharpen, snapshot, tiny_model

few_examples = settings(max_examples=20, deadline=None)

SHARPENED = sharpen(tiny_model())
V = SHARPENED.config.vocab_size


@few_examples
@given(length=st.integers(2, BLOCK_SIZE), seed=st.integers(0, 99), data=st.data())
def test_a_token_does_not_see_later_ones(length: int, seed: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, length - 1))
    ids = random_ids(2, length, vocab_size=V, seed=seed)
    changed = torch.cat(
        [ids[:, :cut], random_ids(2, length - cut, vocab_size=V, seed=seed + 1)], dim=1
    )
    with torch.no_grad():
        before, after = SHARPENED(ids), SHARPENED(changed)
    assert torch.equal(before[:, :cut], after[:, :cut])


def test_no_gradient_flows_from_a_token_to_later_ones() -> None:
    hidden = torch.randn(1, 7, 16, requires_grad=True)
    attention = CausalSelfAttention(GPTConfig(vocab_size=9, n_embd=16, n_head=2))
    attention(hidden, mask=None)[0, 3].sum().backward()
    assert hidden.grad is not None
    seen = hidden.grad[0].abs().sum(-1) > 0
    assert seen.tolist() == [True] * 4 + [False] * 3


@few_examples
@given(length=st.integers(1, 20), pads=st.integers(1, BLOCK_SIZE - 20), seed=st.integers(0, 99))
def test_padding_on_the_right_changes_nothing(length: int, pads: int, seed: int) -> None:
    ids = random_ids(2, length, vocab_size=V, seed=seed)
    padded = torch.cat([ids, torch.full((2, pads), PAD_ID)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(SHARPENED(padded)[:, :length], SHARPENED(ids))


@few_examples
@given(lengths=st.lists(st.integers(1, 8), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_packed_sequences_equal_padded_ones(lengths: list[int], seed: int) -> None:
    sequences = [random_ids(n, vocab_size=V, seed=seed + i) for i, n in enumerate(lengths)]
    packed = torch.cat(sequences)[None]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    segment_ids = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])[None]
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD_ID)

    with torch.no_grad():
        together = SHARPENED(packed, positions=positions, segment_ids=segment_ids)[0]
        apart = SHARPENED(padded)

    for row, part in enumerate(torch.split(together, lengths)):
        torch.testing.assert_close(part, apart[row, : lengths[row]])


def test_packed_sequences_give_the_gradients_of_padded_ones() -> None:
    model = sharpen(tiny_model())
    first, second = random_ids(1, 5, vocab_size=V), random_ids(1, 9, vocab_size=V, seed=1)
    positions = torch.cat([torch.arange(5), torch.arange(9)])[None]
    segment_ids = torch.tensor([0] * 5 + [1] * 9)[None]

    (model(first).square().sum() + model(second).square().sum()).backward()
    expected = _gradients(model)
    model.zero_grad()
    packed = torch.cat([first, second], dim=1)
    model(packed, positions=positions, segment_ids=segment_ids).square().sum().backward()

    for name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-3)


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_positions_may_be_shared_by_all_rows() -> None:
    ids = random_ids(3, 6, vocab_size=V)
    with torch.no_grad():
        assert torch.equal(SHARPENED(ids, positions=torch.arange(6)), SHARPENED(ids))
        moved = SHARPENED(ids, positions=torch.arange(6) + 1)
    assert not torch.allclose(moved, SHARPENED(ids))


def test_attention_equals_the_reference_under_a_triangle() -> None:
    torch.manual_seed(0)
    B, T, C, H = 2, 9, 16, 4
    attention = CausalSelfAttention(GPTConfig(vocab_size=9, n_embd=C, n_head=H)).eval()
    fused_input = torch.randn(B, T, C, requires_grad=True)
    plain_input = fused_input.detach().clone().requires_grad_()

    fused = attention(fused_input, mask=None)
    qkv = attention.qkv_proj(plain_input).view(B, T, 3, H, C // H).permute(2, 0, 3, 1, 4)
    triangle = torch.ones(T, T, dtype=torch.bool).tril()
    context, weights = scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], triangle)
    plain = attention.out_proj(context.transpose(1, 2).reshape(B, T, C))

    torch.testing.assert_close(fused, plain)
    assert weights.triu(1).count_nonzero() == 0

    direction = torch.randn(B, T, C)
    expected = torch.autograd.grad(plain, [plain_input, *attention.parameters()], direction)
    found = torch.autograd.grad(fused, [fused_input, *attention.parameters()], direction)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("T", [2, 9, 40])
def test_short_attention_is_attention_under_a_triangle(T: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (3, 2, 4, T, 16)
    exact = torch.randn(shape, generator=generator).bfloat16().float().requires_grad_()
    rounded = exact.detach().bfloat16().requires_grad_()
    triangle = torch.ones(T, T, dtype=torch.bool).tril()

    expected, _ = scaled_dot_product_attention(exact[0], exact[1], exact[2], triangle)
    found = short_attention(rounded[0], rounded[1], rounded[2], dropout_p=0.0)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.03)

    direction = torch.randn(expected.shape, generator=generator)
    (wanted,) = torch.autograd.grad(expected, exact, direction)
    (gradient,) = torch.autograd.grad(found, rounded, direction.bfloat16())
    assert float((gradient.float() - wanted).norm() / wanted.norm()) < 0.02


def test_short_attention_drops_weights_and_keeps_their_mean() -> None:
    torch.manual_seed(0)
    q = k = torch.zeros(1, 1, 2, 4, dtype=torch.bfloat16)
    v = torch.ones(1, 1, 2, 4, dtype=torch.bfloat16)
    drawn = [short_attention(q, k, v, dropout_p=0.5)[0, 0, 0, 0].item() for _ in range(200)]
    assert set(drawn) == {0.0, 2.0}  # the first token sees itself alone
    assert 0.7 < sum(drawn) / len(drawn) < 1.3


@pytest.mark.parametrize("past", [0, 1, 5])
@pytest.mark.parametrize("T", [1, 4])
def test_mask_shows_the_past_and_no_future(T: int, past: int) -> None:
    mask = attention_mask(T, past=past)
    if mask is None:  # said by "causal" alone, or one token that sees all
        assert past == 0 or T == 1
        return
    allowed = [[column <= past + row for column in range(past + T)] for row in range(T)]
    assert mask.tolist() == allowed


def test_segments_and_a_filled_cache_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="segment_ids"):
        attention_mask(2, past=3, segment_ids=torch.zeros(1, 2, dtype=torch.int64))


def test_more_tokens_than_positions_are_refused() -> None:
    with pytest.raises(ValueError, match=f"33 tokens do not fit the block_size {BLOCK_SIZE}"):
        SHARPENED(random_ids(1, BLOCK_SIZE + 1, vocab_size=V))


def test_names_and_shapes_are_the_tutorials() -> None:
    C, L, block_size, vocab_size = 768, 6, 256, 4_825
    expected: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (vocab_size, C),
        "transformer.wpe.weight": (block_size, C),
        "transformer.ln_f.weight": (C,),
        "transformer.ln_f.bias": (C,),
        "lm_head.weight": (vocab_size, C),
    }
    for i in range(L):
        block = f"transformer.blocks.{i}"
        for norm in ("ln_1", "ln_2"):
            expected |= {f"{block}.{norm}.weight": (C,), f"{block}.{norm}.bias": (C,)}
        expected[f"{block}.attn.qkv_proj.weight"] = (3 * C, C)
        expected[f"{block}.attn.qkv_proj.bias"] = (3 * C,)
        expected[f"{block}.attn.out_proj.weight"] = (C, C)
        expected[f"{block}.mlp.c_fc.weight"] = (4 * C, C)
        expected[f"{block}.mlp.c_proj.weight"] = (C, 4 * C)
    with torch.device("meta"):
        model = GPT(GPTConfig(vocab_size=vocab_size))

    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in model.parameters()) == 46_403_328


def test_output_layer_is_the_token_embedding() -> None:
    model = tiny_model()
    assert model.lm_head.weight is model.transformer.wte.weight


def test_fresh_weights_are_normal_biases_zero_norms_one() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=500, block_size=64, n_layer=2, n_head=2, n_embd=64))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            error = 5 * INIT_STD / math.sqrt(parameter.numel())  # five standard errors
            assert abs(parameter.mean().item()) < error, name
            assert abs(parameter.std().item() - INIT_STD) < error, name
        elif name.endswith("bias"):
            assert parameter.count_nonzero() == 0, name
        else:
            assert torch.equal(parameter, torch.ones_like(parameter)), name


def test_init_weights_forgets_all_that_was_learnt() -> None:
    model = tiny_model(seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.init_weights(torch.Generator().manual_seed(7))
    again = tiny_model(seed=1)
    again.init_weights(torch.Generator().manual_seed(7))
    for name, weight in snapshot(model).items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_fresh_model_is_as_surprised_as_a_uniform_guess() -> None:
    model = tiny_model().eval()
    ids = random_ids(4, 20, vocab_size=V)
    loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(V)) < 0.1


def test_dropout_acts_in_training_only() -> None:
    model = tiny_model(dropout=0.5)
    ids = random_ids(1, 8, vocab_size=V)
    model.eval()
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.gpu
@pytest.mark.parametrize("length", [1, 7, BLOCK_SIZE])
def test_gpu_computes_the_logits_of_the_cpu(length: int) -> None:
    model = sharpen(tiny_model())
    ids = random_ids(3, length, vocab_size=V)
    with torch.no_grad():
        expected = model(ids)
        found = model.to("cuda")(ids.to("cuda")).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
