"""`minigpt eval`: a checkpoint and a file of pairs become figures that can be read and trusted."""

from pathlib import Path
from typing import Any

from minigpt.errors import ThresholdError
from minigpt.evaluation.candidate import Candidate
from minigpt.evaluation.comparison import compare
from minigpt.evaluation.gap import measure_gap
from minigpt.evaluation.report import report_bytes
from minigpt.evaluation.result import EvalResult, build_result
from minigpt.evaluation.thresholds import check_measurable, check_thresholds, parse_thresholds
from minigpt.events import Note, Report, ignore
from minigpt.files import check_distinct, check_output, write_file
from minigpt.model.checkpoint import Checkpoint, load_checkpoint
from minigpt.model.location import BEST
from minigpt.model.runtime import Runtime
from minigpt.services.exam import Exam, better_epoch, read_exam, read_memory
from minigpt.services.run_directory import machine, versions
from minigpt.settings import EvalSettings, Settings

MEMORY_HINT = "use --batch-size 16 or less; the figures do not depend on it"


def evaluate(
    settings: Settings, *, file: Path | None = None, force: bool = False, report: Report = ignore
) -> EvalResult:
    """Measure `[eval] checkpoint` on the pairs of `file`.

    Raises:
        SettingsError: A `fail_under` cannot be read or measured, or the report would replace the
            data.
        DataError: The data cannot be read, or no pair fits the model.
        CheckpointError: A checkpoint is missing, damaged or too new.
        OutputError: The report exists and `force` is not given, or cannot be written.
        ThresholdError: A figure does not reach its `fail_under`.
        DeviceError: The device is not there or out of memory.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import evaluate, load_settings
        >>> result = evaluate(load_settings(), file=Path("data/train.jsonl"))
        >>> guess = result.baselines["frequency"].metrics["loss_answer"]
        >>> result.pairs, result.metrics["loss_answer"] < guess
        (9, True)
    """
    thresholds = parse_thresholds(settings.eval.fail_under)
    path = file or settings.data.val
    _check_report(settings, path, force=force)
    runtime = Runtime.resolve(settings.runtime, training=False)
    checkpoint, other = _load(settings.eval)
    exam = read_exam(path, settings, [checkpoint, other] if other else [checkpoint], report)
    memory = read_memory(settings.data, checkpoint, report)
    check_measurable(
        thresholds,
        answers=settings.eval.generate,
        accepted=exam.encoded.has_accepted,
        training=memory is not None,
        quantized=runtime.quantize != "none",
    )
    with runtime.memory_guard(MEMORY_HINT):
        candidate = Candidate(checkpoint, runtime, settings.eval, report=report)
        measured = candidate.measure(exam.encoded, memory)
        gap = measure_gap(candidate, measured, memory, better_epoch=better_epoch(checkpoint))
        comparison = None
        if other:
            rival = Candidate(other, runtime, settings.eval, report=report)
            comparison = compare(candidate, measured, rival)
    result = build_result(
        measured,
        checkpoint,
        settings=settings.eval,
        gap=gap,
        memory=memory,
        comparison=comparison,
        file=path,
        left_out=exam.left_out,
        facts=_facts(settings, runtime, checkpoint, exam),
    )
    if result.report:
        status = write_file(
            result.report, report_bytes(result, measured.rows, result.report.suffix), force=True
        )
        report(Note(f"report {status}: {result.report}"))
    try:
        check_thresholds(result.metrics, thresholds)
    except ThresholdError as missed:
        missed.result = result
        raise
    return result


def _check_report(settings: Settings, data: Path, *, force: bool) -> None:
    """Refuse a report that would replace another file, before anything is measured."""
    if not settings.eval.report:
        return
    report = Path(settings.eval.report)
    models = [settings.eval.checkpoint, Path(settings.eval.compare or settings.eval.checkpoint)]
    inputs = [data, settings.data.train, *models, *(model / BEST for model in models)]
    inputs += settings.files
    check_distinct(report, inputs, what="the report", option="--report")
    check_output(report, b"", force=force)


def _load(settings: EvalSettings) -> tuple[Checkpoint, Checkpoint | None]:
    checkpoint = load_checkpoint(settings.checkpoint)
    return checkpoint, load_checkpoint(Path(settings.compare)) if settings.compare else None


def _facts(
    settings: Settings, runtime: Runtime, checkpoint: Checkpoint, exam: Exam
) -> dict[str, dict[str, Any]]:
    info = checkpoint.info
    return {
        "data": {
            "file": str(exam.file),
            "pairs in it": exam.in_file,
            "pairs measured": len(exam.encoded),
            "pairs left out": exam.left_out,
            "ids sha256": exam.encoded.dataset.sha256,
        },
        "model": {
            "checkpoint": str(checkpoint.path),
            "checkpoint sha256, as it states": checkpoint.sha256,
            "step": info.step,
            "epoch": info.epoch,
            "parameters": checkpoint.config.parameters,
            **checkpoint.config.model_dump(),
            "trained on tokens of": info.loss_on,
            "longest pair": info.max_length,
            "vocabulary sha256": checkpoint.vocab.sha256,
            "training ids sha256": info.data_sha256,
        },
        "weights": {"dtype": runtime.dtype_name, "quantize": runtime.quantize},
        "settings": settings.eval.model_dump(mode="json"),
        "machine": machine(runtime),
        "versions": versions(),
    }
