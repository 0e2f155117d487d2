"""`minigpt chat`: a checkpoint answers questions."""

import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from minigpt.corpus.clusters import Clusters
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID
from minigpt.errors import DataError
from minigpt.evaluation.repetition import loop_start
from minigpt.events import Report, ignore
from minigpt.model.checkpoint import Checkpoint, load_checkpoint
from minigpt.model.decoder import Decoder
from minigpt.model.generation import Completion, complete
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler
from minigpt.settings import ChatSettings, Settings

MEMORY_HINT = "use --device cpu"

StopReason = Literal["stop", "length", "loop", "interrupted", "too long"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and what the model said.

    Attributes:
        question: What was asked.
        text: What was answered.
        stop_reason: "stop" when it ended by itself, "length" when the limit cut it, "loop" when it
            only repeated itself, "interrupted" when it was stopped, "too long" when the question
            leaves the model no room.
        seed: Draws the same answer again.
        tokens: Tokens of the answer.
        seconds: Time it took; that of its whole batch when questions were answered together.
        tokens_per_s: Speed; that of its whole batch, with the tokens of all its answers.
        seconds_to_first: Time to its first token; None when it was answered in a batch or is empty.
        unknown: Characters of the question that the vocabulary lacks.
    """

    question: str
    text: str
    stop_reason: StopReason
    seed: int
    tokens: int
    seconds: float
    tokens_per_s: float
    seconds_to_first: float | None
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
        self.path = checkpoint.path
        self.tokenizer = Tokenizer(checkpoint.vocab)
        self.context_length = min(checkpoint.info.max_length, checkpoint.config.block_size)
        self.model = runtime.answering(checkpoint.build())
        self.parameters = checkpoint.config.parameters
        self.last = Answer("", "", "stop", 0, 0, 0.0, 0.0, None, ())
        self._decoder = Decoder(self.model, rows=1, capacity=self.context_length, sampler=Sampler())
        self._set_seed(settings.seed)
        self._apply(settings)

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

    def configure(self, settings: ChatSettings, *, reseed: bool = False) -> None:
        """Draw the next answers by other settings; the model stays.

        Args:
            settings: Those of the next answers.
            reseed: Begin at their seed; else the row of seeds goes on.
        """
        if reseed:
            self._set_seed(settings.seed)
        self._apply(settings)

    def warm_up(self) -> None:
        """Do now, while nobody waits, what would keep the first answer waiting.

        Raises:
            CheckpointError: The model's weights are no numbers.
            DeviceError: The device is out of memory.
        """
        with self.runtime.memory_guard(MEMORY_HINT):
            self._decoder.record()
            steps = min(2, self.context_length - 1)
            for _ in self._decoder.write([[SEP_ID]], seeds=[0], steps=steps):
                pass

    @property
    def is_greedy(self) -> bool:
        """Whether a question has one answer only, whatever the seed."""
        return self.settings.temperature == 0 or self.settings.top_k == 1

    @property
    def next_seed(self) -> int:
        """The seed of the next answer."""
        return (self._first_seed + self._asked) % 2**63

    def ask(self, question: str) -> Generator[str, None, None]:
        """Yield the answer as it is drawn; `last` is the whole of it afterwards.

        A piece is one character, with the marks that belong to it.

        Raises:
            CheckpointError: The model's weights are no numbers.
            DataError: The question leaves the model no room for an answer.
            DeviceError: The device is out of memory.
        """
        prompt = self.tokenizer.encode_prompt(question)
        if not self._fits(prompt):
            raise DataError(self._refusal(prompt), hint="ask a shorter question")
        seed = self._take_seed()
        started = time.monotonic()
        first: float | None = None
        ids: list[int] = []
        said: list[str] = []
        clusters = Clusters(self.tokenizer.vocab.tokens)
        reason: StopReason = "interrupted"
        try:
            for token in self._draw(prompt, seed):
                if token == SEP_ID:
                    ended: StopReason = "stop"
                    break
                ids.append(token)
                first = time.monotonic() - started if first is None else first
                if piece := clusters.add(self.tokenizer.decode([token])):
                    said.append(piece)
                    yield piece
                if self._loops(ids):
                    ended = "loop"
                    break
            else:
                ended = "length"
            if piece := clusters.end():
                said.append(piece)
                yield piece
            reason = ended
        finally:
            seconds = time.monotonic() - started
            self.last = Answer(
                question=question,
                text="".join(said),
                stop_reason=reason,
                seed=seed,
                tokens=len(ids),
                seconds=seconds,
                tokens_per_s=len(ids) / max(seconds, 1e-9),
                seconds_to_first=first,
                unknown=tuple(self.tokenizer.unknown(question)),
            )

    def ask_many(self, questions: Sequence[str]) -> list[Answer]:
        """Answer several questions together, in order; each gets what it would get alone.

        Raises:
            CheckpointError: The model's weights are no numbers.
            DeviceError: The device is out of memory.
        """
        seeds = [self._take_seed() for _ in questions]
        started = time.monotonic()
        completions = self._complete(questions, seeds)
        seconds = time.monotonic() - started
        tokens = sum(len(completion.ids) for completion in completions.values())
        answers = []
        for index, question in enumerate(questions):
            completion = completions.get(index)
            ids = completion.ids if completion is not None else ()
            answers.append(
                Answer(
                    question=question,
                    text=self.tokenizer.decode(ids),
                    stop_reason=_reason(completion),
                    seed=seeds[index],
                    tokens=len(ids),
                    seconds=seconds,
                    tokens_per_s=tokens / max(seconds, 1e-9),
                    seconds_to_first=None,
                    unknown=tuple(self.tokenizer.unknown(question)),
                )
            )
        return answers

    def _draw(self, prompt: Sequence[int], seed: int) -> Iterator[int]:
        """The ids of one answer, its stop token included."""
        with self.runtime.memory_guard(MEMORY_HINT):
            room = self.context_length - len(prompt)
            steps = min(self.settings.max_new_tokens, room)
            for (token,) in self._decoder.write([prompt], seeds=[seed], steps=steps):
                yield token

    def _complete(self, questions: Sequence[str], seeds: Sequence[int]) -> dict[int, Completion]:
        """The answers in ids, by the index of their question; none where it leaves no room."""
        prompts = [self.tokenizer.encode_prompt(question) for question in questions]
        fitting = [index for index, prompt in enumerate(prompts) if self._fits(prompt)]
        with self.runtime.memory_guard(MEMORY_HINT):
            completions = complete(
                self.model,
                [prompts[index] for index in fitting],
                sampler=self.sampler,
                max_new_tokens=self.settings.max_new_tokens,
                stop_token_id=SEP_ID,
                context_length=self.context_length,
                seeds=[seeds[index] for index in fitting],
                halt=self._loops,
            )
            return {fitting[place]: completion for place, completion in completions}

    def _loops(self, ids: Sequence[int]) -> bool:
        return self.settings.loop_guard and loop_start(ids) is not None

    def _fits(self, prompt: Sequence[int]) -> bool:
        return len(prompt) < self.context_length

    def _refusal(self, prompt: Sequence[int]) -> str:
        return (
            f"the question has {len(prompt) - 1} characters, the model was trained on pairs of "
            f"at most {self.context_length} tokens and needs room for an answer"
        )

    def _apply(self, settings: ChatSettings) -> None:
        self.settings = settings
        self.sampler = Sampler(
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            repetition_penalty=settings.repetition_penalty,
        )
        self._decoder.use(self.sampler)

    def _set_seed(self, seed: int) -> None:
        self._first_seed = seed if seed >= 0 else secrets.randbelow(2**32)
        self._asked = 0

    def _take_seed(self) -> int:
        seed = self.next_seed
        self._asked += 1
        return seed


def _reason(completion: Completion | None) -> StopReason:
    if completion is None:
        return "too long"
    if completion.halted:
        return "loop"
    return "stop" if completion.stopped else "length"
