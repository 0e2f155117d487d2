"""The same figures for one kind of question or answer at a time."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minigpt.evaluation.bootstrap import Interval
from minigpt.evaluation.rows import Row
from minigpt.evaluation.similarity import NEAR as NEAR_SCORE
from minigpt.evaluation.tally import Tally

QUESTION_WORDS = (
    ("为什么", r"为什么|为何|为啥|什么原因"),
    ("怎么", r"怎么|怎样|如何|咋"),
    (
        "几, 多少",
        r"多少|(?<![许很众更最不])多(?:大|长|高|远|久|重|深|快|宽|厚)"
        r"|(?<!茶)几(?!乎|何|内亚|率|丁质)",
    ),
    ("谁", r"谁|(?<!任)何人|什么人"),
    ("哪", r"哪"),
    ("什么", r"什么|啥|(?<![几任])何(?!况)"),
    ("吗, 是否", r"吗(?!啡)|是否|是不是|有没有|能不能|会不会|可不可以|对不对"),
)
"""What is asked for, and how one recognises it. The first that stands anywhere in the question
counts, the narrower before the wider: 为什么 holds 什么, 什么人 asks who, and in 你知道什么是电吗
the 吗 only makes it polite."""
OTHER = "other"
WITHOUT_TOPIC = "none"
NEAR, NEW = "near", "new"

TITLES = {
    "question_word": ("By question word", "the word that says what is asked for"),
    "answer_length": ("By length", "characters of the expected answer"),
    "topic": ("By topic", "the topic that the data names"),
    "training_question": (
        "By what was trained on",
        f"near: a training question shares {NEAR_SCORE:.0%} or more of the character 3-grams; "
        "new: none does",
    ),
}
"""Title and meaning of each way to divide the pairs, by its name in JSON."""

LENGTHS = (1, 2, 4, 8, 16, 32, 64)
"""Shortest answers, in characters, of the buckets by length."""

BUCKET_FIGURES = (
    "accuracy",
    "exact_match",
    "character_f1",
    "loss_answer",
    "token_accuracy_answer",
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The figures of some of the pairs.

    Attributes:
        label: What they have in common.
        pairs: How many they are.
        metrics: Figures by name.
        intervals: Their 95 % intervals.
    """

    label: str
    pairs: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """All pairs, divided in one way.

    Attributes:
        title: As in the report.
        meaning: What divides them, in one line.
        buckets: Those that hold a pair.
    """

    title: str
    meaning: str
    buckets: tuple[Bucket, ...]


def question_word(question: str) -> str:
    """What a Chinese question asks for: a label of QUESTION_WORDS, or OTHER."""
    for label, pattern in QUESTION_WORDS:
        if re.search(pattern, question):
            return label
    return OTHER


def length_label(answer: str) -> str:
    """The bucket of an answer's length in characters, such as "8-15"."""
    place = max(i for i, shortest in enumerate(LENGTHS) if shortest <= max(1, len(answer)))
    if place + 1 == len(LENGTHS):
        return f"{LENGTHS[-1]}+"
    first, last = LENGTHS[place], LENGTHS[place + 1] - 1
    return str(first) if first == last else f"{first}-{last}"


def break_down(rows: Sequence[Row], tally: Tally, *, seed: int) -> dict[str, Breakdown]:
    """Divide the pairs by question word, length, topic and nearness to a training question.

    Topics and nearness only where they are known; the figures of a bucket are those of
    BUCKET_FIGURES that were measured.
    """
    words = [question_word(row.question) for row in rows]
    lengths = [length_label(row.expected) for row in rows]
    topics = [row.topic for row in rows]
    divided = [
        ("question_word", words, [*(label for label, _ in QUESTION_WORDS), OTHER]),
        ("answer_length", lengths, [length_label("字" * shortest) for shortest in LENGTHS]),
    ]
    if any(topics):
        named = [topic or WITHOUT_TOPIC for topic in topics]
        divided.append(("topic", named, [topic for topic, _ in Counter(named).most_common()]))
    if any(row.is_near is not None for row in rows):
        near = [NEAR if row.is_near else NEW for row in rows]
        divided.append(("training_question", near, [NEAR, NEW]))
    return {
        name: Breakdown(*TITLES[name], tuple(_buckets(labels, order, tally, seed)))
        for name, labels, order in divided
    }


def _buckets(
    labels: Sequence[str], order: Sequence[str], tally: Tally, seed: int
) -> Iterator[Bucket]:
    for label in order:
        rows = np.flatnonzero([each == label for each in labels])
        if len(rows):
            figures, intervals = tally.figures(rows), tally.intervals(rows, seed=seed)
            measured = [
                name for name in BUCKET_FIGURES if not math.isnan(figures.get(name, math.nan))
            ]
            yield Bucket(
                label,
                len(rows),
                {name: figures[name] for name in measured},
                {name: intervals[name] for name in measured if math.isfinite(intervals[name].low)},
            )
