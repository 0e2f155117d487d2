"""`minigpt eval`: a checkpoint and a file of pairs become figures that can be read and trusted."""

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigpt.corpus.dataset import TokenizedDataset, tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID
from minigpt.errors import DataError, SettingsError, ThresholdError
from minigpt.evaluation.baselines import uniform_loss, unigram_losses
from minigpt.evaluation.metrics import character_f1, contains_any, exact_match
from minigpt.evaluation.report import markdown_report
from minigpt.evaluation.thresholds import check_thresholds, parse_thresholds
from minigpt.events import Note, Progress, Report, Warned, ignore
from minigpt.files import Status, check_output, same_file, write_file
from minigpt.model.checkpoint import Checkpoint, load_checkpoint
from minigpt.model.generation import complete
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler
from minigpt.services.read import read_data
from minigpt.services.run_directory import versions
from minigpt.settings import EvalSettings, Settings
from minigpt.training.validation import Validation, validate

MEMORY_HINT = "lower --batch-size; the figures do not depend on it"


@dataclass(frozen=True, slots=True)
class Row:
    """One question and what became of it.

    Attributes:
        question: What was asked.
        answer: What the model said, greedily.
        expected: What the data says.
        topic: Its topic; empty where the data has none.
        exact: Whether answer and expected agree.
        f1: Character F1 of both.
        accepted: Whether the answer contains one of the accepted answers; None where the data
            names none.
        ended: Whether the answer ended by itself.
    """

    question: str
    answer: str
    expected: str
    topic: str
    exact: bool
    f1: float
    accepted: bool | None
    ended: bool


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What was measured.

    Attributes:
        file: The data.
        checkpoint: The model.
        pairs: Pairs measured.
        left_out: Pairs longer than the model was trained on; not in any figure.
        metrics: Losses in nats per token; the other figures are shares from 0 to 1.
        baselines: Losses of a uniform guess and of a guess by training frequency.
        accuracy_by_topic: Share of accepted answers, where the data names accepted ones.
        samples: Some answers beside the expected ones.
        report: The file with everything, if one was asked for.
    """

    file: Path
    checkpoint: Path
    pairs: int
    left_out: int
    metrics: dict[str, float]
    baselines: dict[str, float]
    accuracy_by_topic: dict[str, float]
    samples: tuple[Row, ...]
    report: Path | None


def evaluate(
    settings: Settings, *, file: Path | None = None, force: bool = False, report: Report = ignore
) -> EvalResult:
    """Measure `[eval] checkpoint` on the pairs of `file`.

    Raises:
        SettingsError: A `fail_under` cannot be read, or the report would replace the data.
        DataError: The data cannot be read, or no pair fits the model.
        CheckpointError: The checkpoint is missing, damaged or too new.
        OutputError: The report exists and `force` is not given, or cannot be written.
        ThresholdError: A metric does not reach its `fail_under`.
        DeviceError: The device is not there or out of memory.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import evaluate, load_settings
        >>> result = evaluate(load_settings(), file=Path("data/train.jsonl"))
        >>> result.pairs, result.metrics["loss_answer"] < result.baselines["unigram_loss_answer"]
        (9, True)
    """
    thresholds = parse_thresholds(settings.eval.fail_under)
    path = file or settings.data.val
    _check_report(settings.eval, path, force=force)
    runtime = Runtime.resolve(settings.runtime, training=False)
    checkpoint = load_checkpoint(settings.eval.checkpoint)
    pairs, dataset = _read(path, settings, checkpoint, report)
    with runtime.memory_guard(MEMORY_HINT):
        model = checkpoint.build(runtime.device)
        micro_batch_tokens = settings.eval.batch_size * checkpoint.info.max_length
        validation = validate(
            model, dataset, runtime, micro_batch_tokens=micro_batch_tokens, report=report
        )
        metrics = _losses(validation, pairs) | {
            "unknown_share": dataset.unknown_tokens / dataset.n_tokens
        }
        rows: list[Row] = []
        if settings.eval.generate:
            started = time.monotonic()
            rows = _answer(model, pairs, checkpoint, settings.eval, report)
            metrics |= _scores(rows)
            metrics["questions_per_s"] = len(rows) / max(1e-9, time.monotonic() - started)
    result = EvalResult(
        file=path,
        checkpoint=checkpoint.path,
        pairs=len(pairs),
        left_out=dataset.too_long,
        metrics=metrics,
        baselines=_baselines(dataset, checkpoint),
        accuracy_by_topic=_by_topic(rows),
        samples=tuple(_spread(rows, settings.eval.samples)),
        report=Path(settings.eval.report) if settings.eval.report else None,
    )
    if result.report:
        status = _write_report(result, rows, settings, checkpoint)
        report(Note(f"report {status}: {result.report}"))
    try:
        check_thresholds(metrics, thresholds)
    except ThresholdError as missed:
        missed.result = result
        raise
    return result


def _read(
    path: Path, settings: Settings, checkpoint: Checkpoint, report: Report
) -> tuple[list[QAPair], TokenizedDataset]:
    data, limit = settings.data, checkpoint.info.max_length
    pairs = read_data(path, data, report).pairs
    if 0 < settings.eval.limit < len(pairs):
        rng = np.random.default_rng(settings.eval.seed)
        chosen = np.sort(rng.permutation(len(pairs))[: settings.eval.limit])
        report(
            Note(
                f"measuring a sample of {len(chosen):,} of {len(pairs):,} pairs, "
                f"drawn with seed {settings.eval.seed}"
            )
        )
        pairs = [pairs[index] for index in chosen.tolist()]
    dataset = tokenize(pairs, Tokenizer(checkpoint.vocab), max_length=limit)
    if not dataset.n_pairs:
        raise DataError(
            f"{path}: every pair is longer than the {limit} tokens that the model was trained on",
            hint="measure on shorter pairs, or train with a larger --max-length",
        )
    if dataset.too_long:
        report(
            Warned(
                f"{path}: {dataset.too_long:,} of {len(pairs):,} pairs are longer than the {limit} "
                "tokens that the model was trained on, and are left out",
                hint="train with a larger --max-length to measure them",
            )
        )
    return [pairs[index] for index in dataset.kept.tolist()], dataset


def _losses(validation: Validation, pairs: Sequence[QAPair]) -> dict[str, float]:
    answers = sum(len(pair.answer) for pair in pairs)
    asked = sum(len(pair.question) - 1 for pair in pairs)  # nothing predicts the first character
    characters = {"answer": answers, "all": answers + asked}
    metrics = {}
    for part, surprise in (("answer", validation.answer), ("all", validation.all)):
        metrics[f"loss_{part}"] = surprise.loss
        metrics[f"perplexity_{part}"] = math.exp(min(surprise.loss, 700.0))
        bits = surprise.nats / math.log(2)
        metrics[f"bits_per_character_{part}"] = bits / max(1, characters[part])
        metrics[f"token_accuracy_{part}"] = surprise.accuracy
    return metrics


def _answer(
    model: GPT,
    pairs: Sequence[QAPair],
    checkpoint: Checkpoint,
    settings: EvalSettings,
    report: Report,
) -> list[Row]:
    tokenizer = Tokenizer(checkpoint.vocab)
    rows: list[Row | None] = [None] * len(pairs)
    completions = complete(
        model,
        [tokenizer.encode_prompt(pair.question) for pair in pairs],
        sampler=Sampler(temperature=0),
        max_new_tokens=settings.max_new_tokens,
        stop_token_id=SEP_ID,
        context_length=checkpoint.info.max_length,
        batch_size=settings.batch_size,
    )
    for done, (index, completion) in enumerate(completions, start=1):
        answer = tokenizer.decode(completion.ids)
        rows[index] = _row(pairs[index], answer, ended=completion.stopped)
        report(Progress("answer", done, len(pairs), "questions"))
    return [row for row in rows if row is not None]


def _row(pair: QAPair, answer: str, *, ended: bool) -> Row:
    expected = pair.answers or (pair.answer,)
    return Row(
        question=pair.question,
        answer=answer,
        expected=pair.answer,
        topic=pair.topic,
        exact=any(exact_match(answer, text) for text in expected),
        f1=max(character_f1(answer, text) for text in expected),
        accepted=contains_any(answer, pair.answers) if pair.answers else None,
        ended=ended,
    )


def _scores(rows: Sequence[Row]) -> dict[str, float]:
    count = max(1, len(rows))
    scores = {
        "exact_match": sum(row.exact for row in rows) / count,
        "character_f1": sum(row.f1 for row in rows) / count,
        "ended_by_itself": sum(row.ended for row in rows) / count,
        "empty": sum(not row.answer.strip() for row in rows) / count,
    }
    judged = [row.accepted for row in rows if row.accepted is not None]
    if judged:
        scores["accuracy"] = sum(judged) / len(judged)
    return scores


def _baselines(dataset: TokenizedDataset, checkpoint: Checkpoint) -> dict[str, float]:
    baselines = {"uniform_loss": uniform_loss(checkpoint.vocab.size)}
    if checkpoint.info.unigram:
        on_all, on_answers = unigram_losses(dataset, checkpoint.info.unigram)
        baselines |= {"unigram_loss_answer": on_answers, "unigram_loss_all": on_all}
    return baselines


def _by_topic(rows: Sequence[Row]) -> dict[str, float]:
    judged: dict[str, list[bool]] = {}
    for row in rows:
        if row.accepted is not None and row.topic:
            judged.setdefault(row.topic, []).append(row.accepted)
    return {topic: sum(right) / len(right) for topic, right in sorted(judged.items())}


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """So many rows, evenly over the file."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _check_report(settings: EvalSettings, data: Path, *, force: bool) -> None:
    """Refuse a report that would replace another file, before anything is measured."""
    if not settings.report:
        return
    report = Path(settings.report)
    if same_file(report, data):
        raise SettingsError(
            f"{report}: the report would replace the data that is measured",
            hint="name another file with --report",
        )
    check_output(report, b"", force=force)


def _write_report(
    result: EvalResult, rows: Sequence[Row], settings: Settings, checkpoint: Checkpoint
) -> Status:
    assert result.report is not None
    facts = {
        "data": str(result.file),
        "checkpoint": str(result.checkpoint),
        "pairs": result.pairs,
        "left out": result.left_out,
        "step": checkpoint.info.step,
        "vocabulary sha256": checkpoint.vocab.sha256,
        "training data sha256": checkpoint.info.data_sha256,
        **{f"version of {name}": version for name, version in versions().items()},
    }
    if result.report.suffix.lower() == ".json":
        content = {
            "schema": 1,
            "facts": facts,
            "settings": settings.eval.model_dump(mode="json"),
            "metrics": result.metrics,
            "baselines": result.baselines,
            "accuracy_by_topic": result.accuracy_by_topic,
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    else:
        figures = {
            "Metrics": result.metrics,
            "Baselines": result.baselines,
            "Accuracy by topic": result.accuracy_by_topic,
        }
        text = markdown_report(facts, figures, rows)
    return write_file(result.report, text.encode("utf-8"), force=True)
