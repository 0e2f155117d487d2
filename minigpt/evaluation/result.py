"""Everything that an evaluation found, put together."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.evaluation.baselines import Baseline, answer_baseline, guess_baselines
from minigpt.evaluation.bootstrap import Interval
from minigpt.evaluation.breakdown import Breakdown, break_down
from minigpt.evaluation.candidate import Measurement
from minigpt.evaluation.comparison import Comparison
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.gap import Gap
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.repetition import distinct_n
from minigpt.evaluation.samples import Samples, choose_samples
from minigpt.evaluation.verdict import Verdict
from minigpt.model.checkpoint import Checkpoint
from minigpt.settings import EvalSettings

MUCH_UNKNOWN = 0.005


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What was measured.

    Attributes:
        file: The data.
        checkpoint: The model.
        pairs: Pairs measured.
        left_out: Pairs longer than the model was trained on; not in any figure but their share.
        metrics: Every figure that could be measured; `minigpt.evaluation.figures` explains them.
        intervals: The 95 % intervals of those that are made of pairs.
        baselines: What guesses come to, by name.
        verdict: What the model most needs.
        comparison: The second model beside it, if there is one.
        breakdowns: The figures for one kind of pairs at a time, by name.
        samples: Some rows to look at.
        remarks: What to mind in reading the figures.
        facts: All that is needed to measure the same again, by name.
        report: The file with everything and every row, if one was asked for.
    """

    file: Path
    checkpoint: Path
    pairs: int
    left_out: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    baselines: dict[str, Baseline]
    verdict: Verdict
    comparison: Comparison | None
    breakdowns: dict[str, Breakdown]
    samples: Samples
    remarks: tuple[str, ...]
    facts: dict[str, dict[str, Any]]
    report: Path | None


def build_result(
    measured: Measurement,
    checkpoint: Checkpoint,
    *,
    settings: EvalSettings,
    gap: Gap,
    memory: Memory | None,
    comparison: Comparison | None,
    file: Path,
    left_out: int,
    facts: dict[str, dict[str, Any]],
) -> EvalResult:
    """Make figures of what was measured.

    Args:
        measured: What became of the pairs.
        checkpoint: The model.
        settings: The seed, how many samples, and the report.
        gap: What its training pairs came to.
        memory: The training data, if it is known.
        comparison: What a second model came to, if there is one.
        file: Where the pairs stand.
        left_out: Pairs of the file that are too long.
        facts: All that is needed to measure the same again.
    """
    return EvalResult(
        file=file,
        checkpoint=checkpoint.path,
        pairs=len(measured.encoded),
        left_out=left_out,
        metrics=_metrics(measured, gap, left_out=left_out),
        intervals=_intervals(measured, seed=settings.seed),
        baselines=_baselines(measured, checkpoint, memory),
        verdict=gap.verdict,
        comparison=comparison,
        breakdowns=break_down(measured.rows, measured.tally, seed=settings.seed),
        samples=choose_samples(measured.rows, settings.samples, seed=settings.seed),
        remarks=tuple(_remarks(measured)),
        facts=facts,
        report=Path(settings.report) if settings.report else None,
    )


def _metrics(measured: Measurement, gap: Gap, *, left_out: int) -> dict[str, float]:
    """Every figure that is a number, in the order of the registry."""
    found = measured.tally.figures() | measured.speed | gap.metrics
    found["too_long_share"] = left_out / (left_out + len(measured.encoded))
    answers = [row.answer for row in measured.rows if row.answer is not None]
    found |= {f"distinct_{n}": distinct_n(answers, n) for n in (1, 2)}
    return {name: found[name] for name in FIGURES if math.isfinite(found.get(name, math.nan))}


def _intervals(measured: Measurement, *, seed: int) -> dict[str, Interval]:
    intervals = measured.tally.intervals(seed=seed)
    return {name: each for name, each in intervals.items() if math.isfinite(each.low)}


def _baselines(
    measured: Measurement, checkpoint: Checkpoint, memory: Memory | None
) -> dict[str, Baseline]:
    baselines = guess_baselines(
        measured.encoded, checkpoint.info.unigram, vocab_size=checkpoint.vocab.size
    )
    if memory and measured.has_answers:
        baselines.append(answer_baseline(measured.encoded, measured.tally, memory))
    return {baseline.name: baseline for baseline in baselines}


def _remarks(measured: Measurement) -> Iterator[str]:
    """What to mind in reading the figures."""
    figures = measured.tally.figures()
    if measured.encoded.has_keywords:
        yield (
            "The expected answers are accepted words, not whole sentences: accuracy tells how many "
            "answers are right; the figures that compare whole answers are low even for those, and "
            "the loss is high."
        )
    if figures["unknown_share"] > MUCH_UNKNOWN:
        yield (
            f"{figures['unknown_share']:.1%} of the tokens are <unk>: characters that the "
            "vocabulary lacks, so that the model can neither read nor say them."
        )
    if figures.get("in_training", 0) > 0:
        yield (
            f"{figures['in_training']:.1%} of the pairs stand in the training data: they show what "
            "is remembered, not what was understood."
        )
