"""From a prompt to an answer: one stream of ids, or many prompts at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.model.cache import KVCache
from minigpt.model.gpt import GPT
from minigpt.model.sampling import Sampler, draw_uniforms


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model said after a prompt.

    Attributes:
        ids: The new tokens, without the stop token.
        stopped: Whether it ended with a stop token, not by the limit.
        halted: Whether `halt` ended it.
    """

    ids: tuple[int, ...]
    stopped: bool
    halted: bool = False


def stream(
    model: GPT,
    input_ids: Tensor,
    *,
    sampler: Sampler,
    max_new_tokens: int,
    stop_token_ids: Sequence[int] = (),
    context_length: int | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Yield the next token of every row, step by step, until all rows have stopped.

    Args:
        model: In evaluation mode.
        input_ids: [B, T] int64 prompts of one length.
        sampler: How a token is chosen.
        max_new_tokens: Largest number of steps.
        stop_token_ids: A row that draws one of these is finished and repeats it from then on.
        context_length: Positions that may be used: those the model was trained on. By default the
            block_size. Generation ends there.
        seeds: One per row; needed unless the sampler is greedy.

    Yields:
        [B] int64 on the device of `input_ids`.

    Raises:
        ValueError: The prompts leave no room for an answer.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from minigpt import Sampler, Tokenizer, load_checkpoint, stream
        >>> checkpoint = load_checkpoint(Path("output"))
        >>> tokenizer = Tokenizer(checkpoint.vocab)
        >>> prompt = torch.tensor([tokenizer.encode_prompt("天空是什么颜色？")])
        >>> new = stream(checkpoint.build(), prompt, sampler=Sampler(temperature=0),
        ...              max_new_tokens=9, stop_token_ids=tokenizer.encode_prompt(""))
        >>> [tokenizer.decode(ids.tolist()) for ids in new]
        ['蓝', '色', '。', '<sep>']
    """
    B, T = input_ids.shape
    steps = min(max_new_tokens, _room(model, T, context_length))
    uniforms = _uniforms(seeds, B, steps, greedy=sampler.temperature == 0).to(input_ids.device)
    stops = torch.tensor(list(stop_token_ids), dtype=torch.int64, device=input_ids.device)
    decoder = _Decoder(model, input_ids, sampler, capacity=T + steps)
    finished = torch.zeros(B, dtype=torch.bool, device=input_ids.device)
    ids = input_ids[:, -1]
    for step in range(steps):
        ids = torch.where(finished, ids, decoder.next(uniforms[:, step]))
        finished = finished | torch.isin(ids, stops)
        yield ids
        if step + 1 == steps or bool(finished.all()):
            return
        decoder.feed(ids)


def generate(
    model: GPT,
    input_ids: Tensor,
    *,
    sampler: Sampler,
    max_new_tokens: int,
    stop_token_ids: Sequence[int] = (),
    context_length: int | None = None,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Prompts and answers together; the arguments are those of `stream`.

    Returns:
        [B, T + new] int64; a row that stopped early repeats its stop token.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from minigpt import Sampler, Tokenizer, generate, load_checkpoint
        >>> checkpoint = load_checkpoint(Path("output"))
        >>> tokenizer = Tokenizer(checkpoint.vocab)
        >>> prompt = torch.tensor([tokenizer.encode_prompt("天空是什么颜色？")])
        >>> whole = generate(checkpoint.build(), prompt, sampler=Sampler(temperature=0),
        ...                  max_new_tokens=9, stop_token_ids=tokenizer.encode_prompt(""))
        >>> tokenizer.decode(whole[0].tolist())
        '天空是什么颜色？<sep>蓝色。<sep>'
    """
    new = stream(
        model,
        input_ids,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        stop_token_ids=stop_token_ids,
        context_length=context_length,
        seeds=seeds,
    )
    return torch.cat([input_ids, *(ids[:, None] for ids in new)], dim=1)


def complete(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    sampler: Sampler,
    max_new_tokens: int,
    stop_token_id: int,
    context_length: int | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int = 64,
    halt: Callable[[Sequence[int]], bool] | None = None,
) -> Iterator[tuple[int, Completion]]:
    """Answer many prompts, those of one length together; finished ones leave the batch.

    Each answer is the one that the prompt would get alone.

    Args:
        model: In evaluation mode.
        prompts: Token ids; lengths may differ.
        sampler: How a token is chosen.
        max_new_tokens: Longest answer.
        stop_token_id: Ends an answer.
        context_length: As in `stream`.
        seeds: One per prompt; needed unless the sampler is greedy.
        batch_size: Largest number of prompts at once.
        halt: Given the ids of an answer so far, whether it ends there.

    Yields:
        Index of a prompt and its completion, in the order in which batches finish.

    Raises:
        ValueError: A prompt leaves no room for an answer.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import Sampler, Tokenizer, complete, load_checkpoint
        >>> checkpoint = load_checkpoint(Path("output"))
        >>> tokenizer = Tokenizer(checkpoint.vocab)
        >>> questions = ["天空是什么颜色？", "苹果是什么颜色？"]
        >>> prompts = [tokenizer.encode_prompt(question) for question in questions]
        >>> (stop,) = tokenizer.encode_prompt("")
        >>> answers = complete(checkpoint.build(), prompts, sampler=Sampler(temperature=0),
        ...                    max_new_tokens=9, stop_token_id=stop)
        >>> [tokenizer.decode(completion.ids) for _, completion in sorted(answers)]
        ['蓝色。', '红色。']
    """
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(index)
    rooms = {length: _room(model, length, context_length) for length in by_length}
    for length in sorted(by_length):
        indices = by_length[length]
        for start in range(0, len(indices), batch_size):
            rows = indices[start : start + batch_size]
            yield from zip(
                rows,
                _complete_batch(
                    model,
                    torch.tensor([list(prompts[row]) for row in rows]),
                    sampler=sampler,
                    steps=min(max_new_tokens, rooms[length]),
                    stop_token_id=stop_token_id,
                    halt=halt,
                    seeds=None if seeds is None else [seeds[row] for row in rows],
                ),
                strict=True,
            )


def _complete_batch(
    model: GPT,
    input_ids: Tensor,
    *,
    sampler: Sampler,
    steps: int,
    stop_token_id: int,
    halt: Callable[[Sequence[int]], bool] | None,
    seeds: Sequence[int] | None,
) -> list[Completion]:
    input_ids = input_ids.to(model.lm_head.weight.device)
    B, T = input_ids.shape
    answers: list[list[int]] = [[] for _ in range(B)]
    stopped, halted = [False] * B, [False] * B
    alive = list(range(B))
    uniforms = _uniforms(seeds, B, steps, greedy=sampler.temperature == 0).to(input_ids.device)
    decoder = _Decoder(model, input_ids, sampler, capacity=T + steps)
    for step in range(steps):
        ids = decoder.next(uniforms[:, step])
        stay = []
        for place, (row, token) in enumerate(zip(alive, ids.tolist(), strict=True)):
            if token == stop_token_id:
                stopped[row] = True
                continue
            answers[row].append(token)
            halted[row] = halt is not None and halt(answers[row])
            if not halted[row]:
                stay.append(place)
        alive = [alive[place] for place in stay]
        if not alive or step == steps - 1:
            break
        if len(stay) < len(ids):
            rows = torch.tensor(stay, device=ids.device)
            ids, uniforms = ids[rows], uniforms[rows]
            decoder.keep(rows)
        decoder.feed(ids)
    ended = zip(answers, stopped, halted, strict=True)
    return [Completion(tuple(ids), by_itself, cut) for ids, by_itself, cut in ended]


def _room(model: GPT, length: int, context_length: int | None) -> int:
    """How many tokens can follow a prompt of so many."""
    limit = min(context_length or model.config.block_size, model.config.block_size)
    if limit <= length:
        raise ValueError(f"a prompt of {length} tokens leaves no room for an answer within {limit}")
    return limit - length


def _uniforms(seeds: Sequence[int] | None, rows: int, steps: int, *, greedy: bool) -> Tensor:
    if greedy:
        return torch.zeros(rows, steps)
    if seeds is None or len(seeds) != rows:
        raise ValueError(f"sampling needs one seed for each of the {rows} rows")
    return torch.stack([draw_uniforms(seed, steps) for seed in seeds]).float()


class _Decoder:
    """A cache, the logits of the next token, and what the answers already hold."""

    @torch.inference_mode()
    def __init__(self, model: GPT, input_ids: Tensor, sampler: Sampler, *, capacity: int) -> None:
        self.model = model
        self.sampler = sampler
        B = input_ids.shape[0]
        # The cache is float32: attention of one query in bfloat16 is several times slower on a CPU.
        dtype = torch.float32 if input_ids.device.type == "cpu" else model.lm_head.weight.dtype
        self.cache = KVCache(
            model.config, batch_size=B, capacity=capacity, device=input_ids.device, dtype=dtype
        )
        self.seen = torch.zeros(
            B, model.config.vocab_size, dtype=torch.bool, device=input_ids.device
        )
        self._forward(input_ids)

    @torch.inference_mode()
    def next(self, uniforms: Tensor) -> Tensor:
        """Choose the next token of each row: [B] -> [B]."""
        return self.sampler.choose(self.logits, uniforms, seen=self.seen)

    @torch.inference_mode()
    def feed(self, ids: Tensor) -> None:
        """Let the model see the chosen tokens [B]."""
        self.seen.scatter_(1, ids[:, None], True)
        self._forward(ids[:, None])

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.cache.keep(rows)
        self.seen = self.seen[rows]

    def _forward(self, input_ids: Tensor) -> None:
        hidden = self.model.hidden_states(input_ids, cache=self.cache)
        self.logits: Tensor = self.model.lm_head(hidden[:, -1])
