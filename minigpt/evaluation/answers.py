"""The answers that a model gives: greedy, many questions at once, and how soon the first comes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID
from minigpt.events import Progress, Report, ignore
from minigpt.model.generation import complete, stream
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler

GREEDY = Sampler(temperature=0)
TIMED_QUESTIONS = 5


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said.

    Attributes:
        text: The answer.
        ended: Whether it ended by itself; otherwise it was cut off.
    """

    text: str
    ended: bool


def answer_all(
    model: GPT,
    questions: Sequence[str],
    tokenizer: Tokenizer,
    *,
    max_new_tokens: int,
    context_length: int,
    batch_size: int,
    report: Report = ignore,
) -> list[Said]:
    """The answer to each question, the likeliest token each time; alike for any batch size.

    Args:
        model: In evaluation mode.
        questions: Each leaves room for an answer within `context_length`.
        tokenizer: That of the model.
        max_new_tokens: Longest answer.
        context_length: Positions that the model was trained on.
        batch_size: Questions at once.
        report: Told how far it is.
    """
    said: dict[int, Said] = {}
    completions = complete(
        model,
        [tokenizer.encode_prompt(question) for question in questions],
        sampler=GREEDY,
        max_new_tokens=max_new_tokens,
        stop_token_id=SEP_ID,
        context_length=context_length,
        batch_size=batch_size,
    )
    for index, completion in completions:
        said[index] = Said(tokenizer.decode(completion.ids), completion.stopped)
        report(Progress("answer", len(said), len(questions), "questions"))
    return [said[index] for index in range(len(questions))]


def seconds_to_first(
    model: GPT, questions: Sequence[str], tokenizer: Tokenizer, runtime: Runtime
) -> float:
    """Median seconds from a question alone to the first token of its answer.

    Args:
        model: In evaluation mode.
        questions: At least one; some of middle length are asked.
        tokenizer: That of the model.
        runtime: Where the model is.
    """
    ordered = sorted(questions, key=len)
    middle = max(0, (len(ordered) - TIMED_QUESTIONS) // 2)
    chosen = ordered[middle : middle + TIMED_QUESTIONS]
    times = []
    for question in [chosen[0], *chosen]:  # the first one warms up
        runtime.synchronize()
        started = time.perf_counter()
        ids = torch.tensor([tokenizer.encode_prompt(question)], device=runtime.device)
        next(stream(model, ids, sampler=GREEDY, max_new_tokens=1))
        runtime.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[1:])
