"""Keys and values of the tokens that a model has already seen."""

import torch
from torch import Tensor

from minigpt.model.config import GPTConfig


class KVCache:
    """Preallocated keys and values of every layer, filled from the left.

    Memory: 2 · n_layer · B · S · C numbers.
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
