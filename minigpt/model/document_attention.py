"""Causal attention inside each of many short documents that stand end to end, on a CUDA GPU.

FlexAttention gives the same, and needs PyTorch's compiler, whose import takes seconds. Pairs of two
dozen tokens take these kernels half the time: a tile of queries meets the few keys before it and no
second tile, and one pass gives the gradients of queries, keys and values.

Written in Triton, which comes with PyTorch's CUDA builds. Scores and sums are float32, exponentials
those of 2.
"""

# ruff: noqa: ANN001, ANN202 - kernels take pointers and constants, and return nothing

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minigpt.model.masks import Documents

# The fastest of some on an H200, for pairs of 22 tokens and heads of 96 channels:
TILE = 64  # tokens of a program, fewer where a row of a head takes many bytes
BESIDE = 16  # tokens before or after the tile that a program looks at together
MOST_BYTES = 16_384  # of a tile of queries, so that all that a program holds fits
OPTIONS = {"num_warps": 4, "num_stages": 1}
LOG2_E: tl.constexpr = tl.constexpr(math.log2(math.e))
NUMBERS: tl.constexpr = tl.constexpr(2**32)  # that a hash gives, all equally likely


@triton.jit
def _rows_of(pointer, rows, real, stride, D: tl.constexpr, WIDTH: tl.constexpr):
    """[rows, WIDTH] of a head; zeros where a row is not real, and after D."""
    d = tl.arange(0, WIDTH)
    inside = real[:, None] & (d < D)[None, :]
    return tl.load(pointer + rows.to(tl.int64)[:, None] * stride + d[None, :], inside, other=0.0)


@triton.jit
def _store(pointer, rows, values, stride, D: tl.constexpr, WIDTH: tl.constexpr):
    d = tl.arange(0, WIDTH)
    inside = (rows >= 0)[:, None] & (d < D)[None, :]
    places = pointer + rows.to(tl.int64)[:, None] * stride + d[None, :]
    tl.store(places, values.to(pointer.dtype.element_ty), inside)


