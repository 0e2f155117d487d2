"""A model as it reads the newest token of each row, over keys and values of the older ones."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.model.cache import KVCache
from minigpt.model.gpt import GPT, Block
from minigpt.model.quantize import QuantizedLinear
from minigpt.model.runtime import runs_kernels


class Newest:
    """The step from the newest tokens to the logits of the next ones.

    It computes what `GPT.forward` does with one token for each row, in fewer and faster operations.
    """

    def __init__(self, model: GPT, cache: KVCache, *, alone: bool) -> None:
        """Choose the operations.

        Args:
            model: In evaluation mode.
            cache: Its rows are those of the step; the new keys and values are stored there.
            alone: Whether it is a single row on a CPU.
        """
        self.model = model
        self.cache = cache
        self._layers = [_Layer(block, alone=alone) for block in model.transformer.blocks]
        self._norm = norm(model.transformer.ln_f)
        self._output = self._layers[0].product(model.lm_head)
        self._row: Callable[[Tensor, Tensor], Tensor] | None = None

    def use_kernels(self) -> None:
        """Go on with what is fastest on a GPU: kernels of our own, where they run."""
        self._output = _padded(self.model)
        if not runs_kernels(self.model.lm_head.weight.device):
            return
        from minigpt.model import kernels

        if self.cache.keys.shape[1] == 1 and self.model.config.n_embd <= kernels.WIDEST:
            self._row = kernels.Row(self.model, self.cache.keys, self.cache.values)
        for layer in self._layers:
            layer.attend = kernels.attend

    def pack(self) -> None:
        """Go on with weights in the order in which a CPU multiplies many rows by them fastest.

        Where that order is not known, and where weights are quantised, nothing changes.
        """
        rows = self.cache.keys.shape[1]
        self._output = packed(self.model.lm_head, rows)
        for layer in self._layers:
            layer.pack(rows)

    def __call__(self, ids: Tensor, positions: Tensor, *, width: int, even: bool) -> Tensor:
        """Logits [B, V] of the next tokens.

        Args:
            ids: [B] int64; a negative one stands for an error that is told later.
            positions: [B] int64: where these tokens stand.
            width: Tokens of the cache that are looked at, the new ones included.
            even: Whether all rows are at the same place.
        """
        if self._row is not None:
            return self._row(ids, positions)
        h = self.model.transformer
        x = F.embedding(ids.clamp(min=0), h.wte.weight) + F.embedding(positions, h.wpe.weight)
        mask = None
        if not even:
            positions = positions.clamp(max=width - 1)  # finished rows may be further
            mask = _mask(positions, width)
        for layer, seen in zip(self._layers, self._seen(width), strict=True):
            x = layer(x, seen, positions, mask=mask)
        return self._output(self._norm(x))

    def _seen(self, width: int) -> Iterator["_Seen"]:
        """What each layer looks at; all views are made at once, since each takes microseconds."""
        both = (self.cache.keys, self.cache.values)
        keys, values = (tensor[:, :, :, :width].unbind(0) for tensor in both)
        new_keys, new_values = (tensor[:, :, :, width - 1 : width].unbind(0) for tensor in both)
        return map(_Seen, keys, values, new_keys, new_values)


class _Seen(NamedTuple):
    """The part of a layer's cache that is looked at.

    Attributes:
        keys: [B, H, S, D].
        values: [B, H, S, D].
        last_key: [B, H, 1, D]: the last of them.
        last_value: [B, H, 1, D]: likewise.
    """

    keys: Tensor
    values: Tensor
    last_key: Tensor
    last_value: Tensor


def _mask(positions: Tensor, width: int) -> Tensor:
    """[B, 1, 1, width], True where a row has a token."""
    places = torch.arange(width, device=positions.device)
    return (places <= positions[:, None])[:, None, None]


def _padded(model: GPT) -> Callable[[Tensor], Tensor]:
    """The output layer, as wide as a GPU likes it: a multiple of 128 is five times as fast."""
    weight = model.lm_head.weight
    wider = F.pad(weight, (0, 0, 0, -len(weight) % 128))
    return lambda x: F.linear(x, wider)[..., : len(weight)]


def norm(layer: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    """The layer without what a module does around its function."""
    shape, weight, bias, eps = layer.normalized_shape, layer.weight, layer.bias, layer.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def packed(layer: nn.Module, rows: int) -> Callable[[Tensor], Tensor]:
    """The layer with a copy of its weights in oneDNN's order for so many rows, where there is one.

    The order saves a third of the time of a product of 64 rows in bfloat16, a fifth in float32.
    """
    if type(layer) is not nn.Linear:
        return layer
    ops, bias = torch.ops.mkldnn, layer.bias
    try:
        weight = ops._reorder_linear_weight(layer.weight.detach(), rows)
        ops._linear_pointwise(torch.zeros_like(layer.weight[:1]), weight, bias, "none", [], "")
    except (AttributeError, RuntimeError):  # this PyTorch or this processor has it not
        return layer
    return lambda x: ops._linear_pointwise(x, weight, bias, "none", [], "")


class _Layer:
    """A block as the step of one token for each row computes it."""

    def __init__(self, block: nn.Module, *, alone: bool) -> None:
        assert isinstance(block, Block)  # a ModuleList forgets what it holds
        self.alone = alone
        self._block = block
        self.attend: Callable[..., Tensor] | None = None
        self.n_head = block.attn.n_head
        self.dtype = block.ln_1.weight.dtype
        self.norm_1, self.norm_2 = norm(block.ln_1), norm(block.ln_2)
        self.qkv = self.product(block.attn.qkv_proj)
        self.out = self.product(block.attn.out_proj)
        self.up = self.product(block.mlp.c_fc)
        self.down = self.product(block.mlp.c_proj)

    def pack(self, rows: int) -> None:
        """Take copies of the weights in the order that suits so many rows."""
        attn, mlp = self._block.attn, self._block.mlp
        self.qkv, self.out = packed(attn.qkv_proj, rows), packed(attn.out_proj, rows)
        self.up, self.down = packed(mlp.c_fc, rows), packed(mlp.c_proj, rows)

    def product(self, layer: nn.Module) -> Callable[[Tensor], Tensor]:
        """The layer for rows [B, I] -> [B, O].

        A single row is multiplied by the matrix-vector product, whose bfloat16 form is 1.6 times
        as fast on a CPU as the general one.
        """
        if not self.alone:
            return layer
        if isinstance(layer, QuantizedLinear):
            return layer.for_a_row(self.dtype)
        if type(layer) is not nn.Linear:
            return layer
        weight, bias = layer.weight, layer.bias
        if bias is None:
            return lambda x: torch.mv(weight, x[0])[None]
        return lambda x: torch.addmv(bias, weight, x[0])[None]

    def __call__(self, x: Tensor, seen: _Seen, positions: Tensor, *, mask: Tensor | None) -> Tensor:
        """[B, C] -> [B, C].

        Args:
            x: The tokens that are seen now.
            seen: Where this layer's keys and values are, which get the new ones at `positions`.
            positions: [B].
            mask: [B, 1, 1, S], True = may attend; None when all rows are at the last place.
        """
        qkv = self.qkv(self.norm_1(x))
        if self.attend is not None:
            y = self.attend(qkv, seen.keys, seen.values, positions, torch.empty_like(x))
        else:
            y = self._attended(qkv, seen, positions, mask)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm_2(x))))

    def _attended(self, qkv: Tensor, seen: _Seen, positions: Tensor, mask: Tensor | None) -> Tensor:
        """[B, 3C] -> [B, C]; the arguments are those of the call."""
        B = len(qkv)
        q, k, v = qkv.view(B, 3, self.n_head, 1, -1).unbind(1)  # [B, H, 1, D]
        if mask is None:
            seen.last_key.copy_(k)
            seen.last_value.copy_(v)
        else:
            rows = torch.arange(B, device=qkv.device)
            seen.keys[rows, :, positions] = k[:, :, 0].to(seen.keys.dtype)
            seen.values[rows, :, positions] = v[:, :, 0].to(seen.values.dtype)
        y = F.scaled_dot_product_attention(
            q.to(seen.keys.dtype), seen.keys, seen.values, attn_mask=mask
        )
        return y.reshape(B, -1).to(qkv.dtype)
