"""The model: a GPT-2-like decoder, causal by construction.

Shapes: B batch, T input tokens, S attended tokens (cache + T), C n_embd, H n_head, D head size,
V vocab_size.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minigpt.model.cache import KVCache
from minigpt.model.config import GPTConfig
from minigpt.model.dropout import Dropout, dropout
from minigpt.model.masks import Documents, document_attention

INIT_STD = 0.02  # openai/gpt-2 src/model.py: conv1d's w_init_stdev and wte's initializer


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token sees itself and earlier tokens."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.qkv_proj = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.resid_dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | Documents | None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Mix each token with those it may see.

        Args:
            x: [B, T, C].
            mask: Boolean, broadcast to [B, H, T, S], True = may attend; None when the triangle of
                a sequence without a past, or a single newest token, says it all.
            cache: Earlier keys and values, extended in place.
            layer: Which layer of the cache is ours.

        Returns:
            [B, T, C].
        """
        qkv = self.qkv_proj(x)
        if isinstance(mask, Documents):
            dropout_p = self.dropout if self.training else 0.0
            y = document_attention(qkv, mask, self.n_head, dropout_p=dropout_p)
        else:
            y = self._attend(qkv, mask=mask, cache=cache, layer=layer).to(x.dtype)
        out: Tensor = self.resid_dropout(self.out_proj(y))
        return out

    def _attend(
        self, qkv: Tensor, *, mask: Tensor | None, cache: KVCache | None, layer: int
    ) -> Tensor:
        """[B, T, 3C] -> [B, T, C], in the format of the cache, if there is one."""
        B, T, _ = qkv.shape
        q, k, v = qkv.view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
            q = q.to(k.dtype)
        dropout_p = self.dropout if self.training else 0.0
        causal = mask is None and T > 1
        if causal and q.dtype is torch.bfloat16 and q.device.type == "cpu":
            y = short_attention(q, k, v, dropout_p=dropout_p)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=causal
            )
        return y.transpose(1, 2).flatten(2)  # [B, H, T, D] -> [B, T, C]


def short_attention(q: Tensor, k: Tensor, v: Tensor, *, dropout_p: float) -> Tensor:
    """Causal attention of [B, H, T, D] bfloat16 by plain products, for short sequences on a CPU.

    The fused form is made for long ones, and the library's plain form computes in float32.
    """
    B, H, T, D = q.shape
    q, k, v = (x.reshape(B * H, T, D) for x in (q, k, v))
    future = torch.full((T, T), -math.inf, dtype=q.dtype).triu(1)
    scores = torch.baddbmm(future, q, k.mT, alpha=1 / math.sqrt(D))
    weights = dropout(scores.softmax(-1).to(v.dtype), dropout_p)
    return torch.bmm(weights, v).view(B, H, T, D)


