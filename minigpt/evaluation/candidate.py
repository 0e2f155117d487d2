"""A model that sits the exam: it scores the true answers, and gives its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from minigpt.corpus.tokenizer import Tokenizer
from minigpt.evaluation.answers import Said, answer_all, seconds_to_first
from minigpt.evaluation.encoded import Encoded
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.rows import Row, build_rows, with_answer, with_memory
from minigpt.evaluation.surprise import Surprises, measure_surprise
from minigpt.evaluation.tally import Tally, tally_surprises, with_rows
from minigpt.events import Report, ignore
from minigpt.model.checkpoint import Checkpoint
from minigpt.model.runtime import Runtime
from minigpt.settings import EvalSettings

SCORED = 64  # pairs for a forward pass over true answers, where the device decides


@dataclass(frozen=True, eq=False)
class Measurement:
    """What became of the pairs.

    Attributes:
        encoded: The pairs.
        rows: One for each pair.
        tally: What each pair adds to each figure.
        speed: Figures of the group "speed".
    """

    encoded: Encoded
    rows: list[Row]
    tally: Tally
    speed: dict[str, float]

    @property
    def has_answers(self) -> bool:
        """Whether answers were generated."""
        return "exact_match" in self.tally.columns


class Candidate:
    """A checkpoint's model on its device."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        runtime: Runtime,
        settings: EvalSettings,
        *,
        report: Report = ignore,
    ) -> None:
        self.checkpoint = checkpoint
        self.runtime = runtime
        self.settings = settings
        self.report = report
        self.model = runtime.answering(checkpoint.build())
        self.tokenizer = Tokenizer(checkpoint.vocab)

    def measure(self, encoded: Encoded, memory: Memory | None) -> Measurement:
        """Everything that can be said of these pairs."""
        started = time.perf_counter()
        surprises = self.surprises(encoded)
        targets = float(surprises.all.tokens.sum())
        speed = {"targets_per_s": targets / _seconds_since(started)}
        rows = build_rows(encoded.pairs, (surprises.answer.nats / surprises.answer.tokens).tolist())
        if self.settings.generate:
            questions = [pair.question for pair in encoded.pairs]
            started = time.perf_counter()
            rows = list(map(with_answer, rows, self._answer(questions)))
            speed["questions_per_s"] = len(questions) / _seconds_since(started)
            speed["time_to_first_s"] = self._seconds_to_first(questions)
        if self.runtime.quantize != "none":
            full = self._full().surprises(encoded)
            speed["quantization_loss"] = surprises.answer.loss - full.answer.loss
        if memory:
            rows = with_memory(rows, memory)
        tally = with_rows(tally_surprises(encoded, surprises), rows)
        return Measurement(encoded, rows, tally, speed)

    def surprises(self, encoded: Encoded) -> Surprises:
        """What each true text costs."""
        return measure_surprise(
            self.model,
            encoded.dataset,
            self.runtime,
            batch_tokens=(self.settings.batch_size or SCORED) * self.checkpoint.info.max_length,
            report=self.report,
        )

    def _full(self) -> "Candidate":
        """The same model with the weights that it was trained to."""
        runtime = replace(self.runtime, quantize="none", dtype=torch.float32)
        return Candidate(self.checkpoint, runtime, self.settings, report=self.report)

    def _rows(self) -> int:
        """Questions that are answered together."""
        config = self.checkpoint.config
        numbers = 2 * config.n_layer * config.n_embd * self.checkpoint.info.max_length
        return self.runtime.rows_at_once(numbers * self.runtime.dtype.itemsize)

    def _answer(self, questions: Sequence[str]) -> list[Said]:
        return answer_all(
            self.model,
            questions,
            self.tokenizer,
            max_new_tokens=self.settings.max_new_tokens,
            context_length=self.checkpoint.info.max_length,
            batch_size=self.settings.batch_size or self._rows(),
            report=self.report,
        )

    def _seconds_to_first(self, questions: Sequence[str]) -> float:
        return seconds_to_first(self.model, questions, self.tokenizer, self.runtime)


def _seconds_since(started: float) -> float:
    return max(1e-9, time.perf_counter() - started)
