import json
import math
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    InterruptedRunError,
    OutputError,
    VocabError,
)
from minigpt.events import Event, Note, Saved, TrainingStarted, Validated, Warned
from minigpt.model.checkpoint import load_checkpoint
from minigpt.services.plan import dry_run
from minigpt.services.run_directory import RunDirectory
from minigpt.services.train import resume_command, train
from minigpt.services.train_result import TrainResult
from tests.services.tiny import (
    PAIRS,
    STEPS_PER_EPOCH,
    Finished,
    contents,
    metrics,
    stops_after,
    texts,
    tiny_settings,
    write_pairs,
)


def test_the_result_says_what_the_files_say(finished: Finished) -> None:
    result, rows = finished.result, metrics(finished.run_dir)
    best = min(rows, key=lambda row: row["val_loss"])
    assert (result.stopped, result.epochs, result.steps) == ("finished", 2, 2 * STEPS_PER_EPOCH)
    assert result.best_val_loss == best["val_loss"]
    assert result.best_val_loss_answer == best["val_loss_answer"]
    assert (result.best_step, result.best_epoch) == (best["step"], best["epoch"])
    assert result.tokens == rows[-1]["tokens"]
    assert load_checkpoint(result.best).info.step == result.best_step
    assert load_checkpoint(result.last).info.step == result.steps
    assert result.parameters == load_checkpoint(result.best).config.parameters


def test_every_target_of_every_epoch_is_learnt_from(finished: Finished) -> None:
    (started,) = (event for event in finished.events if isinstance(event, TrainingStarted))
    assert finished.result.tokens == 2 * started.tokens_per_epoch


def test_training_lowers_the_loss(finished: Finished) -> None:
    first, second = metrics(finished.run_dir)
    vocab_size = load_checkpoint(finished.result.best).vocab.size
    assert second["val_loss"] < first["val_loss"] < math.log(vocab_size)
    assert texts(finished.events, Warned) == ""


def test_the_same_seed_gives_the_same_run(finished: Finished, root: Path) -> None:
    train(tiny_settings(root))
    assert metrics(root / "output") == metrics(finished.run_dir)


def test_another_seed_gives_another_run(finished: Finished, root: Path) -> None:
    train(tiny_settings(root, train__seed=1))
    assert metrics(root / "output") != metrics(finished.run_dir)


def test_a_run_with_muon_is_trained_and_resumed(root: Path) -> None:
    settings = tiny_settings(root, train__optimizer="muon")
    done = train(settings)
    assert train(settings, resume=True).steps == done.steps


def test_samples_answer_the_same_questions_in_each_epoch(finished: Finished) -> None:
    validated = [event for event in finished.events if isinstance(event, Validated)]
    asked = [tuple(sample.question for sample in event.samples) for event in validated]
    assert len(asked) == 2
    assert len(asked[0]) == 2
    assert asked[0] == asked[1]
    assert set(asked[0]) <= {question for question, _ in PAIRS}


def test_no_samples_are_shown_where_none_are_wanted(root: Path) -> None:
    events: list[Event] = []
    train(tiny_settings(root, train__show_samples=0, train__epochs=1), report=events.append)
    assert [event.samples for event in events if isinstance(event, Validated)] == [()]


def test_patience_ends_a_run_early(root: Path) -> None:
    settings = tiny_settings(
        root, train__patience=2, train__epochs=50, train__learning_rate=0.5, train__validate_every=1
    )
    result = train(settings)
    assert result.stopped == "early"
    assert result.steps < 50 * STEPS_PER_EPOCH
    assert [row["best"] for row in metrics(root / "output")][-2:] == [False, False]


def test_every_saved_file_is_reported_and_there(finished: Finished) -> None:
    saved = {event.path for event in finished.events if isinstance(event, Saved)}
    assert saved == {finished.result.best, finished.result.last}
    assert all(path.is_file() for path in saved)


def test_a_run_directory_with_a_run_is_refused(copy: Path) -> None:
    before = contents(copy)
    with pytest.raises(OutputError, match="already holds a run") as caught:
        train(tiny_settings(copy))
    assert caught.value.exit_code == 5
    assert "--resume" in caught.value.hint
    assert "--force" in caught.value.hint
    assert contents(copy) == before