class MLP(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token by itself: [B, T, C] -> [B, T, C]."""
        out: Tensor = self.dropout(self.c_proj(F.gelu(self.c_fc(x))))
        return out


class Block(nn.Module):
    """Attention, then MLP, each after a LayerNorm and beside a residual path."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | Documents | None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """[B, T, C] -> [B, T, C]; the arguments are those of the attention."""
        x = x + self.attn(self.ln_1(x), mask=mask, cache=cache, layer=layer)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """Embeddings, blocks and the final LayerNorm."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)

    def forward(self, tokens: Tensor, places: Tensor, dtype: torch.dtype | None) -> Tensor:
        """What the first block gets: the sum of [B, T, C] embeddings, after dropout."""
        x = tokens + places
        out: Tensor = self.drop(x if dtype is None else x.to(dtype))
        return out


class GPT(nn.Module):
    """The whole model: token ids in, logits of the next token out.

    Example:
        >>> import torch
        >>> from minigpt import GPT, GPTConfig
        >>> model = GPT(GPTConfig(vocab_size=50, n_layer=2, n_head=2, n_embd=16)).eval()
        >>> model(torch.tensor([[7, 8, 9]])).shape  # a score for each token, at each place
        torch.Size([1, 3, 50])
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.tie_weights()
        self.init_weights()

    def tie_weights(self) -> None:
        """Let the output layer share the weights of the token embedding."""
        self.lm_head.weight = self.transformer.wte.weight

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: Normal(0, 0.02), biases 0, norms 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding) and module is not self.lm_head:
                nn.init.normal_(module.weight, std=INIT_STD, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        positions: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The last hidden states, before the output layer; arguments as in `forward`.

        Returns:
            [B, T, C].
        """
        past = cache.length if cache is not None else 0
        T = input_ids.shape[1]
        if positions is None:
            if past + T > self.config.block_size:
                raise ValueError(
                    f"{past + T} tokens do not fit the block_size {self.config.block_size}"
                )
            positions = torch.arange(past, past + T, device=input_ids.device)
        mask = attention_mask(T, past=past, segment_ids=segment_ids, device=input_ids.device)
        x = self.embed(input_ids, positions)
        for layer, block in enumerate(self.transformer.blocks):
            x = block(x, mask=mask, cache=cache, layer=layer)
        if cache is not None:
            cache.advance(T)
        out: Tensor = self.transformer.ln_f(x)
        return out

    def embed(
        self, input_ids: Tensor, positions: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """What the first block gets: [B, T, C], in `dtype`, if given, else in that of the weights.

        The residual path stays in that format.
        """
        h = self.transformer
        x: Tensor = h(h.wte(input_ids), h.wpe(positions), dtype)
        return x

    def padded_logits(self, hidden: Tensor) -> Tensor:
        """The logits [..., V] of hidden states [..., C], multiplied as a GPU likes it.

        A product whose width is a multiple of 128 runs five times as fast there.
        """
        weight = self.lm_head.weight
        wider = F.pad(weight, (0, 0, 0, -len(weight) % 128))
        return F.linear(hidden, wider)[..., : len(weight)]

    def forward(
        self,
        input_ids: Tensor,
        *,
        positions: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Score every possible next token at every place.

        Args:
            input_ids: [B, T] int64. Pads, if any, stand on the right.
            positions: [B, T] or [T] int64; by default cache length + 0..T-1.
            segment_ids: [B, T] int64; tokens see only their own segment (packed pairs).
            cache: Read and extended in place; not together with `segment_ids`.

        Returns:
            Logits [B, T, V].
        """
        logits: Tensor = self.lm_head(
            self.hidden_states(input_ids, positions=positions, segment_ids=segment_ids, cache=cache)
        )
        return logits


def shapes_of(config: GPTConfig) -> GPT:
    """A GPT whose weights have shapes and types, and no numbers yet."""
    with torch.device("meta"), _Undrawn():
        return GPT(config)


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of weights: without numbers it would only import the compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Call the function, unless it draws."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


def attention_mask(
    T: int, *, past: int = 0, segment_ids: Tensor | None = None, device: torch.device | None = None
) -> Tensor | None:
    """Which of the S = past + T tokens each of the T new tokens may attend to.

    Args:
        T: Number of new tokens.
        past: Number of tokens in the cache.
        segment_ids: [B, T] int64, or None when a row is one segment.
        device: Where the mask is made.

    Returns:
        Boolean [T, S] or [B, 1, T, S], True = may attend; None when "causal" alone says it, or the
        one new token sees everything.
    """
    if segment_ids is None and (past == 0 or T == 1):
        return None
    causal = torch.ones(T, past + T, dtype=torch.bool, device=device).tril(diagonal=past)
    if segment_ids is None:
        return causal
    if past:
        raise ValueError("segment_ids and a filled cache do not go together")
    same = segment_ids[:, :, None] == segment_ids[:, None, :]  # [B, T, T]
    return (same & causal)[:, None]