@triton.jit
def _own(qkv, starts, rows, C: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """Of the rows of a tile: queries, keys, values, where documents begin, which keys are seen.

    Gives no rows itself: PyTorch's compiler would take what they come with for written to.
    """
    every = rows >= 0
    first = tl.load(starts + rows)
    q = _rows_of(qkv, rows, every, 3 * C, D, WIDTH)
    k = _rows_of(qkv + C, rows, every, 3 * C, D, WIDTH)
    v = _rows_of(qkv + 2 * C, rows, every, 3 * C, D, WIDTH)
    seen = (rows[None, :] >= first[:, None]) & (rows[None, :] <= rows[:, None])
    return q, k, v, first, seen


@triton.jit
def _before(
    qkv,
    at,
    tile,
    first,
    C: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    BESIDE: tl.constexpr,
):
    """Some keys and values before a tile, and which queries of the tile see them."""
    rows = at + tl.arange(0, BESIDE)
    near = rows < tile
    k = _rows_of(qkv + C, rows, near, 3 * C, D, WIDTH)
    v = _rows_of(qkv + 2 * C, rows, near, 3 * C, D, WIDTH)
    return k, v, (rows[None, :] >= first[:, None]) & near[None, :]


@triton.jit
def _kept(queries, keys, seed, DROPPED: tl.constexpr):
    """What dropout multiplies [queries, keys] weights by, as a hash of all three tells.

    The hash is lowbias32, https://nullprogram.com/blog/2018/07/31/. DROPPED of its NUMBERS
    leave a weight out.
    """
    kept = 1.0
    if DROPPED:
        place = (queries.to(tl.uint32) * 0x9E3779B1)[:, None] ^ (keys.to(tl.uint32) * 0x85EBCA77)
        drawn = place ^ seed
        drawn = (drawn ^ (drawn >> 16)) * 0x7FEB352D
        drawn = (drawn ^ (drawn >> 15)) * 0x846CA68B
        drawn ^= drawn >> 16
        kept = tl.where(drawn >= DROPPED, NUMBERS / (NUMBERS - DROPPED), 0.0)
    return kept


@triton.jit
def _forward(
    qkv,
    starts,
    seeds,
    y,
    sums,
    N,
    C: tl.constexpr,
    SCALE: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BESIDE: tl.constexpr,
    DROPPED: tl.constexpr,
):
    head = tl.program_id(0)
    tile = tl.program_id(1) * TILE
    rows = tile + tl.arange(0, TILE)
    qkv += head * D
    seed = tl.load(seeds + head).to(tl.uint32)
    q, k, v, first, seen = _own(qkv, starts, rows, C, D, WIDTH)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (SCALE * LOG2_E)
    scores = tl.where(seen, scores, float("-inf"))
    top = tl.max(scores, 1)  # a token sees itself, so this is a number
    weights = tl.exp2(scores - top[:, None])
    total = tl.sum(weights, 1)
    weights *= _kept(rows, rows, seed, DROPPED)
    out = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
    for at in range(tl.load(starts + tile), tile, BESIDE):
        near_k, near_v, near_seen = _before(qkv, at, tile, first, C, D, WIDTH, BESIDE)
        near_scores = tl.dot(q, tl.trans(near_k), input_precision="ieee") * (SCALE * LOG2_E)
        near_scores = tl.where(near_seen, near_scores, float("-inf"))
        higher = tl.maximum(top, tl.max(near_scores, 1))
        near_weights = tl.exp2(near_scores - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(near_weights, 1)
        near_weights *= _kept(rows, at + tl.arange(0, BESIDE), seed, DROPPED)
        out *= shrink[:, None]
        out += tl.dot(near_weights.to(near_v.dtype), near_v, input_precision="ieee")
        top = higher
    _store(y + head * D, rows, out / total[:, None], C, D, WIDTH)
    tl.store(sums + head * N + rows, top + tl.log2(total))


@triton.jit
def _slopes(q, k, v, y_grad, mean, sums, seen, kept, SCALE: tl.constexpr):
    """The weights that [queries, keys] had after dropout, and the gradients of their scores."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (SCALE * LOG2_E)
    weights = tl.where(seen, tl.exp2(scores - sums[:, None]), 0.0)
    slopes = tl.dot(y_grad, tl.trans(v), input_precision="ieee") * kept - mean[:, None]
    return (weights * kept).to(v.dtype), (weights * slopes).to(v.dtype)


@triton.jit
def _backward(
    qkv,
    starts,
    ends,
    seeds,
    y,
    sums,
    y_grad,
    qkv_grad,
    N,
    C: tl.constexpr,
    SCALE: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BESIDE: tl.constexpr,
    DROPPED: tl.constexpr,
):
    head = tl.program_id(0)
    tile = tl.program_id(1) * TILE
    rows = tile + tl.arange(0, TILE)
    qkv += head * D
    seed = tl.load(seeds + head).to(tl.uint32)
    qkv_grad += head * D
    y += head * D
    y_grad += head * D
    sums += head * N
    q, k, v, first, seen = _own(qkv, starts, rows, C, D, WIDTH)
    every = rows >= 0
    g = _rows_of(y_grad, rows, every, C, D, WIDTH)
    mean = tl.sum(_rows_of(y, rows, every, C, D, WIDTH).to(tl.float32) * g.to(tl.float32), 1)
    total = tl.load(sums + rows)

    # Queries of the tile, keys before it
    q_grad = tl.zeros([TILE, WIDTH], dtype=tl.float32)
    for at in range(tl.load(starts + tile), tile, BESIDE):
        near_k, near_v, near_seen = _before(qkv, at, tile, first, C, D, WIDTH, BESIDE)
        near_kept = _kept(rows, at + tl.arange(0, BESIDE), seed, DROPPED)
        _, near_slopes = _slopes(q, near_k, near_v, g, mean, total, near_seen, near_kept, SCALE)
        q_grad += tl.dot(near_slopes, near_k, input_precision="ieee")

    # Queries and keys of the tile
    kept = _kept(rows, rows, seed, DROPPED)
    weights, slopes = _slopes(q, k, v, g, mean, total, seen, kept, SCALE)
    q_grad += tl.dot(slopes, k, input_precision="ieee")
    _store(qkv_grad, rows, q_grad * SCALE, 3 * C, D, WIDTH)
    k_grad = tl.dot(tl.trans(slopes), q, input_precision="ieee")
    v_grad = tl.dot(tl.trans(weights), g, input_precision="ieee")

    # Queries after the tile, keys of it
    end = tl.load(ends + tile + TILE - 1)
    for at in range(tile + TILE, end, BESIDE):
        later = at + tl.arange(0, BESIDE)
        far = later < end
        far_q = _rows_of(qkv, later, far, 3 * C, D, WIDTH)
        far_g = _rows_of(y_grad, later, far, C, D, WIDTH)
        far_y = _rows_of(y, later, far, C, D, WIDTH)
        far_mean = tl.sum(far_y.to(tl.float32) * far_g.to(tl.float32), 1)
        far_total = tl.load(sums + later, far, other=0.0)
        far_first = tl.load(starts + later, far, other=0)
        far_seen = (rows[None, :] >= far_first[:, None]) & far[:, None]
        far_kept = _kept(later, rows, seed, DROPPED)
        far_weights, far_slopes = _slopes(
            far_q, k, v, far_g, far_mean, far_total, far_seen, far_kept, SCALE
        )
        k_grad += tl.dot(tl.trans(far_slopes), far_q, input_precision="ieee")
        v_grad += tl.dot(tl.trans(far_weights), far_g, input_precision="ieee")
    _store(qkv_grad + C, rows, k_grad * SCALE, 3 * C, D, WIDTH)
    _store(qkv_grad + 2 * C, rows, v_grad, 3 * C, D, WIDTH)


def attend(qkv: Tensor, documents: Documents, n_head: int, *, dropout_p: float = 0.0) -> Tensor:
    """Each token mixes the values of itself and of those before it in its document.

    Args:
        qkv: [N, 3C] contiguous queries, keys and values, the heads of each side by side.
        documents: Where the documents begin and end; N is a multiple of TILE.
        n_head: Number of heads.
        dropout_p: The share of attention weights that are set to zero.

    Returns:
        [N, C].
    """
    seeds = documents.starts  # any numbers where nothing is dropped
    if dropout_p:
        seeds = (torch.rand(n_head, device=qkv.device) * 2**31).int()
    out: Tensor = _Attend.apply(qkv, *documents, seeds, n_head, dropout_p)
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - it takes any attribute
        qkv: Tensor,
        starts: Tensor,
        ends: Tensor,
        seeds: Tensor,
        n_head: int,
        dropout_p: float,
    ) -> Tensor:
        constants = _constants(qkv, n_head, dropout_p)
        N, tiles = len(qkv), len(qkv) // constants["TILE"]
        y = torch.empty(N, constants["C"], dtype=qkv.dtype, device=qkv.device)
        sums = torch.empty(n_head, N, dtype=torch.float32, device=qkv.device)
        _forward[(n_head, tiles)](qkv, starts, seeds, y, sums, N, **constants, **OPTIONS)
        ctx.save_for_backward(qkv, starts, ends, seeds, y, sums)
        ctx.n_head, ctx.dropout_p = n_head, dropout_p
        return y

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        y_grad: Tensor,
    ) -> tuple[Tensor | None, ...]:
        qkv, starts, ends, seeds, y, sums = ctx.saved_tensors
        qkv_grad = torch.empty_like(qkv)
        constants = _constants(qkv, ctx.n_head, ctx.dropout_p)
        N, tiles = len(qkv), len(qkv) // constants["TILE"]
        given = (qkv, starts, ends, seeds, y, sums, y_grad.contiguous(), qkv_grad)
        _backward[(ctx.n_head, tiles)](*given, N, **constants, **OPTIONS)
        return qkv_grad, None, None, None, None, None


def _constants(qkv: Tensor, n_head: int, dropout_p: float) -> dict[str, Any]:
    C = qkv.shape[1] // 3
    head = C // n_head
    width = max(16, 1 << (head - 1).bit_length())
    tile = TILE
    while tile > BESIDE and tile * width * qkv.element_size() > MOST_BYTES:
        tile //= 2
    return {
        "C": C,
        "SCALE": 1 / math.sqrt(head),
        "D": head,
        "WIDTH": width,
        "TILE": tile,
        "BESIDE": BESIDE,
        "DROPPED": min(NUMBERS.value - 1, round(NUMBERS.value * dropout_p)),
    }