def test_force_replaces_the_run_and_nothing_else(copy: Path) -> None:
    (copy / "output" / "notes.txt").write_text("mine", "utf-8")
    (copy / "output" / "tensorboard").mkdir()
    (copy / "output" / "tensorboard" / "events.old").touch()
    result = train(tiny_settings(copy, train__epochs=1), force=True)
    assert result.steps == STEPS_PER_EPOCH
    assert (copy / "output" / "notes.txt").read_text("utf-8") == "mine"
    assert not (copy / "output" / "tensorboard").exists()
    assert len(metrics(copy / "output")) == 1


@pytest.mark.parametrize("name", ["train.jsonl", "vocab.json"])
def test_force_keeps_the_earlier_run_when_the_new_one_cannot_start(copy: Path, name: str) -> None:
    before = contents(copy / "output")
    (copy / name).write_text("{", "utf-8")
    with pytest.raises((DataError, VocabError)):
        train(tiny_settings(copy), force=True)
    assert contents(copy / "output") == before


@pytest.mark.parametrize("name", ["settings.json", "metrics.jsonl", "loss.png", "tensorboard/x"])
def test_files_of_another_program_are_not_replaced(root: Path, name: str) -> None:
    mine = root / "output" / name
    mine.parent.mkdir(parents=True)
    mine.write_text('{"mine": true}', "utf-8")
    with pytest.raises(OutputError, match=name.split("/")[0]):
        train(tiny_settings(root))
    assert mine.read_text("utf-8") == '{"mine": true}'


def test_a_run_that_saved_nothing_may_be_started_again(copy: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        (copy / "output" / name).unlink()
    assert train(tiny_settings(copy, train__epochs=1)).steps == STEPS_PER_EPOCH


def test_there_is_nothing_to_resume_without_a_run(root: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume") as caught:
        train(tiny_settings(root), resume=True)
    assert caught.value.exit_code == 4
    assert not (root / "output").exists()


def _hold(path: str, locked: Any, done: Any) -> None:
    with RunDirectory(Path(path)).locked():
        locked.set()
        done.wait(30)


@pytest.mark.skipif(os.name != "posix", reason="directories are locked on POSIX only")
def test_a_run_directory_in_use_is_refused(root: Path) -> None:
    context = multiprocessing.get_context("fork")
    locked, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(root / "output"), locked, done))
    other.start()
    try:
        assert locked.wait(30)
        with pytest.raises(OutputError, match="in use") as caught:
            train(tiny_settings(root))
    finally:
        done.set()
        other.join()
    assert caught.value.exit_code == 5
    assert contents(root / "output") == {}
    assert train(tiny_settings(root, train__epochs=1)).stopped == "finished"


def test_a_run_directory_that_is_a_file_is_an_output_error(root: Path) -> None:
    (root / "output").touch()
    with pytest.raises(OutputError, match="output"):
        train(tiny_settings(root))


def test_a_loss_that_is_not_a_number_ends_the_run(root: Path) -> None:
    with pytest.raises(DivergedError, match="not a number") as caught:
        train(tiny_settings(root, train__learning_rate=1e30))
    assert caught.value.exit_code == 7
    assert "--learning-rate" in caught.value.hint
    assert "good" not in caught.value.hint  # nothing was saved
    assert not (root / "output" / "best.safetensors").exists()


def test_divergence_leaves_the_earlier_checkpoints_good(copy: Path) -> None:
    before = contents(copy / "output")
    settings = tiny_settings(copy, train__epochs=4, train__learning_rate=1e30)
    for key in ("epochs", "learning_rate"):
        settings._origins[f"train.{key}"] = f"--{key}"
    with pytest.raises(DivergedError) as caught:
        train(settings, resume=True)
    assert "checkpoints that are there are good" in caught.value.hint
    for name in ("best.safetensors", "last.safetensors"):
        assert contents(copy / "output")[name] == before[name]
        weights = load_checkpoint(copy / "output" / name).weights
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_weights_that_are_not_numbers_are_never_saved(root: Path) -> None:
    """The one step of the run has a good loss and spoils the weights."""
    settings = tiny_settings(root, train__learning_rate=1e30, train__epochs=1, train__batch_size=64)
    with pytest.raises(DivergedError):
        train(settings)
    assert not (root / "output" / "last.safetensors").exists()


