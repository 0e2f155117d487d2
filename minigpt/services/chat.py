"""`minigpt chat`: a checkpoint answers questions."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch

from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID
from minigpt.errors import DataError
from minigpt.events import Report, ignore
from minigpt.model.checkpoint import Checkpoint, load_checkpoint
from minigpt.model.generation import complete, stream
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler
from minigpt.settings import ChatSettings, Settings

MEMORY_HINT = "use --device cpu"

StopReason = Literal["stop", "length", "interrupted", "too long"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and what the model said.

    Attributes:
        question: What was asked.
        text: What was answered.
        stop_reason: "stop" when it ended by itself, "length" when the limit cut it, "interrupted"
            when it was stopped, "too long" when the question leaves the model no room.
        seed: Draws the same answer again.
        tokens: Tokens of the answer.
        seconds: Time it took; that of its whole batch when questions were answered together.
        unknown: Characters of the question that the vocabulary lacks.
    """

    question: str
    text: str
    stop_reason: StopReason
    seed: int
    tokens: int
    seconds: float
    unknown: tuple[str, ...]


class ChatSession:
    """A loaded model that answers one question after another; each stands alone.

    Example:
        >>> from minigpt import ChatSession, load_settings
        >>> session = ChatSession.open(load_settings({"chat": {"temperature": 0}}))
        >>> "".join(session.ask("天空是什么颜色？")), session.last.stop_reason
        ('蓝色。', 'stop')
    """

    def __init__(self, checkpoint: Checkpoint, settings: ChatSettings, runtime: Runtime) -> None:
        self.runtime = runtime
        self.settings = settings
        self.tokenizer = Tokenizer(checkpoint.vocab)
        self.context_length = checkpoint.info.max_length
        self.model = checkpoint.build(runtime.device).to(runtime.dtype)
        self.sampler = Sampler(
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            repetition_penalty=settings.repetition_penalty,
        )
        self.last = Answer("", "", "stop", 0, 0, 0.0, ())
        self._first_seed = settings.seed if settings.seed >= 0 else secrets.randbelow(2**32)
        self._asked = 0

    @classmethod
    def open(cls, settings: Settings, *, report: Report = ignore) -> Self:
        """Load `[chat] checkpoint`.

        Raises:
            CheckpointError: It is missing, damaged or too new.
            DeviceError: The device is not there or out of memory.
        """
        runtime = Runtime.resolve(settings.runtime, training=False)
        with runtime.memory_guard(MEMORY_HINT):
            return cls(load_checkpoint(settings.chat.checkpoint), settings.chat, runtime)

    def ask(self, question: str) -> Iterator[str]:
        """Yield the answer's characters as they are drawn; `last` is the answer afterwards.

        Raises:
            DataError: The question leaves the model no room for an answer.
        """
        prompt = self.tokenizer.encode_prompt(question)
        if not self._fits(prompt):
            raise DataError(self._refusal(prompt), hint="ask a shorter question")
        seed = self._next_seed()
        started = time.monotonic()
        pieces: list[str] = []
        reason: StopReason = "interrupted"
        try:
            for ids in stream(
                self.model,
                torch.tensor([prompt], device=self.runtime.device),
                sampler=self.sampler,
                max_new_tokens=self.settings.max_new_tokens,
                stop_token_ids=[SEP_ID],
                context_length=self.context_length,
                seeds=[seed],
            ):
                token = int(ids.item())
                if token == SEP_ID:
                    reason = "stop"
                    break
                pieces.append(self.tokenizer.decode([token]))
                yield pieces[-1]
            else:
                reason = "length"
        finally:
            self.last = Answer(
                question=question,
                text="".join(pieces),
                stop_reason=reason,
                seed=seed,
                tokens=len(pieces),
                seconds=time.monotonic() - started,
                unknown=tuple(self.tokenizer.unknown(question)),
            )

    def ask_many(self, questions: Sequence[str]) -> list[Answer]:
        """Answer several questions together, in order; each gets what it would get alone."""
        prompts = [self.tokenizer.encode_prompt(question) for question in questions]
        seeds = [self._next_seed() for _ in questions]
        fitting = [index for index, prompt in enumerate(prompts) if self._fits(prompt)]
        started = time.monotonic()
        with self.runtime.memory_guard(MEMORY_HINT):
            completions = {
                fitting[place]: completion
                for place, completion in complete(
                    self.model,
                    [prompts[index] for index in fitting],
                    sampler=self.sampler,
                    max_new_tokens=self.settings.max_new_tokens,
                    stop_token_id=SEP_ID,
                    context_length=self.context_length,
                    seeds=[seeds[index] for index in fitting],
                )
            }
        seconds = time.monotonic() - started
        answers = []
        for index, question in enumerate(questions):
            completion = completions.get(index)
            reason: StopReason = "too long"
            if completion is not None:
                reason = "stop" if completion.stopped else "length"
            ids = completion.ids if completion is not None else ()
            answers.append(
                Answer(
                    question=question,
                    text=self.tokenizer.decode(ids),
                    stop_reason=reason,
                    seed=seeds[index],
                    tokens=len(ids),
                    seconds=seconds,
                    unknown=tuple(self.tokenizer.unknown(question)),
                )
            )
        return answers

    def _fits(self, prompt: Sequence[int]) -> bool:
        return len(prompt) < self.context_length

    def _refusal(self, prompt: Sequence[int]) -> str:
        return (
            f"the question has {len(prompt) - 1} characters, the model was trained on pairs of "
            f"at most {self.context_length} tokens and needs room for an answer"
        )

    def _next_seed(self) -> int:
        seed = (self._first_seed + self._asked) % 2**63
        self._asked += 1
        return seed
