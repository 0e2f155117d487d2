"""The sizes of a GPT."""

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from minigpt.settings import Fraction, Length, ModelSettings, Section

Width = Annotated[int, Field(gt=0, le=65_536)]


class GPTConfig(Section):
    """Everything that fixes the shapes of a GPT's weights.

    Example:
        >>> from minigpt import GPTConfig
        >>> config = GPTConfig(vocab_size=4_825)  # the other sizes are those of `base`
        >>> config.head_size, config.parameters
        (96, 46403328)
    """

    vocab_size: Annotated[int, Field(gt=3, le=1_200_000)]  # Unicode has 1,114,112 code points
    block_size: Length = 256
    n_layer: Annotated[int, Field(gt=0, le=1_000)] = 6
    n_head: PositiveInt = 8
    n_embd: Width = 768
    dropout: Fraction = 0.1

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        return self

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, vocab_size: int) -> Self:
        """The sizes that `[model]` asks for."""
        n_layer, n_head, n_embd = settings.shape
        return cls(
            vocab_size=vocab_size,
            block_size=settings.block_size,
            n_layer=n_layer,
            n_head=n_head,
            n_embd=n_embd,
            dropout=max(0.0, settings.dropout),
        )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def block_matrix_parameters(self) -> int:
        """Number of parameters in the blocks' matrices: qkv and output projection, and the MLP."""
        return self.n_layer * (3 + 1 + 4 + 4) * self.n_embd**2

    @property
    def parameters(self) -> int:
        """Number of parameters; the output layer shares those of the token embedding."""
        C = self.n_embd
        vectors = 2 * (2 * C) + 3 * C  # of a block: two LayerNorms and the bias of qkv
        embeddings = (self.vocab_size + self.block_size) * C
        return embeddings + self.block_matrix_parameters + self.n_layer * vectors + 2 * C
