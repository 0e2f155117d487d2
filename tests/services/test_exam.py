import json
from pathlib import Path
from typing import Any

import pytest

from minigpt.corpus.qa import read_pairs
from minigpt.evaluation.encoded import draw
from minigpt.events import Event, Note
from minigpt.model.checkpoint import load_checkpoint
from minigpt.services.exam import better_epoch, read_exam, read_memory
from minigpt.settings import EvalSettings
from tests.services.tiny import Finished, texts, tiny_settings

REST = {"kind": "validation", "train_loss": 1.0, "val_accuracy": 0.5, "val_accuracy_answer": 0.5}


def test_the_training_data_is_known_by_its_hash(finished: Finished) -> None:
    events: list[Event] = []
    checkpoint = load_checkpoint(finished.run_dir)
    memory = read_memory(finished.settings.data, checkpoint, events.append)
    assert memory is not None
    assert len(memory.pairs) == 27
    assert events == []


def test_a_sample_is_drawn_from_all_pairs(finished: Finished) -> None:
    path, checkpoint = finished.settings.data.train, load_checkpoint(finished.run_dir)
    everything = read_pairs(path)
    for limit in (5, len(everything), 99):
        settings = finished.settings.model_copy(update={"eval": EvalSettings(limit=limit)})
        events: list[Event] = []
        exam = read_exam(path, settings, [checkpoint], events.append)
        assert exam.encoded.pairs == draw(everything, limit, seed=settings.eval.seed)
        assert exam.in_file == len(everything)
        assert ("measuring a sample" in texts(events, Note)) is (limit < len(everything))


@pytest.mark.parametrize("content", ["", "not JSON\n"])
def test_training_data_that_cannot_be_read_is_as_good_as_none(copy: Path, content: str) -> None:
    (copy / "train.jsonl").write_text(content, "utf-8")
    events: list[Event] = []
    settings = tiny_settings(copy)
    assert read_memory(settings.data, load_checkpoint(copy / "output"), events.append) is None
    assert "train.jsonl" in texts(events, Note)


def validations(run_dir: Path, *losses: float, loss_on: str = "all") -> None:
    """Write a record in which the checkpoint's step is that of the last of these losses."""
    step = load_checkpoint(run_dir).info.step
    key = "val_loss_answer" if loss_on == "answer" else "val_loss"
    other = "val_loss" if loss_on == "answer" else "val_loss_answer"
    rows: list[dict[str, Any]] = [{"kind": "step", "step": 1, "loss": 0.1}]
    for epoch, loss in enumerate(losses, start=1):
        at = step - len(losses) + epoch
        rows.append({**REST, "epoch": epoch, "step": at, key: loss, other: 1.0})
    rows.append({**REST, "epoch": 99, "step": step + 1, key: 0.01, other: 0.01})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run_dir / "metrics.jsonl").write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [((3.0, 2.0, 2.5), 2), ((3.0, 2.0, 1.0), 0), ((1.0, 2.0, 3.0), 1), ((2.0,), 0)],
)
def test_an_earlier_epoch_that_did_better_is_found(
    copy: Path, losses: tuple[float, ...], epoch: int
) -> None:
    validations(copy / "output", *losses)
    assert better_epoch(load_checkpoint(copy / "output")) == epoch


def test_without_the_record_of_the_run_no_epoch_is_better(copy: Path) -> None:
    (copy / "output" / "metrics.jsonl").unlink()
    assert better_epoch(load_checkpoint(copy / "output")) == 0


def test_a_record_that_does_not_know_the_checkpoint_says_nothing(copy: Path) -> None:
    row = {**REST, "epoch": 1, "step": 1, "val_loss": 0.1, "val_loss_answer": 0.1}
    (copy / "output" / "metrics.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    assert better_epoch(load_checkpoint(copy / "output")) == 0
