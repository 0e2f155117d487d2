"""What an evaluation reads: the pairs to measure, and the data that the model was trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt.corpus.encoded import encode_file
from minigpt.corpus.places import find_lines
from minigpt.corpus.qa import QAPair, read_pairs
from minigpt.corpus.scan import DataFile, read_pairs_at
from minigpt.errors import DataError
from minigpt.evaluation.encoded import Encoded, draw_numbers, encode
from minigpt.evaluation.memory import Memory
from minigpt.events import Note, Report, Warned
from minigpt.files import is_there
from minigpt.model.checkpoint import Checkpoint
from minigpt.services.read import data_file, read_data
from minigpt.services.run_directory import RunDirectory
from minigpt.settings import DataSettings, Settings


@dataclass(frozen=True)
class Exam:
    """The pairs to measure.

    Attributes:
        file: Where they stand.
        encoded: Those that fit every model that is measured, with the ids of the first.
        left_out: Pairs that are too long.
        in_file: Valid pairs of the file; more than the others if a sample was drawn.
    """

    file: Path
    encoded: Encoded
    left_out: int
    in_file: int


def read_exam(
    path: Path, settings: Settings, checkpoints: Sequence[Checkpoint], report: Report
) -> Exam:
    """Read the pairs, draw the sample of `[eval] limit`, leave out what is too long for a model.

    Raises:
        DataError: The data cannot be read, or no pair fits.
    """
    limit = min(checkpoint.info.max_length for checkpoint in checkpoints)
    pairs, in_file = _read(path, settings, report)
    encoded = encode(pairs, checkpoints[0].vocab, max_length=limit)
    left_out = encoded.dataset.too_long
    whose = "the model" if len(checkpoints) == 1 else "one of the models"
    if not encoded.pairs:
        raise DataError(
            f"{path}: every pair is longer than the {limit} tokens that {whose} was trained on",
            hint="measure on shorter pairs, or train with a larger --max-length",
        )
    if left_out:
        report(
            Warned(
                f"{path}: {left_out:,} of {len(pairs):,} pairs are longer than the {limit} "
                f"tokens that {whose} was trained on, and are left out",
                hint="train with a larger --max-length to measure them",
            )
        )
    return Exam(path, encoded, left_out, in_file)


def _read(path: Path, settings: Settings, report: Report) -> tuple[list[QAPair], int]:
    """The pairs to measure, and how many the file has; of a sample no other pair is held."""
    limit, seed = settings.eval.limit, settings.eval.seed
    if not limit:
        pairs = read_data(path, settings.data, report).pairs
        return pairs, len(pairs)
    lines = find_lines(data_file(path, settings.data), report=report)
    total = lines.starts.size
    chosen = draw_numbers(total, limit, seed=seed) if limit < total else [*range(total)]
    if limit < total:
        report(
            Note(
                f"measuring a sample of {limit:,} of {total:,} pairs, drawn with seed {seed}",
            )
        )
    return read_pairs_at(lines.data, lines.starts[chosen].tolist()), total


def read_memory(data: DataSettings, checkpoint: Checkpoint, report: Report) -> Memory | None:
    """The pairs that the model was trained on, if `[data] train` still holds them.

    Otherwise a note says which figures are left out, and why.
    """
    why = _why_unknown(data, checkpoint)
    if isinstance(why, Memory):
        return why
    report(
        Note(
            f"{why}: what the model has memorised, the gap to its training data and the verdict "
            "are left out; --train-data names the file that it was trained on"
        )
    )
    return None


def _why_unknown(data: DataSettings, checkpoint: Checkpoint) -> Memory | str:
    """The memory, or why there is none."""
    if not is_there(data.train):
        return f"{data.train} is not there"
    try:
        file = DataFile(data.train, data.question_key, data.answer_key)
        trained = encode_file(file, checkpoint.vocab, max_length=checkpoint.info.max_length)
        if trained.sha256 != checkpoint.info.data_sha256:
            return f"{data.train} is not the data that {checkpoint.path} was trained on"
        pairs = read_pairs(data.train, question_key=data.question_key, answer_key=data.answer_key)
    except DataError as error:
        return error.message
    return Memory([pairs[index] for index in trained.kept.tolist()])


def better_epoch(checkpoint: Checkpoint) -> int:
    """The best epoch of the run up to the checkpoint, if it did better on validation data.

    Returns:
        0 if none did, or the run's record is not beside the checkpoint.
    """
    key = "val_loss_answer" if checkpoint.info.loss_on == "answer" else "val_loss"
    rows = RunDirectory(checkpoint.path.parent).read_metrics()
    losses = {
        int(row["step"]): (float(row[key]), int(row["epoch"]))
        for row in rows
        if row.get("kind") == "validation" and row["step"] <= checkpoint.info.step
    }
    own, _ = losses.get(checkpoint.info.step, (math.nan, 0))
    loss, epoch = min(losses.values(), default=(math.nan, 0))
    return epoch if loss < own else 0