def test_pairs_over_the_longest_are_counted_and_left_out(root: Path) -> None:
    pairs = [*PAIRS[:20], ("很" * 40, "长"), ("长", "很" * 40)]
    write_pairs(root / "train.jsonl", pairs)
    events: list[Event] = []
    train(tiny_settings(root, train__epochs=1), report=events.append)
    (started,) = (event for event in events if isinstance(event, TrainingStarted))
    assert started.train_pairs == 20
    assert "2 of 22 pairs are longer than 32 tokens" in texts(events, Warned)


def test_the_interrupted_run_says_how_to_go_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.services.train.stop_on_signals", stops_after(3))
    with pytest.raises(InterruptedRunError, match="stopped after step 3 of 8") as caught:
        train(tiny_settings(root))
    assert caught.value.code == 130
    assert f"minigpt train --resume --run-dir {root / 'output'}" in caught.value.hint
    assert load_checkpoint(root / "output" / "last.safetensors").info.step == 3


def test_the_resume_command_is_what_a_shell_can_read() -> None:
    assert resume_command(Path("output")) == "minigpt train --resume"
    assert resume_command(Path("my run")) == "minigpt train --resume --run-dir 'my run'"


def test_a_run_can_be_trained_outside_the_main_thread(root: Path) -> None:
    results: list[TrainResult] = []
    settings = tiny_settings(root, train__epochs=1)
    thread = threading.Thread(target=lambda: results.append(train(settings)))
    thread.start()
    thread.join()
    assert [result.stopped for result in results] == ["finished"]


def test_a_dry_run_writes_nothing(root: Path) -> None:
    before = contents(root)
    dry_run(tiny_settings(root))
    assert contents(root) == before
    assert not (root / "output").exists()


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_dry_run_without_a_part_says_what_cuts_it(part: str, root: Path) -> None:
    settings = tiny_settings(root)
    missing: Path = getattr(settings.data, part)
    missing.unlink()
    with pytest.raises(DataError, match="missing, and a dry run builds nothing") as caught:
        dry_run(settings)
    assert str(missing) in caught.value.message
    assert "minigpt split" in caught.value.hint
    assert not missing.exists()


def test_a_dry_run_of_a_run_directory_in_use_changes_nothing(copy: Path) -> None:
    before = contents(copy)
    dry_run(tiny_settings(copy))
    assert contents(copy) == before


def test_a_dry_run_says_what_training_then_says(finished: Finished) -> None:
    (started,) = (event for event in finished.events if isinstance(event, TrainingStarted))
    told = dry_run(finished.settings)
    for name in ("parameters", "device", "dtype", "train_pairs", "val_pairs", "tokens_per_epoch"):
        assert getattr(told, name) == getattr(started, name), name
    assert told.steps == started.steps == finished.result.steps
    assert told.left_out == 0
    assert told.model.parameters == told.parameters
    facts = json.loads((finished.run_dir / "settings.json").read_text("utf-8"))
    for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size"):
        assert getattr(told, name) == facts["model"][name], name


def test_a_dry_run_knows_the_size_of_the_checkpoints(finished: Finished) -> None:
    files = (finished.result.best, finished.result.last)
    stored = sum(path.stat().st_size for path in files)
    metadata = 40_000  # names, vocabulary and hashes: what a tiny model drowns in
    assert 0 < stored - dry_run(finished.settings).disk_bytes < metadata


def test_a_dry_run_says_what_training_takes(finished: Finished) -> None:
    told = dry_run(finished.settings)
    assert told.epochs * told.tokens_per_epoch / told.tokens_per_s < told.seconds
    assert told.seconds_per_step * told.steps < told.seconds
    assert told.state_bytes < told.memory_bytes


def test_a_note_tells_what_was_built_first(finished: Finished) -> None:
    said = texts(finished.events, Note)
    assert f"built {finished.root / 'vocab.json'}" in said
    assert f"split {finished.root / 'data.jsonl'}: 27 pairs in" in said
