"""One token of one text on a CUDA GPU: few kernels, as starting each costs more than its work.

Written in Triton, which comes with PyTorch's CUDA builds. Matrices have the model's number format;
what runs between the kernels is float32.
"""

# ruff: noqa: ANN001, ANN202 - kernels take pointers and constants, and return nothing

import torch
import triton
import triton.language as tl
from torch import Tensor

from minigpt.model.gpt import GPT, Block

WIDEST = 4096  # a program holds a whole row of the model's width
TILE = 8192  # weights that a program holds at a time, at most
# Measured on an H200 with `base`: rows of a matrix and warps of a program, by the matrix's height;
# keys that a program of the attention looks at together and its warps, for one text and for many.
TALL, LOW = (8, 8), (4, 4)
ALONE, TOGETHER = (128, 8), (16, 1)


@triton.jit
def _embed(ids, positions, tokens, places, x, C, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    token = tl.maximum(tl.load(ids), 0)
    place = tl.load(positions)
    row = tl.load(tokens + token * C + i, mask=i < C).to(tl.float32)
    row += tl.load(places + place * C + i, mask=i < C).to(tl.float32)
    tl.store(x + i, row, mask=i < C)


@triton.jit
def _product(
    x,
    weight,
    bias,
    gain,
    shift,
    y,
    inputs,
    outputs,
    NORM: tl.constexpr,
    BIAS: tl.constexpr,
    GELU: tl.constexpr,
    ADD: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    o = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    sums = tl.zeros([BLOCK_O], dtype=tl.float32)
    if NORM:  # inputs are at most BLOCK_I
        i = tl.arange(0, BLOCK_I)
        row = tl.load(x + i, mask=i < inputs, other=0.0)
        row = tl.where(i < inputs, row - tl.sum(row, 0) / inputs, 0.0)
        row *= tl.rsqrt(tl.sum(row * row, 0) / inputs + 1e-5)  # nn.LayerNorm's eps
        row = row * tl.load(gain + i, mask=i < inputs, other=0.0).to(tl.float32)
        row += tl.load(shift + i, mask=i < inputs, other=0.0).to(tl.float32)
        inside = (o < outputs)[:, None] & (i < inputs)[None, :]
        tile = tl.load(weight + o[:, None] * inputs + i[None, :], mask=inside, other=0.0)
        sums += tl.sum(tile.to(tl.float32) * row[None, :], 1)
    else:
        for first in range(0, inputs, BLOCK_I):
            i = first + tl.arange(0, BLOCK_I)
            row = tl.load(x + i, mask=i < inputs, other=0.0)
            inside = (o < outputs)[:, None] & (i < inputs)[None, :]
            tile = tl.load(weight + o[:, None] * inputs + i[None, :], mask=inside, other=0.0)
            sums += tl.sum(tile.to(tl.float32) * row[None, :], 1)
    if BIAS:
        sums += tl.load(bias + o, mask=o < outputs, other=0.0).to(tl.float32)
    if GELU:
        sums = 0.5 * sums * (1.0 + tl.erf(sums * 0.7071067811865476))
    if ADD:
        sums += tl.load(y + o, mask=o < outputs, other=0.0)
    tl.store(y + o, sums, mask=o < outputs)


@triton.jit
def _attend(
    qkv,
    keys,
    values,
    positions,
    out,
    capacity,
    scale,
    H: tl.constexpr,
    D: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, BLOCK_D)
    position = tl.load(positions + row)
    new = qkv + row * 3 * H * D + head * D + d
    q = tl.load(new, mask=d < D, other=0.0).to(tl.float32) * scale
    k = tl.load(new + H * D, mask=d < D, other=0.0).to(keys.dtype.element_ty)
    v = tl.load(new + 2 * H * D, mask=d < D, other=0.0).to(keys.dtype.element_ty)
    start = (row * H + head) * capacity * D
    tl.store(keys + start + position * D + d, k, mask=d < D)
    tl.store(values + start + position * D + d, v, mask=d < D)
    highest = tl.sum(q * k.to(tl.float32), 0)
    total = 1.0
    y = v.to(tl.float32)
    for first in range(0, position, BLOCK_S):  # what was stored just now is not read again
        s = first + tl.arange(0, BLOCK_S)
        inside = (s < position)[:, None] & (d < D)[None, :]
        places = start + s[:, None] * D + d[None, :]
        old = tl.load(keys + places, mask=inside, other=0.0).to(tl.float32)
        scores = tl.where(s < position, tl.sum(old * q[None, :], 1), float("-inf"))
        top = tl.maximum(highest, tl.max(scores, 0))
        weights = tl.exp(scores - top)
        shrink = tl.exp(highest - top)
        old = tl.load(values + places, mask=inside, other=0.0).to(tl.float32)
        y = y * shrink + tl.sum(weights[:, None] * old, 0)
        total = total * shrink + tl.sum(weights, 0)
        highest = top
    tl.store(out + row * H * D + head * D + d, y / total, mask=d < D)


def attend(qkv: Tensor, keys: Tensor, values: Tensor, positions: Tensor, out: Tensor) -> Tensor:
    """Store the new keys and values of each row, and attend to all that it has.

    Args:
        qkv: [B, 3C].
        keys: [B, H, S, D], contiguous.
        values: As `keys`.
        positions: [B] int64: where the new token of each row stands.
        out: [B, C], overwritten.

    Returns:
        `out`.
    """
    B, H, S, D = keys.shape
    block, warps = ALONE if B == 1 else TOGETHER
    _attend[(B, H)](
        qkv,
        keys,
        values,
        positions,
        out,
        S,
        D**-0.5,
        H=H,
        D=D,
        BLOCK_S=block,
        BLOCK_D=triton.next_power_of_2(D),
        num_warps=warps,
    )
    return out


class Row:
    """A model as it reads the newest token of one text."""

    def __init__(self, model: GPT, keys: Tensor, values: Tensor) -> None:
        """Make room for what runs between the kernels.

        Args:
            model: On a CUDA device, at most WIDEST wide.
            keys: [L, 1, H, S, D].
            values: As `keys`.
        """
        C, V = model.config.n_embd, model.config.vocab_size
        self.transformer, self.head = model.transformer, model.lm_head.weight
        self.keys, self.values = keys, values
        self.x, self.qkv, self.y, self.h, self.logits = (
            torch.empty(1, size, device=keys.device) for size in (C, 3 * C, C, 4 * C, V)
        )

    def __call__(self, ids: Tensor, positions: Tensor) -> Tensor:
        """The logits [1, V] after the token `ids` [1] at `positions` [1]; overwritten later."""
        t, C = self.transformer, self.x.shape[1]
        block = triton.next_power_of_2(C)
        _embed[(1,)](ids, positions, t.wte.weight, t.wpe.weight, self.x, C, BLOCK=block)
        for layer, each in enumerate(t.blocks):
            assert isinstance(each, Block)
            attn, mlp = each.attn, each.mlp
            _run(self.x, attn.qkv_proj.weight, self.qkv, bias=attn.qkv_proj.bias, norm=each.ln_1)
            attend(self.qkv, self.keys[layer], self.values[layer], positions, self.y)
            _run(self.y, attn.out_proj.weight, self.x, add=True)
            _run(self.x, mlp.c_fc.weight, self.h, norm=each.ln_2, gelu=True)
            _run(self.h, mlp.c_proj.weight, self.x, add=True)
        _run(self.x, self.head, self.logits, norm=t.ln_f)
        return self.logits


def _run(
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    *,
    bias: Tensor | None = None,
    norm: torch.nn.LayerNorm | None = None,
    gelu: bool = False,
    add: bool = False,
) -> None:
    """Overwrite `y` by the product with `x`, or add it to `y`."""
    outputs, inputs = weight.shape
    block = triton.next_power_of_2(inputs)
    rows, warps = TALL if outputs > 1024 else LOW
    rows = max(1, min(rows, TILE // block))
    _product[(triton.cdiv(outputs, rows),)](
        x,
        weight,
        weight if bias is None else bias,
        weight if norm is None else norm.weight,
        weight if norm is None else norm.bias,
        y,
        inputs,
        outputs,
        NORM=norm is not None,
        BIAS=bias is not None,
        GELU=gelu,
        ADD=add,
        BLOCK_O=rows,
        BLOCK_I=min(block, WIDEST),
        num_warps=warps,
    )
