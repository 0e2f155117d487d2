"""Every figure that an evaluation can give: its name, what it means, which way is better.

Written here once, for the terminal, the report and `--fail-under`.
"""

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

Form = Literal["share", "number", "rate", "seconds", "signed"]
Need = Literal["answers", "accepted", "training", "quantized"]

BITS = 1 / math.log(2)  # in a nat


class Span(Protocol):
    """A low and a high value."""

    @property
    def low(self) -> float:
        """The lower."""

    @property
    def high(self) -> float:
        """The higher."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and how it comes from sums over pairs.

    Attributes:
        name: As in JSON and for `--fail-under`.
        meaning: One line for a reader who has never met it.
        group: A key of GROUPS.
        form: How a value is written.
        higher: Whether a higher value is better.
        above: The column whose sum is divided; empty where it is measured in another way.
        below: The column that it is divided by.
        factor: What the quotient is multiplied by.
        exponential: Whether e is raised to it at the end.
        needs: What it cannot be measured without: generated answers, accepted answers in the
            data, the training data, quantised weights.
    """

    name: str
    meaning: str
    group: str
    form: Form = "share"
    higher: bool = True
    above: str = ""
    below: str = "pairs"
    factor: float = 1.0
    exponential: bool = False
    needs: tuple[Need, ...] = ()

    @property
    def label(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")

    def reaches(self, value: float, wanted: float) -> bool:
        """Whether the value is at least as good as the wanted one; NaN never is."""
        return value >= wanted if self.higher else value <= wanted

    def shown(self, value: float) -> str:
        """A value of it, as people read it."""
        return _shown(value, self.form)

    def span(self, interval: Span | None) -> str:
        """An interval of it, as people read it; empty where there is none."""
        if interval is None:
            return ""
        return f"{self.shown(interval.low)} to {self.shown(interval.high)}"


GROUPS = {
    "answers": "The true answers, given the question and the text before",
    "everything": "Questions and answers, given the text before",
    "said": "The answers that the model gives, the likeliest character each time",
    "manner": "How it answers",
    "memory": "What it has from its training data",
    "data": "The data",
    "speed": "Speed on this machine",
}


def _teacher_forced() -> Iterator[Figure]:
    for part, group, of in (
        ("answer", "answers", "of an answer or its end"),
        ("all", "everything", "of a pair"),
    ):
        loss = Figure(
            f"loss_{part}",
            f"surprise by each token {of}, in nats: 0 is certain",
            group,
            form="number",
            higher=False,
            above=f"nats_{part}",
            below=f"tokens_{part}",
        )
        yield loss
        yield replace(
            loss,
            name=f"perplexity_{part}",
            meaning="e to the loss: as unsure as among so many equally likely tokens",
            exponential=True,
        )
        for unit, what in (("character", "character"), ("byte", "byte in UTF-8")):
            yield replace(
                loss,
                name=f"bits_per_{unit}_{part}",
                meaning=f"to write the text down with the model's help, for each {what}",
                below=f"{unit}s_{part}",
                factor=BITS,
            )
        for name, hits, what in (
            ("token", "hits", "the likeliest one is the true one"),
            ("top5", "top5", "the true one is among the five likeliest"),
        ):
            yield Figure(
                f"{name}_accuracy_{part}",
                f"tokens {of} for which {what}",
                group,
                above=f"{hits}_{part}",
                below=f"tokens_{part}",
            )


def _said() -> Iterator[Figure]:
    """How good the generated answers are."""
    yield Figure(
        "accuracy",
        "answers that contain an accepted one",
        "said",
        above="accuracy",
        below="judged",
        needs=("answers", "accepted"),
    )
    for name, meaning in (
        ("exact_match", "answers that are the expected one, white space at the ends aside"),
        ("character_f1", "characters shared with the expected answer, their order aside"),
        ("cmrc_exact_match", "exact match as CMRC 2018 has it: punctuation and case aside"),
        ("cmrc_f1", "F1 as CMRC 2018 has it: of the longest run shared, gaps not allowed"),
        ("rouge_l", "ROUGE-L: of the longest sequence shared, gaps allowed"),
    ):
        yield Figure(name, meaning, "said", above=name, needs=("answers",))
    for name, meaning in (
        ("chrf", "chrF: runs of 1 to 6 characters shared; what is missing counts most"),
        ("bleu4", "BLEU-4: runs of 1 to 4 characters shared; what is too short pays"),
    ):
        yield Figure(name, meaning, "said", needs=("answers",))


def _manner() -> Iterator[Figure]:
    """What the generated answers look like, right or wrong."""
    for name, meaning, higher in (
        ("ended_by_itself", "answers that the model ended with its stop token", True),
        ("cut_by_limit", "answers cut off because they grew too long", False),
        ("empty", "answers without a character", False),
        ("repeated", "runs of 4 characters that stood in the same answer before", False),
        ("loops", "answers that end by saying the same again and again", False),
    ):
        yield Figure(name, meaning, "manner", higher=higher, above=name, needs=("answers",))
    yield Figure(
        "length_ratio",
        "characters said for each one expected: 1 is as long",
        "manner",
        form="number",
        above="characters_said",
        below="characters_answer",
        needs=("answers",),
    )
    for n, what in ((1, "characters"), (2, "pairs of neighbours")):
        meaning = f"different ones among all {what} said: low is monotonous"
        yield Figure(f"distinct_{n}", meaning, "manner", needs=("answers",))


def _memory() -> Iterator[Figure]:
    """How the model does on its training data, and what it took over word for word."""
    loss = Figure(
        "loss_answer_train",
        "loss_answer on as many pairs of the training data",
        "memory",
        form="number",
        higher=False,
        needs=("training",),
    )
    yield loss
    yield replace(loss, name="loss_gap", meaning="loss_answer less that on the training pairs")
    yield Figure(
        "token_accuracy_answer_train",
        "token_accuracy_answer on the same training pairs",
        "memory",
        needs=("training",),
    )
    yield Figure(
        "memorised",
        "answers said that stand word for word among the training answers",
        "memory",
        higher=False,
        above="memorised",
        needs=("answers", "training"),
    )


def _data() -> Iterator[Figure]:
    """What of the data the model cannot read."""
    yield Figure(
        "unknown_share",
        "tokens of the data that are <unk>: characters not in the vocabulary",
        "data",
        higher=False,
        above="unknown",
        below="tokens",
    )
    yield Figure(
        "in_training",
        "pairs that stand word for word in the training data: not new to the model",
        "data",
        higher=False,
        above="in_training",
        needs=("training",),
    )
    yield Figure("too_long_share", "pairs left out, too long for the model", "data", higher=False)


def _speed() -> Iterator[Figure]:
    yield Figure("targets_per_s", "tokens scored per second", "speed", form="rate")
    asked = Figure(
        "questions_per_s", "questions answered per second", "speed", form="rate", needs=("answers",)
    )
    yield asked
    yield replace(
        asked,
        name="time_to_first_s",
        meaning="from one question alone to the first character of its answer",
        form="seconds",
        higher=False,
    )
    yield Figure(
        "quantization_loss",
        "loss_answer less that of the same model with its full weights",
        "speed",
        form="signed",
        higher=False,
        needs=("quantized",),
    )


FIGURES = {
    figure.name: figure
    for part in (_teacher_forced, _said, _manner, _memory, _data, _speed)
    for figure in part()
}


def nearest_figure(name: str) -> str:
    """What to type instead of a name that no figure has."""
    close = difflib.get_close_matches(name, FIGURES, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"figures: {', '.join(FIGURES)}"


def _shown(value: float, form: Form) -> str:
    if math.isnan(value):
        return "-"
    match form:
        case "share":
            return f"{value:.1%}"
        case "seconds":
            return f"{value * 1000:,.1f} ms"
        case "signed":
            return f"{value:+.4f}"
        case "rate":
            return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
        case _:
            return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"
