"""Attention in its plain form: the lesson, and the yardstick of the tests.

Slow and obvious on purpose; `gpt.py` is held against it.
"""

import math

import torch
from torch import Tensor, nn


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Blend the values by how well their keys match the queries: softmax(QKᵀ/√d_k)V.

    Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1.

    Args:
        query: [..., len_q, d_k].
        key: [..., len_k, d_k].
        value: [..., len_k, d_v].
        mask: Boolean, broadcast to [..., len_q, len_k]; True = may attend. Every query needs at
            least one key that it may attend to.

    Returns:
        The context [..., len_q, d_v] and the weights [..., len_q, len_k], whose rows sum to 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    return weights @ value, weights


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, then a residual path and a LayerNorm.

        head_i = Attention(Q·w_q_i, K·w_k_i, V·w_v_i)
        output = LayerNorm(Q + Concat(head_1, …, head_n)·fc)

    Source: Vaswani et al. 2017, section 3.2.2, with the norm after the residual sum (section 3.1).
    """

    def __init__(self, n_heads: int, d_model: int, d_k: int, d_v: int) -> None:
        """Make the four projections, without bias, and the norm.

        Args:
            n_heads: Attentions side by side.
            d_model: Width of the inputs and of the output.
            d_k: Width of a head's queries and keys: w_q and w_k are [d_model -> n_heads·d_k].
            d_v: Width of a head's values: w_v is [d_model -> n_heads·d_v], fc the way back.
        """
        super().__init__()
        self.n_heads, self.d_k, self.d_v = n_heads, d_k, d_v
        self.w_q = nn.Linear(d_model, n_heads * d_k, bias=False)
        self.w_k = nn.Linear(d_model, n_heads * d_k, bias=False)
        self.w_v = nn.Linear(d_model, n_heads * d_v, bias=False)
        self.fc = nn.Linear(n_heads * d_v, d_model, bias=False)
        self.layer_norm = nn.LayerNorm(d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend with every head.

        Args:
            query: [B, len_q, d_model].
            key: [B, len_k, d_model].
            value: [B, len_k, d_model].
            mask: Boolean, broadcast to [B, len_q, len_k]; True = may attend.

        Returns:
            The output [B, len_q, d_model] and the weights [B, n_heads, len_q, len_k].
        """
        heads_mask = None if mask is None else mask[..., None, :, :]  # the same for every head
        context, weights = scaled_dot_product_attention(
            self._split(self.w_q(query), self.d_k),
            self._split(self.w_k(key), self.d_k),
            self._split(self.w_v(value), self.d_v),
            heads_mask,
        )
        joined = context.transpose(1, 2).flatten(2)  # -> [B, len_q, n_heads·d_v]
        output: Tensor = self.layer_norm(query + self.fc(joined))
        return output, weights

    def _split(self, x: Tensor, size: int) -> Tensor:
        """Part the heads: [B, len, n_heads·size] -> [B, n_heads, len, size]."""
        return x.view(*x.shape[:2], self.n_heads, size).transpose(1, 2)
