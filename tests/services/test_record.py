import math
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from minigpt.corpus.qa import read_pairs
from minigpt.errors import InterruptedRunError, OutputError
from minigpt.events import Event, Validated
from minigpt.model.checkpoint import load_checkpoint
from minigpt.services.evaluate import evaluate
from minigpt.services.prepare import read_training_data, target_counts
from minigpt.services.run_directory import RunDirectory
from minigpt.services.train import train
from tests.services.tiny import Finished, metrics, stops_after, tiny_settings


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show: (step, value) by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_shows_the_tutorials_tags_once_per_step(root: Path) -> None:
    pytest.importorskip("tensorboard")
    settings = tiny_settings(root, train__tensorboard="on", train__epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minigpt.services.train.stop_on_signals", stops_after(6))
        with pytest.raises(InterruptedRunError):
            train(settings)
    train(settings, resume=True)
    shown = scalars(root / "output" / "tensorboard")
    rows = metrics(root / "output")
    for tag, name in (("Loss/train", "train_loss"), ("Loss/val", "val_loss")):
        assert [step for step, _ in shown[tag]] == [4, 8, 12]
        assert [value for _, value in shown[tag]] == pytest.approx([row[name] for row in rows])


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_that_cannot_go_on_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    hook = threading.excepthook
    run = RunDirectory(tmp_path / "run")
    run.open_tensorboard("on", step=0)
    shutil.rmtree(tmp_path / "run")
    for step in range(1, 9):
        run.add_scalars({"Loss/val": 1.0}, step=step)
        time.sleep(0.05)  # its thread meets the missing directory when it gets to it
    run.close()
    (record,) = caplog.records
    assert "tensorboard: no more events for TensorBoard: No such file" in record.getMessage()
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook is hook


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_without_a_place_is_an_output_error(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").touch()
    with pytest.raises(OutputError, match="tensorboard: cannot be written"):
        RunDirectory(tmp_path).open_tensorboard("on", step=0)


def test_no_tensorboard_where_none_is_wanted(finished: Finished) -> None:
    assert not (finished.run_dir / "tensorboard").exists()


def test_best_is_the_model_of_the_best_validation(root: Path) -> None:
    train(tiny_settings(root, train__learning_rate=0.3, train__epochs=4, train__validate_every=2))
    rows = metrics(root / "output")
    info = load_checkpoint(root / "output" / "best.safetensors").info
    best = min(rows, key=lambda row: row["val_loss"])
    assert [row["step"] for row in rows] == list(range(2, 17, 2))
    assert (info.step, info.val_loss) == (best["step"], best["val_loss"])
    assert [row["step"] for row in rows if row["best"]][-1] == best["step"]


def test_the_best_is_chosen_by_the_loss_that_is_learnt(root: Path) -> None:
    result = train(tiny_settings(root, train__loss_on="answer", train__epochs=3))
    rows = metrics(root / "output")
    assert result.best_val_loss == min(row["val_loss_answer"] for row in rows)
    assert load_checkpoint(root / "output").info.loss_on == "answer"


def test_checkpoints_know_where_they_come_from(finished: Finished) -> None:
    data = read_training_data(finished.settings, lambda event: None)
    for name in ("best.safetensors", "last.safetensors"):
        checkpoint = load_checkpoint(finished.run_dir / name)
        assert checkpoint.vocab == data.vocab
        assert checkpoint.info.max_length == 32
        assert checkpoint.info.data_sha256 == data.train_set.sha256
        assert checkpoint.info.unigram == target_counts(data.train_set, data.vocab.size)


def test_the_training_loss_is_the_mean_over_the_targets_of_the_epoch(root: Path) -> None:
    steps = 4
    whole = tiny_settings(root, train__epochs=1, train__validate_every=1)
    train(whole)
    rows = metrics(root / "output")
    assert len(rows) == steps
    tokens = np.diff([0, *(row["tokens"] for row in rows)])
    sums = [row["train_loss"] * row["tokens"] for row in rows]
    per_step = np.diff([0.0, *sums]) / tokens
    assert rows[-1]["train_loss"] == pytest.approx(np.average(per_step, weights=tokens))
    assert all(0 < loss < 10 and math.isfinite(loss) for loss in per_step)


def test_a_sample_is_what_the_greedy_model_says(root: Path) -> None:
    events: list[Event] = []
    train(tiny_settings(root, train__epochs=1, train__show_samples=3), report=events.append)
    (validated,) = (event for event in events if isinstance(event, Validated))
    expected = {pair.question: pair.answer for pair in read_pairs(root / "val.jsonl")}
    assert len(expected) == 3
    assert {sample.question: sample.expected for sample in validated.samples} == expected


def test_samples_do_not_change_what_is_learnt(finished: Finished, root: Path) -> None:
    train(tiny_settings(root, train__show_samples=0))
    shown = metrics(finished.run_dir)
    assert all(0 <= row.pop("exact_match") <= 1 for row in shown)
    rows = metrics(root / "output")
    assert [row.pop("exact_match") for row in rows] == [None] * len(rows)
    assert rows == shown


def test_exact_match_is_the_share_that_is_answered_word_for_word(root: Path) -> None:
    (root / "val.jsonl").write_bytes((root / "train.jsonl").read_bytes())  # to be learnt by heart
    result = train(tiny_settings(root, train__epochs=60, train__show_samples=1, model__n_embd=32))
    settings = tiny_settings(root)
    measured = evaluate(settings, file=root / "train.jsonl").metrics["exact_match"]
    best = result.by_epoch[result.best_epoch - 1]
    assert measured > 0.3
    assert best.exact_match == pytest.approx(measured)
    assert best.perplexity == pytest.approx(math.exp(result.best_val_loss_answer))
    rows = metrics(root / "output")
    assert [row["exact_match"] for row in rows] == [each.exact_match for each in result.by_epoch]
    assert [row["val_accuracy_answer"] for row in rows] == [e.accuracy for e in result.by_epoch]


def test_what_was_learnt_by_epoch_has_its_last_validation(root: Path) -> None:
    result = train(tiny_settings(root, train__validate_every=3, train__epochs=2))
    ends = [row for row in metrics(root / "output") if row["step"] in {4, 8}]
    assert [each.epoch for each in result.by_epoch] == [1, 2]
    assert [e.val_loss_answer for e in result.by_epoch] == [r["val_loss_answer"] for r in ends]
