"""What the training data holds of the questions and answers that are measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from minigpt.corpus.qa import QAPair
from minigpt.evaluation.similarity import NEAR, QuestionIndex


@dataclass(frozen=True, slots=True)
class Relative:
    """The training question that is nearest to a question.

    Attributes:
        question: As it stands in the training data.
        similarity: Jaccard index of their character 3-grams, from 0 to 1.
        is_near: Whether both ask nearly the same.
    """

    question: str
    similarity: float
    is_near: bool


@dataclass(frozen=True)
class Memory:
    """The pairs that a model was trained on.

    Attributes:
        pairs: At least one, in the order of the file.
    """

    pairs: Sequence[QAPair]

    @cached_property
    def common_answer(self) -> str:
        """The answer that most pairs have; the first of equals."""
        return Counter(pair.answer for pair in self.pairs).most_common(1)[0][0]

    @cached_property
    def _answers(self) -> frozenset[str]:
        return frozenset(pair.answer.strip() for pair in self.pairs)

    @cached_property
    def _asked_and_answered(self) -> frozenset[tuple[str, str]]:
        return frozenset((pair.question, pair.answer) for pair in self.pairs)

    def holds_answer(self, answer: str) -> bool:
        """Whether an answer that says something stands among the training answers."""
        return bool(answer.strip()) and answer.strip() in self._answers

    def holds_pair(self, question: str, answer: str) -> bool:
        """Whether both stand together in the training data."""
        return (question, answer) in self._asked_and_answered

    def relatives(self, questions: Sequence[str]) -> list[Relative]:
        """The nearest training question to each question."""
        index = QuestionIndex([pair.question for pair in self.pairs])
        return [
            Relative(self.pairs[near.index].question, near.score, near.score >= NEAR)
            for near in index.nearest(questions)
        ]
