"""Weights in 8 or 4 bits: less to read from memory for every token, so a CPU answers faster.

Only the weights of the matrix products are quantised, after training, and where it helps what they
are multiplied by.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.errors import DeviceError
from minigpt.model.gpt import GPT
from minigpt.model.sampling import damaged

GROUP = 32  # weights that share a scale in 4 bits
FEW = 48  # rows up to which the kernels for quantised weights are the faster ones on a CPU
FBGEMM = "fbgemm"
SMALLEST_SCALE = 6.1e-5  # of a row; pytorch/FBGEMM, include/fbgemm/QuantUtils.h


class QuantizedLinear(nn.Module, ABC):
    """A linear map whose weights are small integers with scales."""

    kernel: ClassVar[str]

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O], of the type of `x`."""
        y = self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias

    def for_a_row(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The map for a single row [1, I] of this type: the kernel, and little around it."""
        product, bias = self.product_of_a_row(dtype), self.bias
        return product if bias is None else lambda x: product(x) + bias

    def product_of_a_row(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """What gives [1, O] for a row [1, I] of this type."""
        return self.product

    @abstractmethod
    def product(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O], of the type of the rows."""

    @abstractmethod
    def weights(self) -> Tensor:
        """[O, I] float32: what the integers stand for."""


class DynamicInt8Linear(QuantizedLinear):
    """Weights from -127 to 127, and each row that they multiply from 0 to 127.

    Each output has a scale; a row gets a scale and a zero by its least and its largest number. Then
    only integers are multiplied: several times as fast on an x86 processor. A row alone is left to
    FBGEMM, which reads the weights in an order of its own; what is said here is what it computes.
    (With 8 bits its sums of two products could overflow on processors without VNNI.)
    """

    kernel = "_int_mm"

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        weight = layer.weight.detach().float()
        self.scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.integers = _integers(weight / self.scales[:, None], -127, 127, torch.int8)
        self._sums = self.integers.sum(dim=1, dtype=torch.float32)
        self._packed = _packed(self.integers, self.scales)

    def product(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O], of the type of the rows."""
        if len(rows) == 1:
            return self.product_of_a_row(rows.dtype)(rows)
        return self._product(rows.float()).to(rows.dtype)

    def product_of_a_row(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """What gives [1, O] for a row [1, I] of this type."""
        product, packed = torch.ops.quantized.linear_dynamic.default, self._packed
        if dtype is torch.float32:
            return lambda row: product(row, packed, True)
        return lambda row: product(row.float(), packed, True).to(dtype)

    def _product(self, rows: Tensor) -> Tensor:
        least = rows.amin(dim=1, keepdim=True).clamp_(max=0)
        largest = rows.amax(dim=1, keepdim=True).clamp_(min=0)
        scale = ((largest - least) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zero = (least / scale).round().neg()
        scale = scale.clamp(min=SMALLEST_SCALE)
        integers = _integers(torch.addcmul(zero, rows, 1 / scale), 0, 127, torch.int8)
        y = torch._int_mm(integers, self.integers.t()) * scale
        return y.addcmul_(zero * -scale, self._sums).mul_(self.scales)

    def weights(self) -> Tensor:
        """[O, I] float32: what the integers stand for."""
        return self.integers * self.scales[:, None]


def _packed(integers: Tensor, scales: Tensor) -> Any:  # noqa: ANN401 - an object of FBGEMM
    """Weights [O, I] as FBGEMM reads them."""
    engine = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such tensors will go; `has_fbgemm` looks for them
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        tensor = torch._make_per_channel_quantized_tensor(integers, scales, zeros, 0)
    torch.backends.quantized.engine = FBGEMM
    try:
        return torch.ops.quantized.linear_prepack(tensor, None)
    finally:
        torch.backends.quantized.engine = engine


def has_fbgemm() -> bool:
    """Whether PyTorch has what `DynamicInt8Linear` needs: it comes so for x86 processors."""
    return (
        FBGEMM in torch.backends.quantized.supported_engines
        and hasattr(torch, "_make_per_channel_quantized_tensor")
        and hasattr(torch.ops.quantized, "linear_dynamic")
    )


class WeightOnlyLinear(QuantizedLinear):
    """A linear map that multiplies few rows in bfloat16 by the integers as they are."""

    def product(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O], of the type of the rows."""
        if len(rows) <= FEW:
            return self.few(rows.to(torch.bfloat16)).to(rows.dtype)
        return F.linear(rows, self.weights().to(rows.dtype))

    @abstractmethod
    def few(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O] bfloat16 by the kernel that reads the integers."""


class Int8Linear(WeightOnlyLinear):
    """Weights from -127 to 127, one scale for each output."""

    kernel = "_weight_int8pack_mm"

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        weight = layer.weight.detach().float()
        largest = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        self.scales = (largest / 127).to(torch.bfloat16)  # rounded first, so it is no error
        self.integers = _integers(weight / self.scales[:, None].float(), -127, 127, torch.int8)

    def few(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O] bfloat16 by the kernel that reads the integers."""
        return torch._weight_int8pack_mm(rows, self.integers, self.scales)

    def weights(self) -> Tensor:
        """[O, I] float32: what the integers stand for."""
        return self.integers * self.scales[:, None].float()


class Int4Linear(WeightOnlyLinear):
    """Weights from 0 to 15, a scale and a zero for each GROUP of an output's weights."""

    kernel = "_weight_int4pack_mm_for_cpu"

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        grouped = _grouped(layer.weight.detach().float())  # [O, I / GROUP, GROUP]
        low, high = grouped.amin(-1), grouped.amax(-1)
        step = ((high - low) / 15).clamp(min=torch.finfo(torch.float32).tiny).to(torch.bfloat16)
        zero = (low + 8 * step.float()).to(torch.bfloat16)  # what the integer 8 stands for
        scaled = (grouped - zero[..., None].float()) / step[..., None].float() + 8
        integers = _integers(scaled, 0, 15, torch.int32).flatten(1)
        self.scales_and_zeros = torch.stack([step, zero], dim=-1).transpose(0, 1).contiguous()
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(integers, 1)
        # The order within `packed` is the kernel's own: for many rows they are kept in ours, too.
        self.pairs = (integers[:, ::2] | integers[:, 1::2] << 4).to(torch.uint8)

    def few(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O] bfloat16 by the kernel that reads the integers."""
        return torch._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales_and_zeros)

    def weights(self) -> Tensor:
        """[O, I] float32: what the integers stand for."""
        integers = torch.stack([self.pairs & 15, self.pairs >> 4], dim=-1).flatten(1)
        grouped = _grouped(integers).float() - 8
        step, zero = self.scales_and_zeros.transpose(0, 1).float().unbind(-1)
        return torch.addcmul(zero[..., None], grouped, step[..., None]).flatten(1)


def quantize(model: GPT, form: str) -> GPT:
    """Replace the matrices of the blocks and of the output layer, in place.

    The embeddings stay as they are: only a few of their rows are read for a token. With 4 bits the
    output layer has 8, as its errors would go straight into the choice of the token.

    Args:
        model: With float32 weights, on a CPU.
        form: "int8" or "int4".

    Raises:
        CheckpointError: The weights are no numbers, which integers could not say.
        DeviceError: This PyTorch or the model's width does not allow it.
    """
    if not all(weight.sum().isfinite() for weight in model.parameters()):
        raise damaged("its weights")
    int8 = DynamicInt8Linear if has_fbgemm() else Int8Linear
    linear = {"int8": int8, "int4": Int4Linear}[form]
    _check(model, form, {int8.kernel, linear.kernel})
    for block in model.transformer.blocks:
        for part in (block.attn, block.mlp):
            assert isinstance(part, nn.Module)
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(part, name, linear(layer))
    model.add_module("lm_head", int8(model.lm_head))
    return model


def _check(model: GPT, form: str, kernels: set[str]) -> None:
    width = model.config.n_embd
    if form == "int4" and width % GROUP:
        raise DeviceError(
            f"int4: the model is {width} wide, which is not a multiple of {GROUP}",
            hint="use --quantize int8",
        )
    missing = {name for name in kernels if not hasattr(torch, name)}
    if missing:
        raise DeviceError(
            f"{form}: PyTorch {torch.__version__} lacks {' and '.join(sorted(missing))}",
            hint="use --quantize none, or another version of PyTorch",
        )


def _integers(values: Tensor, low: int, high: int, dtype: torch.dtype) -> Tensor:
    return values.round_().clamp_(low, high).to(dtype)


def _grouped(weights: Tensor) -> Tensor:
    return weights.view(len(weights), -1, GROUP)
