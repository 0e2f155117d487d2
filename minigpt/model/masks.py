"""Attention inside each document of packed rows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:  # importing it takes as long as the rest of the model
    from torch.nn.attention.flex_attention import BlockMask

TILE = 128  # FlexAttention's default BLOCK_SIZE


def document_mask(starts: Tensor) -> "Tensor | BlockMask":
    """A causal mask in which a token sees its own document only.

    Args:
        starts: [1, N] int64: where the document of each token begins. Documents stand one after
            the other; N is a multiple of TILE.

    Returns:
        What FlexAttention takes on a GPU, elsewhere a boolean [1, 1, N, N].
    """
    if starts.device.type == "cuda":
        _flex()  # here, and not while a block that calls it is being compiled
        return block_mask(starts[0])
    same = starts[:, :, None] == starts[:, None, :]
    return same.tril()[:, None]


def block_mask(starts: Tensor) -> "BlockMask":
    """The mask of [N] `starts` for FlexAttention, made of a few small tensors."""
    from torch.nn.attention.flex_attention import BlockMask

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (starts[query] == starts[key]) & (query >= key)

    tile = torch.arange(len(starts) // TILE, device=starts.device)
    first = starts[::TILE] // TILE  # the first tile that a tile of queries can see; itself the last
    columns = (first[:, None] + tile).clamp(max=len(tile) - 1)
    mask: BlockMask = BlockMask.from_kv_blocks(
        (tile - first + 1).int()[None, None],
        columns.int()[None, None],
        BLOCK_SIZE=TILE,
        mask_mod=sees,
        seq_lengths=(len(starts), len(starts)),
    )
    return mask


_compiled: Callable[..., Any] | None = None


def flex_attention(q: Tensor, k: Tensor, v: Tensor, mask: "BlockMask") -> Tensor:
    """Attention of [B, H, N, D] under a block mask."""
    out: Tensor = _flex()(q, k, v, block_mask=mask)
    return out


def _flex() -> Callable[..., Any]:
    """FlexAttention, compiled at its first use: otherwise it keeps all scores, and is slow."""
    global _compiled
    if _compiled is None:
        from torch.nn.attention import flex_attention as flex

        _compiled = torch.compile(flex.flex_attention, dynamic=False)
    return _compiled
