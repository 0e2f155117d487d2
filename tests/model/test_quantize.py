import copy

import pytest
import torch
from torch import nn

from minigpt.errors import CheckpointError, DeviceError
from minigpt.model import quantize as module
from minigpt.model.config import GPTConfig
from minigpt.model.generation import generate
from minigpt.model.gpt import GPT
from minigpt.model.quantize import (
    FEW,
    DynamicInt8Linear,
    Int4Linear,
    Int8Linear,
    QuantizedLinear,
    has_fbgemm,
    quantize,
)
from minigpt.model.sampling import Sampler
from tests.tiny import random_ids, sharpen, tiny_model

needs_fbgemm = pytest.mark.skipif(not has_fbgemm(), reason="PyTorch has it for x86 processors")
FORMS = pytest.mark.parametrize(
    "linear", [Int8Linear, Int4Linear, pytest.param(DynamicInt8Linear, marks=needs_fbgemm)]
)
# What a PyTorch for other processors takes for int8.
INT8 = pytest.mark.parametrize("fbgemm", [False, pytest.param(True, marks=needs_fbgemm)])


def layer(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 48, bias=bias)


@FORMS
@pytest.mark.parametrize("bias", [True, False])
def test_few_and_many_rows_are_multiplied_by_the_same_weights(
    linear: type[QuantizedLinear], bias: bool
) -> None:
    quantized = linear(layer(bias=bias))
    x = torch.randn(FEW + 1, 64)
    many = quantized(x)
    few = torch.cat([quantized(part) for part in torch.split(x, 5)])
    torch.testing.assert_close(few, many, rtol=0.01, atol=0.01)  # bfloat16 results


@FORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 64), (2, 3, 64), (2, FEW, 64)])
def test_a_quantized_layer_takes_the_shapes_and_types_of_a_plain_one(
    linear: type[QuantizedLinear], dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    plain = layer()
    quantized = linear(plain).to(dtype)
    x = torch.randn(shape, dtype=dtype)
    expected = plain.to(dtype)(x)
    found = quantized(x)
    assert (found.shape, found.dtype) == (expected.shape, dtype)
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    "linear", [Int8Linear, pytest.param(DynamicInt8Linear, marks=needs_fbgemm)]
)
def test_eight_bits_err_by_half_a_step_at_most(
    linear: type[Int8Linear] | type[DynamicInt8Linear],
) -> None:
    plain = layer()
    quantized = linear(plain)
    step = plain.weight.abs().amax(1, keepdim=True) / 127
    assert ((quantized.weights() - plain.weight).abs() / step).max() < 0.51


def test_four_bits_err_by_half_a_step_at_most() -> None:
    plain = layer()
    quantized = Int4Linear(plain)
    grouped = plain.weight.view(48, 2, 32)
    step = (grouped.amax(-1) - grouped.amin(-1)) / 15
    error = (quantized.weights().view(48, 2, 32) - grouped).abs()
    assert (error / step[..., None]).max() < 0.6  # scales and zeros are bfloat16


@FORMS
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_alone_is_mapped_as_among_others(
    linear: type[QuantizedLinear], bias: bool, dtype: torch.dtype
) -> None:
    quantized = linear(layer(bias=bias)).to(dtype)
    row = torch.randn(1, 64, dtype=dtype)
    assert torch.equal(quantized.for_a_row(dtype)(row), quantized(row))


@needs_fbgemm
@pytest.mark.parametrize("size", [0, 1e-30, 1e-3, 1, 1e6])
def test_a_row_gets_from_fbgemm_what_is_said_here(size: float) -> None:
    quantized = DynamicInt8Linear(layer())
    rows = size * torch.cat([torch.randn(200, 64), torch.rand(5, 64), -torch.rand(5, 64)])
    alone = torch.cat([quantized(row[None]) for row in rows])
    torch.testing.assert_close(alone, quantized(rows), rtol=1e-5, atol=1e-6 * max(size, 1))


@needs_fbgemm
def test_seven_bits_of_a_row_err_by_half_a_step_at_most() -> None:
    plain = layer(bias=False)
    quantized = DynamicInt8Linear(plain)
    rows = torch.randn(100, 64)
    exact = rows @ quantized.weights().T
    step = (rows.amax(1) - rows.amin(1)) / 127
    most = 0.51 * step[:, None] * quantized.weights().abs().sum(1)
    assert ((quantized(rows) - exact).abs() <= most).all()


@FORMS
def test_a_row_of_zeros_stays_one(linear: type[QuantizedLinear]) -> None:
    plain = layer()
    with torch.no_grad():
        plain.weight[3] = 0
    assert linear(plain).weights()[3].abs().max() == 0


@INT8
@pytest.mark.parametrize(("form", "bound"), [("int8", 0.03), ("int4", 0.3)])
def test_a_quantized_model_is_close_to_its_origin(
    form: str, bound: float, fbgemm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "has_fbgemm", lambda: fbgemm)
    model = sharpen(tiny_model())
    ids = random_ids(4, 20, vocab_size=model.config.vocab_size)
    with torch.no_grad():
        expected = model(ids)
        found = quantize(copy.deepcopy(model), form)(ids)
    assert 0 < (found - expected).norm() / expected.norm() < bound


@INT8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_quantized_model_says_the_same_with_and_without_a_cache(
    form: str, dtype: torch.dtype, fbgemm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "has_fbgemm", lambda: fbgemm)
    model = quantize(sharpen(tiny_model()), form).to(dtype)
    prompt = random_ids(1, 4, vocab_size=model.config.vocab_size)
    greedy = Sampler(temperature=0)
    cached = generate(model, prompt, sampler=greedy, max_new_tokens=12)
    ids = prompt
    for _ in range(12):
        with torch.no_grad():
            logits = model(ids)[:, -1]
        logits[:, :2] = float("-inf")
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    assert cached.tolist() == ids.tolist()


@INT8
def test_the_embedding_keeps_its_weights(fbgemm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_fbgemm", lambda: fbgemm)
    model = tiny_model()
    before = model.transformer.wte.weight.clone()
    quantize(model, "int8")
    assert torch.equal(model.transformer.wte.weight, before)
    kinds = {type(module) for module in model.modules()}
    assert nn.Linear not in kinds
    assert (DynamicInt8Linear if fbgemm else Int8Linear) in kinds


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["ln_f.bias", "blocks.0.attn.qkv_proj.weight"])
def test_weights_that_are_no_numbers_are_refused(form: str, value: float, name: str) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.transformer.get_parameter(name).view(-1)[3] = value
    with pytest.raises(CheckpointError, match="it is damaged"):
        quantize(model, form)


def test_a_width_that_four_bits_cannot_group_is_refused() -> None:
    model = GPT(GPTConfig(vocab_size=20, n_layer=1, n_head=2, n_embd=24))
    with pytest.raises(DeviceError, match="24 wide") as caught:
        quantize(model, "int4")
    assert "int8" in caught.value.hint


def test_a_kernel_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Int4Linear, "kernel", "_no_such_kernel")
    with pytest.raises(DeviceError, match="lacks _no_such_kernel") as caught:
        quantize(tiny_model(), "int4")
    assert "--quantize none" in caught.value.hint
