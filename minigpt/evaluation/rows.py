"""What became of each question: the answer, its scores, and what the training data held of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.answers import Said
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.metrics import (
    character_f1,
    cmrc_exact_match,
    cmrc_f1,
    contains_any,
    exact_match,
)
from minigpt.evaluation.overlap import rouge_l
from minigpt.evaluation.repetition import is_loop, repeated_share


@dataclass(frozen=True, slots=True)
class Row:
    """One question and what became of it; what was not measured is None.

    Scores have the names of the figures that they are a part of. Where the data names several
    accepted answers, each score is that of the nearest of them.

    Attributes:
        question: What was asked.
        expected: What the data says.
        accepted: All answers that the data accepts; empty where it names none.
        topic: Its topic; empty where the data has none.
        loss_answer: Nats per token of the expected answer and its stop.
        answer: What the model said.
        ended_by_itself: Whether it ended with a stop token.
        accuracy: Whether the answer contains an accepted one.
        exact_match: Whether it is the expected one.
        character_f1: Characters in common.
        cmrc_exact_match: As CMRC 2018 defines it.
        cmrc_f1: As CMRC 2018 defines it.
        rouge_l: Longest common subsequence.
        repeated: Share of its 4-grams that stood in it before.
        loops: Whether it ends in a loop.
        memorised: Whether it stands among the training answers.
        in_training: Whether question and expected answer stand together in the training data.
        nearest_training_question: The one that shares most of its 3-grams.
        similarity: The share, as Jaccard index.
        is_near: Whether both ask nearly the same.
    """

    question: str
    expected: str
    accepted: tuple[str, ...]
    topic: str
    loss_answer: float
    answer: str | None = None
    ended_by_itself: bool | None = None
    accuracy: float | None = None
    exact_match: float | None = None
    character_f1: float | None = None
    cmrc_exact_match: float | None = None
    cmrc_f1: float | None = None
    rouge_l: float | None = None
    repeated: float | None = None
    loops: bool | None = None
    memorised: bool | None = None
    in_training: bool | None = None
    nearest_training_question: str | None = None
    similarity: float | None = None
    is_near: bool | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """What counts as right: the accepted answers, or else the one answer."""
        return self.accepted or (self.expected,)

    @property
    def is_right(self) -> bool:
        """Whether the answer contains an accepted one, or is the expected one."""
        return bool(self.accuracy or self.exact_match)


def build_rows(pairs: Sequence[QAPair], losses: Sequence[float]) -> list[Row]:
    """A row for each pair, without an answer.

    Args:
        pairs: What is asked.
        losses: Nats per token of each answer.
    """
    return [
        Row(pair.question, pair.answer, pair.answers, pair.topic, loss)
        for pair, loss in zip(pairs, losses, strict=True)
    ]


def with_answer(row: Row, said: Said) -> Row:
    """The row with what the model said, compared with all that counts as right."""
    answer, expected = said.text, row.references
    return replace(
        row,
        answer=answer,
        ended_by_itself=said.ended,
        accuracy=float(contains_any(answer, row.accepted)) if row.accepted else None,
        exact_match=float(any(exact_match(answer, text) for text in expected)),
        character_f1=max(character_f1(answer, text) for text in expected),
        cmrc_exact_match=cmrc_exact_match(answer, expected),
        cmrc_f1=cmrc_f1(answer, expected),
        rouge_l=max(rouge_l(answer, text) for text in expected),
        repeated=repeated_share(answer),
        loops=is_loop(answer),
    )


def with_memory(rows: Sequence[Row], memory: Memory) -> list[Row]:
    """The rows with what the training data holds of them."""
    relatives = memory.relatives([row.question for row in rows])
    return [
        replace(
            row,
            memorised=None if row.answer is None else memory.holds_answer(row.answer),
            in_training=memory.holds_pair(row.question, row.expected),
            nearest_training_question=relative.question,
            similarity=relative.similarity,
            is_near=relative.is_near,
        )
        for row, relative in zip(rows, relatives, strict=True)
    ]
