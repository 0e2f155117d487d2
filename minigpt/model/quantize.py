"""Weights in 8 or 4 bits: less to read from memory for every token, so a CPU answers faster.

Only the weights of the matrix products are quantised, after training; activations are bfloat16.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.errors import DeviceError
from minigpt.model.gpt import GPT

GROUP = 32  # weights that share a scale in 4 bits
FEW = 48  # rows up to which the kernels for quantised weights are the faster ones on a CPU


class QuantizedLinear(nn.Module):
    """A linear map whose weights are small integers with scales."""

    kernel: ClassVar[str]

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O], of the type of `x`."""
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        if len(rows) <= FEW:
            y = self.few(rows).to(x.dtype)
        else:
            y = F.linear(rows.to(x.dtype), self.weights().to(x.dtype))
        y = y.view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias

    def for_a_row(self) -> Callable[[Tensor], Tensor]:
        """The map for a single row [1, I] of bfloat16: the kernel, and little around it."""
        bias = self.bias
        if bias is None:
            return self.few
        return lambda x: self.few(x) + bias

    def few(self, rows: Tensor) -> Tensor:
        """[N, I] -> [N, O] bfloat16 by the kernel that reads the integers."""
        raise NotImplementedError

    def weights(self) -> Tensor:
        """[O, I] float32: what the integers stand for."""
        raise NotImplementedError


class Int8Linear(QuantizedLinear):
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


class Int4Linear(QuantizedLinear):
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
        DeviceError: This PyTorch or the model's width does not allow it.
    """
    linear = {"int8": Int8Linear, "int4": Int4Linear}[form]
    _check(model, form, linear)
    for block in model.transformer.blocks:
        for part in (block.attn, block.mlp):
            assert isinstance(part, nn.Module)
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(part, name, linear(layer))
    model.add_module("lm_head", Int8Linear(model.lm_head))
    return model


def _check(model: GPT, form: str, linear: type[QuantizedLinear]) -> None:
    width = model.config.n_embd
    if linear is Int4Linear and width % GROUP:
        raise DeviceError(
            f"int4: the model is {width} wide, which is not a multiple of {GROUP}",
            hint="use --quantize int8",
        )
    kernels = (Int8Linear.kernel, linear.kernel)
    missing = {name for name in kernels if not hasattr(torch, name)}
    if missing:
        raise DeviceError(
            f"{form}: PyTorch {torch.__version__} lacks {' and '.join(sorted(missing))}",
            hint="use --quantize none, or another version of PyTorch",
        )


def _integers(values: Tensor, low: int, high: int, dtype: torch.dtype) -> Tensor:
    return values.round().clamp_(low, high).to(dtype)


def _grouped(weights: Tensor) -> Tensor:
    return weights.view(len(weights), -1, GROUP)
