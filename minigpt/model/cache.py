"""Keys and values of the tokens that a model has already seen."""

import torch
from torch import Tensor

from minigpt.model.config import GPTConfig
from minigpt.model.processor import has_tiles


class KVCache:
    """Preallocated keys and values of every layer, filled from the left.

    Memory: 2 · n_layer · B · S · C numbers.

    Example:
        >>> import torch
        >>> from minigpt import GPT, GPTConfig, KVCache
        >>> model = GPT(GPTConfig(vocab_size=50, n_layer=2, n_head=2, n_embd=16)).eval()
        >>> cache = KVCache(model.config, batch_size=1, capacity=10)
        >>> _ = model(torch.tensor([[7, 8, 9]]), cache=cache)
        >>> logits = model(torch.tensor([[10]]), cache=cache)  # sees 7, 8, 9 and 10
        >>> cache.length, logits.shape
        (4, torch.Size([1, 1, 50]))
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        batch_size: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.n_layer, batch_size, config.n_head, capacity, config.head_size)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Largest number of tokens that fit."""
        return self.keys.shape[3]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new tokens of one layer and return all of its tokens so far.

        Args:
            layer: Index of the block.
            keys: [B, H, T, D].
            values: [B, H, T, D].

        Returns:
            Keys and values [B, H, S, D] with S = length + T, as views of the cache.
        """
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` as seen, after every layer stored them."""
        self.length += tokens

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these, in this order: finished sequences leave the batch.

        Args:
            rows: [B'] int64 indices.
        """
        self.keys = self.keys[:, rows]
        self.values = self.values[:, rows]


def cache_dtype(weight: Tensor, *, rows: int) -> torch.dtype:
    """The number format of keys and values for a model with such weights.

    On a CPU it is float32, as attention of one query in bfloat16 is several times slower; but where
    there are tiles (AMX), many queries gain a fifth from bfloat16.
    """
    if weight.device.type == "cpu" and not (rows > 1 and has_tiles()):
        return torch.float32
    return weight.dtype
