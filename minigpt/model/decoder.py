"""Rows of text that a model writes on, one token a step, in tensors of fixed shape."""

from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from minigpt.model.cache import KVCache, cache_dtype
from minigpt.model.gpt import GPT
from minigpt.model.newest import Newest
from minigpt.model.processor import one_thread
from minigpt.model.runtime import Runtime
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
        self._uniforms = torch.zeros(rows, capacity, dtype=torch.float32, device=self.device)
        self._seen: Tensor | None = None
        alone = rows == 1 and self.device.type == "cpu"
        self._one_thread = alone and model.config.block_matrix_parameters < SMALL
        self._newest = Newest(model, self.cache, alone=alone)
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

        Takes a fraction of a second, or a few where the kernels have never been compiled here. On a
        CPU many rows get weights in an order that suits them.
        """
        if self.device.type == "cpu" and self.rows > 1:
            self._newest.pack()
        if self.device.type != "cuda" or self._records:
            return
        self._records = True
        self._newest.use_kernels()
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
            return torch.zeros(rows, steps, dtype=torch.float32, device=self.device)
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
        logits = self._newest(self._ids, self._positions, width=width, even=even)
        uniforms = self._uniforms.gather(1, self._counts[1, :, None])[:, 0]
        self._ids.copy_(self.sampler.draw(logits, uniforms, seen=self._seen))
        if self._seen is not None:
            self._seen.scatter_(1, self._ids.clamp(min=0)[:, None], True)
        self._counts.add_(1).clamp_(max=self.capacity - 1)
        return self._ids
