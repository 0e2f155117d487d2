"""Rows of text that a model writes on, one token a step, in tensors of fixed shape."""

from collections.abc import Callable, Generator, Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.model.cache import KVCache
from minigpt.model.gpt import GPT, Block
from minigpt.model.runtime import Runtime, cache_dtype, one_thread
from minigpt.model.sampling import Sampler, check_chosen, draw_uniforms

SMALL = 5_000_000  # weights of the blocks that are read as fast by one thread as by two
RUN_AHEAD = 8  # steps that a GPU is given before its tokens are read


class Decoder:
    """A model with room for some rows of text, each at its own place.

    All state lies in tensors that are changed in place, so that a GPU records a step once and
    repeats it. What a row gets does not depend on the other rows.
    """

    def __init__(self, model: GPT, *, rows: int, capacity: int, sampler: Sampler) -> None:
        """Make room.

        Args:
            model: In evaluation mode; its weights stay where they are.
            rows: Texts at once.
            capacity: Longest text in tokens, prompt and answer.
            sampler: How a token is chosen.
        """
        weight = model.transformer.wte.weight
        self.model = model
        self.sampler = sampler
        self.device = weight.device
        self.capacity = capacity
        self.cache = KVCache(
            model.config,
            batch_size=rows,
            capacity=capacity,
            device=self.device,
            dtype=cache_dtype(weight, rows=rows),
        )
        self.lengths = [0] * rows  # where each row stands; those of finished rows mean nothing
        self._ids = torch.zeros(rows, dtype=torch.int64, device=self.device)
        # Where the newest token of each row stands, and how many were drawn: changed together.
        self._counts = torch.zeros(2, rows, dtype=torch.int64, device=self.device)
        self._uniforms = torch.zeros(rows, capacity, device=self.device)
        self._seen: Tensor | None = None
        alone = rows == 1 and self.device.type == "cpu"
        self._one_thread = alone and model.config.block_matrix_parameters < SMALL
        self._layers = [_Layer(block, alone=alone) for block in model.transformer.blocks]
        self._output = self._layers[0].product(model.lm_head)
        self._row: Callable[[Tensor, Tensor], Tensor] | None = None
        self._records = False
        self._replay: Callable[[], Tensor] | None = None
        self.use(sampler)

    @property
    def rows(self) -> int:
        """Texts at once."""
        return len(self.lengths)

    @property
    def run_ahead(self) -> int:
        """Steps that are best done before their tokens are read."""
        return RUN_AHEAD if self.device.type == "cuda" else 1

    @property
    def _positions(self) -> Tensor:
        """[B]: where the newest token of each row stands."""
        return self._counts[0]

    @property
    def may_shrink(self) -> bool:
        """Whether `keep` pays: not where a recorded step would be lost."""
        return not self._records

    def use(self, sampler: Sampler) -> None:
        """Choose the next tokens by another sampler."""
        self.sampler = sampler
        self._replay = None
        self._seen = None
        if sampler.repetition_penalty > 1:
            shape = (self.rows, self.model.config.vocab_size)
            self._seen = torch.zeros(shape, dtype=torch.bool, device=self.device)

    @torch.inference_mode()
    def record(self) -> None:
        """Get ready for many steps: on a GPU they are recorded, and run by kernels of our own.

        Takes a fraction of a second, or a few where the kernels have never been compiled here.
        """
        if self.device.type != "cuda" or self._records:
            return
        self._records = True
        self._output = _padded(self.model)
        kernels = own_kernels()
        if kernels is None:
            return
        if self.rows == 1 and self.model.config.n_embd <= kernels.WIDEST:
            self._row = kernels.Row(self.model, self.cache.keys, self.cache.values)
        for layer in self._layers:
            layer.attend = kernels.attend
        if self._replay is None:
            self._replay = self._recorded()

    def write(
        self, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int] | None, steps: int
    ) -> Generator[list[int], None, None]:
        """Yield the next token of every row, step by step.

        Args:
            prompts: One for each row.
            seeds: One for each row; needed unless the sampler is greedy.
            steps: How many tokens.
        """
        yield self.admit(range(self.rows), prompts, seeds=seeds, steps=steps)
        done = 1
        while done < steps:
            new = self.run(min(self.run_ahead, steps - done))
            done += len(new)
            yield from new

    @torch.inference_mode()
    def admit(
        self,
        rows: Sequence[int],
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int] | None,
        steps: int,
    ) -> list[int]:
        """Begin new texts in these rows and choose the first token of each.

        Args:
            rows: Places that are free.
            prompts: Token ids, one for each of `rows`; lengths may differ.
            seeds: One for each of `rows`; needed unless the sampler is greedy.
            steps: Longest answer in tokens.

        Raises:
            CheckpointError: The model gives no number.
            ValueError: There are not as many seeds as rows.
        """
        lengths = [len(prompt) for prompt in prompts]
        width = max(lengths)
        padded = [[*prompt, *[0] * (width - len(prompt))] for prompt in prompts]  # never seen
        input_ids = torch.tensor(padded, device=self.device)
        ends = torch.tensor(lengths, device=self.device)
        with one_thread(self._one_thread):
            hidden = self._prefill(rows, input_ids)
        last = hidden[torch.arange(len(ends), device=self.device), ends - 1]
        places = torch.tensor(list(rows), device=self.device)
        uniforms = self._draw_uniforms(seeds, len(rows), steps)
        seen = None
        if self._seen is not None:
            seen = torch.zeros(len(rows), self._seen.shape[1], dtype=torch.bool, device=self.device)
        chosen = self.sampler.draw(self.model.lm_head(last), uniforms[:, 0], seen=seen)
        if self._seen is not None and seen is not None:
            self._seen[places] = seen.scatter_(1, chosen.clamp(min=0)[:, None], True)
        self._uniforms[places, :steps] = uniforms
        self._counts[:, places] = torch.stack([ends, torch.ones_like(ends)])
        self._ids[places] = chosen
        for row, length in zip(rows, lengths, strict=True):
            self.lengths[row] = length
        first: list[int] = chosen.tolist()
        check_chosen(first)
        return first

    @torch.inference_mode()
    def run(self, steps: int) -> list[list[int]]:
        """Choose so many further tokens of every row: a list of rows for each step.

        Rows that are finished go on as well; what they get means nothing.

        Raises:
            CheckpointError: The model gives no number.
        """
        trail = []
        with one_thread(self._one_thread):
            for _ in range(steps):
                trail.append(self._advance().clone())
                if self.device.type != "cuda":  # there, it is always looked at the whole cache
                    last = self.capacity - 1
                    self.lengths = [min(length + 1, last) for length in self.lengths]
        tokens: list[list[int]] = torch.stack(trail).tolist()
        for ids in tokens:
            check_chosen(ids)
        return tokens

    def finish(self, row: int) -> None:
        """Look no further into the cache for the sake of this row."""
        self.lengths[row] = 0

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order: finished ones leave."""
        places = torch.tensor(list(rows), device=self.device)
        self.cache.keep(places)
        self._ids, self._counts = self._ids[places], self._counts[:, places]
        self._uniforms = self._uniforms[places]
        self._seen = None if self._seen is None else self._seen[places]
        self.lengths = [self.lengths[row] for row in rows]
        self._replay = None

    def _prefill(self, rows: Sequence[int], input_ids: Tensor) -> Tensor:
        """Let the model read prompts [n, T]; their keys and values go into these rows."""
        T = input_ids.shape[1]
        if list(rows) == list(range(self.rows)):
            self.cache.length = 0
            return self.model.hidden_states(input_ids, cache=self.cache)
        part = KVCache(
            self.model.config,
            batch_size=len(rows),
            capacity=T,
            device=self.device,
            dtype=self.cache.keys.dtype,
        )
        hidden = self.model.hidden_states(input_ids, cache=part)
        places = torch.tensor(list(rows), device=self.device)
        self.cache.keys[:, places, :, :T] = part.keys
        self.cache.values[:, places, :, :T] = part.values
        return hidden

    def _draw_uniforms(self, seeds: Sequence[int] | None, rows: int, steps: int) -> Tensor:
        if self.sampler.temperature == 0:
            return torch.zeros(rows, steps, device=self.device)
        if seeds is None or len(seeds) != rows:
            raise ValueError(f"sampling needs one seed for each of the {rows} rows")
        drawn = torch.stack([draw_uniforms(seed, steps) for seed in seeds])
        return drawn.float().to(self.device)

    def _advance(self) -> Tensor:
        """One step, [B] chosen ids; on a GPU as it was recorded."""
        if self.device.type != "cuda":
            width = max(self.lengths) + 1
            return self._step(width, even=min(self.lengths) + 1 == width)
        if not self._records:
            return self._step(self.capacity, even=False)
        if self._replay is None:
            self._replay = self._recorded()
        return self._replay()

    def _recorded(self) -> Callable[[], Tensor]:
        """A step that the GPU is given in one go; it is run once before, and that is undone."""
        changed = [self._ids, self._counts]
        changed += [] if self._seen is None else [self._seen]
        before = [tensor.clone() for tensor in changed]
        self._step(self.capacity, even=False)
        for tensor, old in zip(changed, before, strict=True):
            tensor.copy_(old)  # the cache needs no mending: the next step writes the same again
        return Runtime(self.device).graphed(lambda: self._step(self.capacity, even=False))

    def _step(self, width: int, *, even: bool) -> Tensor:
        """Let the model see the chosen tokens, and choose the next ones.

        Args:
            width: Tokens of the cache that are looked at, the new ones included.
            even: Whether all rows are at the same place.
        """
        if self._row is not None:
            logits = self._row(self._ids, self._positions)
        else:
            logits = self._logits(width, even=even)
        uniforms = self._uniforms.gather(1, self._counts[1, :, None])[:, 0]
        self._ids.copy_(self.sampler.draw(logits, uniforms, seen=self._seen))
        if self._seen is not None:
            self._seen.scatter_(1, self._ids.clamp(min=0)[:, None], True)
        self._counts.add_(1).clamp_(max=self.capacity - 1)
        return self._ids

    def _logits(self, width: int, *, even: bool) -> Tensor:
        """[B, V]; the arguments are those of `_step`."""
        h = self.model.transformer
        x = F.embedding(self._ids.clamp(min=0), h.wte.weight)
        x = x + F.embedding(self._positions, h.wpe.weight)  # [B, C]
        mask = None if even else self._mask(width)
        keys, values = self.cache.keys, self.cache.values
        for layer, block in enumerate(self._layers):
            x = block(x, keys[layer], values[layer], self._positions, mask=mask, width=width)
        return self._output(h.ln_f(x))

    def _mask(self, width: int) -> Tensor:
        """[B, 1, 1, width], True where a row has a token."""
        places = torch.arange(width, device=self.device)
        return (places <= self._positions[:, None])[:, None, None]


def _padded(model: GPT) -> Callable[[Tensor], Tensor]:
    """The output layer, as wide as a GPU likes it: a multiple of 128 is five times as fast."""
    weight = model.lm_head.weight
    wider = F.pad(weight, (0, 0, 0, -len(weight) % 128))
    return lambda x: F.linear(x, wider)[..., : len(weight)]


def own_kernels() -> ModuleType | None:
    """The kernels written in Triton; None where PyTorch came without it."""
    try:
        from minigpt.model import kernels
    except ImportError:
        return None
    return kernels


class _Layer:
    """A block as the step of one token for each row computes it."""

    def __init__(self, block: nn.Module, *, alone: bool) -> None:
        assert isinstance(block, Block)  # a ModuleList forgets what it holds
        self.alone = alone
        self.attend: Callable[..., Tensor] | None = None
        self.n_head = block.attn.n_head
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        self.qkv = self.product(block.attn.qkv_proj)
        self.out = self.product(block.attn.out_proj)
        self.up = self.product(block.mlp.c_fc)
        self.down = self.product(block.mlp.c_proj)

    def product(self, layer: nn.Module) -> Callable[[Tensor], Tensor]:
        """The layer for rows [B, I] -> [B, O].

        A single row is multiplied by the matrix-vector product, whose bfloat16 form is 1.6 times
        as fast on a CPU as the general one.
        """
        if not self.alone or type(layer) is not nn.Linear:
            return layer
        weight, bias = layer.weight, layer.bias
        if bias is None:
            return lambda x: torch.mv(weight, x[0])[None]
        return lambda x: torch.addmv(bias, weight, x[0])[None]

    def __call__(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        positions: Tensor,
        *,
        mask: Tensor | None,
        width: int,
    ) -> Tensor:
        """[B, C] -> [B, C].

        Args:
            x: The tokens that are seen now.
            keys: [B, H, S, D] of this layer, which get the new ones at `positions`.
            values: As `keys`.
            positions: [B].
            mask: [B, 1, 1, width], True = may attend; None when all rows are at `width - 1`.
            width: How much of the cache is looked at.
        """
        qkv = self.qkv(self.ln_1(x))
        if self.attend is not None:
            x = x + self.out(self.attend(qkv, keys, values, positions, torch.empty_like(x)))
        else:
            x = x + self.out(self._attended(qkv, keys, values, positions, mask, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x))))

    def _attended(
        self,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        width: int,
    ) -> Tensor:
        """[B, 3C] -> [B, C]; the arguments are those of the call."""
        B = len(qkv)
        q, k, v = qkv.view(B, 3, self.n_head, -1).unbind(1)  # [B, H, D]
        if mask is None:
            keys[:, :, width - 1], values[:, :, width - 1] = k, v
        else:
            rows = torch.arange(B, device=qkv.device)
            keys[rows, :, positions] = k.to(keys.dtype)
            values[rows, :, positions] = v.to(values.dtype)
        y = F.scaled_dot_product_attention(
            q[:, :, None].to(keys.dtype), keys[:, :, :width], values[:, :, :width], attn_mask=mask
        )
        return y.reshape(B, -1).to(qkv.dtype)
