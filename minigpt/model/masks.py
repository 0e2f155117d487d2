"""Attention inside each document of packed rows."""

from typing import NamedTuple

import torch
from torch import Tensor

TILE = 128  # rows are a multiple of it: products like it, and attention works in such parts


class Documents(NamedTuple):
    """Documents that stand one after the other in a row of N tokens.

    Attributes:
        starts: [N] int32: where the document of each token begins.
        ends: [N] int32: where it ends, exclusively.
    """

    starts: Tensor
    ends: Tensor


def document_mask(starts: Tensor) -> Tensor | Documents:
    """A causal mask in which a token sees its own document only.

    Args:
        starts: [1, N] int64: where the document of each token begins. Documents stand one after
            the other; N is a multiple of TILE.

    Returns:
        What `document_attention` takes on a GPU, elsewhere a boolean [1, 1, N, N].
    """
    if starts.device.type == "cuda":
        return documents(starts[0])
    same = starts[:, :, None] == starts[:, None, :]
    return same.tril()[:, None]


def documents(starts: Tensor) -> Documents:
    """The documents with these [N] starts."""
    ends = torch.searchsorted(starts, starts, right=True)
    return Documents(starts.int(), ends.int())


def document_attention(
    qkv: Tensor, documents: Documents, n_head: int, *, dropout_p: float = 0.0
) -> Tensor:
    """Attention of [1, N, 3C] queries, keys and values inside each document: [1, N, C].

    A share `dropout_p` of its weights is set to zero.
    """
    from minigpt.model.document_attention import attend

    B, N, _ = qkv.shape
    y = attend(qkv.flatten(0, 1), documents, n_head, dropout_p=dropout_p)
    return y.view(B, N, -1)
