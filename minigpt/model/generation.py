"""From a prompt to an answer: one stream of ids, or many prompts at once."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.model.decoder import Decoder
from minigpt.model.gpt import GPT
from minigpt.model.sampling import Sampler

WORTH_RECORDING = 64  # prompts; see `Decoder.record`


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
    steps = min(max_new_tokens, room(model, T, context_length))
    decoder = Decoder(model, rows=B, capacity=T + steps, sampler=sampler)
    stops = frozenset(stop_token_ids)
    ids: list[int] = []
    with contextlib.closing(decoder.write(input_ids.tolist(), seeds=seeds, steps=steps)) as new:
        for drawn in new:
            # A finished row repeats its stop.
            ids = [
                old if old in stops else now for old, now in zip(ids or drawn, drawn, strict=True)
            ]
            yield torch.tensor(ids, device=input_ids.device)
            if stops.issuperset(ids):
                return


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
    """Answer many prompts together; where one is finished, the next one begins.

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
        Index of a prompt and its completion, in the order in which they finish.

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
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    limits = [min(max_new_tokens, room(model, len(each), context_length)) for each in prompts]
    if not order:
        return
    decoder = Decoder(
        model,
        rows=min(batch_size, len(prompts)),
        capacity=max(len(each) + limit for each, limit in zip(prompts, limits, strict=True)),
        sampler=sampler,
    )
    if len(prompts) >= WORTH_RECORDING:
        decoder.record()
    waiting, free = deque(order), list(reversed(range(decoder.rows)))
    texts: dict[int, _Text] = {}  # by row
    while waiting or texts:
        if waiting and len(free) >= min(len(waiting), max(1, decoder.rows // 8)):
            begun = [(free.pop(), waiting.popleft()) for _ in range(min(len(free), len(waiting)))]
            first = decoder.admit(
                [row for row, _ in begun],
                [prompts[index] for _, index in begun],
                seeds=None if seeds is None else [seeds[index] for _, index in begun],
                steps=max(limits[index] for _, index in begun),
            )
            texts |= {row: _Text(index, limits[index]) for row, index in begun}
            heard = [(row, (token,)) for (row, _), token in zip(begun, first, strict=True)]
        else:
            columns = list(zip(*decoder.run(decoder.run_ahead), strict=True))
            heard = [(row, columns[row]) for row in texts]
        for row, tokens in heard:
            if texts[row].hear(tokens, stop_token_id, halt):
                text = texts.pop(row)
                free.append(row)
                decoder.finish(row)
                yield text.index, Completion(tuple(text.ids), text.stopped, text.halted)
        if decoder.may_shrink and not waiting and texts and 2 * len(texts) <= decoder.rows:
            decoder.keep(list(texts))
            texts, free = dict(enumerate(texts.values())), []


class _Text:
    """An answer that is being written."""

    def __init__(self, index: int, limit: int) -> None:
        self.index = index
        self.limit = limit
        self.ids: list[int] = []
        self.stopped = self.halted = False

    def hear(
        self, tokens: Sequence[int], stop: int, halt: Callable[[Sequence[int]], bool] | None
    ) -> bool:
        """Take the next tokens, and tell whether the answer ends among them."""
        if halt is None and stop not in tokens and len(self.ids) + len(tokens) < self.limit:
            self.ids += tokens
            return False
        for token in tokens:
            if token == stop:
                self.stopped = True
                return True
            self.ids.append(token)
            self.halted = halt is not None and halt(self.ids)
            if self.halted or len(self.ids) == self.limit:
                return True
        return False


def room(model: GPT, length: int, context_length: int | None) -> int:
    """How many tokens can follow a prompt of so many.

    Raises:
        ValueError: None can.
    """
    limit = min(context_length or model.config.block_size, model.config.block_size)
    if limit <= length:
        raise ValueError(f"a prompt of {length} tokens leaves no room for an answer within {limit}")
    return limit - length
