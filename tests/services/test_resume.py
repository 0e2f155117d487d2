import json
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.corpus.vocab import load_vocab
from minigpt.errors import CheckpointError, InterruptedRunError, OutputError, SettingsError
from minigpt.events import Event, Note, TrainingStarted, Validated, Warned
from minigpt.model.checkpoint import load_checkpoint, load_training_state
from minigpt.services.resume import CHANGEABLE, KEPT_TABLES, resumed_settings
from minigpt.services.run_directory import RunDirectory
from minigpt.services.train import train
from minigpt.settings import Settings
from tests.services.tiny import (
    PAIRS,
    STEPS_PER_EPOCH,
    Finished,
    contents,
    layered_settings,
    metrics,
    stops_after,
    texts,
    tiny_settings,
    write_pairs,
)


def assert_same_checkpoint(first: Path, second: Path) -> None:
    weights, others = load_checkpoint(first).weights, load_checkpoint(second).weights
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert load_checkpoint(first).info == load_checkpoint(second).info


def assert_same_run(first: Path, second: Path) -> None:
    """Bit for bit, clocks aside: the lines for single steps come by the clock."""
    for name in ("best.safetensors", "last.safetensors"):
        assert_same_checkpoint(first / name, second / name)
    moments, state = load_training_state(first / "last.safetensors")
    other_moments, other_state = load_training_state(second / "last.safetensors")
    assert moments.keys() == other_moments.keys()
    assert all(torch.equal(moments[name], other_moments[name]) for name in moments)
    for values in (state, other_state):
        del values["state"]["seconds"]
    assert state == other_state
    assert validations(first) == validations(second)


def validations(run_dir: Path) -> list[dict[str, Any]]:
    return [row for row in metrics(run_dir) if row["kind"] == "validation"]


def stop_at(step: int, settings: Settings, *, resume: bool = False) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minigpt.services.train.stop_on_signals", stops_after(step))
        with pytest.raises(InterruptedRunError):
            train(settings, resume=resume)


@pytest.mark.parametrize("step", range(1, 2 * STEPS_PER_EPOCH + 1))
def test_a_run_stopped_anywhere_continues_exactly(
    finished: Finished, root: Path, step: int
) -> None:
    settings = tiny_settings(root)
    stop_at(step, settings)
    train(settings, resume=True)
    assert_same_run(root / "output", finished.run_dir)


def test_a_run_stopped_after_every_step_continues_exactly(finished: Finished, root: Path) -> None:
    settings = tiny_settings(root)
    stop_at(1, settings)
    for _ in range(2 * STEPS_PER_EPOCH - 1):
        stop_at(1, settings, resume=True)
    train(settings, resume=True)
    assert_same_run(root / "output", finished.run_dir)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_recorded_step_is_the_same_after_resuming(
    tmp_path: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr("minigpt.training.clock.REPORT_EVERY_S", 0)
    runs = []
    for name in ("whole", "cut"):
        root = tmp_path / name
        root.mkdir()
        for file in ("vocab.json", "train.jsonl", "val.jsonl"):
            (root / file).write_bytes((finished.root / file).read_bytes())
        runs.append(tiny_settings(root, train__optimizer=optimizer, train__validate_every=3))
    whole, cut = runs
    train(whole)
    stop_at(5, cut)
    train(cut, resume=True)
    assert [row["kind"] for row in metrics(whole.train.run_dir)].count("step") == 8
    assert metrics(cut.train.run_dir) == metrics(whole.train.run_dir)
    assert_same_run(cut.train.run_dir, whole.train.run_dir)


def test_what_was_recorded_after_the_last_save_is_recorded_anew(
    finished: Finished, root: Path
) -> None:
    settings = tiny_settings(root)
    stop_at(3, settings)
    with (root / "output" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "validation", "epoch": 1, "step": 4, "val_loss": 0.0}\n{"kind": "st')
    train(settings, resume=True)
    assert metrics(root / "output") == metrics(finished.run_dir)


def test_a_finished_run_has_nothing_left_to_do(copy: Path, finished: Finished) -> None:
    result = train(tiny_settings(copy), resume=True)
    assert (result.steps, result.best_val_loss) == (
        finished.result.steps,
        finished.result.best_val_loss,
    )
    assert_same_run(copy / "output", finished.run_dir)


def test_a_finished_run_goes_on_with_more_epochs(copy: Path) -> None:
    events: list[Event] = []
    settings = layered_settings(copy, options={"train.epochs": 3})
    result = train(settings, resume=True, report=events.append)
    assert (result.epochs, result.steps) == (3, 3 * STEPS_PER_EPOCH)
    assert [event.epoch for event in events if isinstance(event, Validated)] == [3]
    assert "train.epochs: 3 from now on, 2 before" in texts(events, Note)
    assert f"resuming after step {2 * STEPS_PER_EPOCH}" in texts(events, Note)
    (started,) = (event for event in events if isinstance(event, TrainingStarted))
    assert started.first_step == 2 * STEPS_PER_EPOCH


def test_what_the_file_says_now_does_not_count(copy: Path, finished: Finished) -> None:
    now = {"train.batch_size": 3, "train.epochs": 9, "model.n_layer": 3, "train.seed": 1}
    train(layered_settings(copy, toml=now), resume=True)
    assert_same_run(copy / "output", finished.run_dir)


def test_the_defaults_of_now_do_not_count(copy: Path, finished: Finished) -> None:
    settings = Settings.model_validate(
        {"train": {"run_dir": copy / "output"}, "runtime": finished.settings.runtime}
    )
    assert train(settings, resume=True).steps == finished.result.steps
    assert_same_run(copy / "output", finished.run_dir)


def test_the_environment_counts(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_TRAIN__EPOCHS", "3")
    assert train(layered_settings(copy), resume=True).epochs == 3


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.n_layer", 2),
        ("model.size", "small"),
        ("train.batch_size", 4),
        ("train.seed", 1),
        ("train.max_length", 16),
        ("train.loss_on", "answer"),
        ("train.optimizer", "adamw"),
        ("data.question_key", "q"),
    ],
)
def test_what_cannot_change_is_refused_by_its_option(copy: Path, path: str, value: Any) -> None:
    option = "--" + path.split(".")[1].replace("_", "-")
    with pytest.raises(SettingsError, match=f"{option}: .*{path}") as caught:
        train(layered_settings(copy, options={path: value}), resume=True)
    assert caught.value.exit_code == 2
    assert str(value) in caught.value.message


def test_what_cannot_change_may_be_given_as_it_was(copy: Path, finished: Finished) -> None:
    train(layered_settings(copy, options={"train.batch_size": 8}), resume=True)
    assert_same_run(copy / "output", finished.run_dir)


def test_changeable_settings_exist() -> None:
    known = {
        f"{table}.{key}"
        for table in KEPT_TABLES
        for key in type(getattr(Settings(), table)).model_fields
    }
    assert known > CHANGEABLE


def test_the_machine_is_always_that_of_now(copy: Path) -> None:
    then = RunDirectory(copy / "output").read_settings()
    now = tiny_settings(copy, runtime__dtype="bfloat16")
    assert resumed_settings(now, then, lambda event: None).runtime == now.runtime


def test_dropout_given_anew_is_the_dropout_that_acts(copy: Path) -> None:
    options = {"model.dropout": 0.5, "train.epochs": 3}
    train(layered_settings(copy, options=options), resume=True)
    assert load_checkpoint(copy / "output" / "last.safetensors").config.dropout == 0.5


def test_the_origin_of_a_setting_outlives_a_resume(copy: Path) -> None:
    train(layered_settings(copy, options={"train.epochs": 3}), resume=True)
    train(layered_settings(copy), resume=True)
    facts = json.loads((copy / "output" / "settings.json").read_text("utf-8"))
    assert facts["settings"]["train"]["epochs"] == 3
    assert facts["origins"]["train"]["epochs"] == "--epochs"


def test_changed_training_data_is_refused(copy: Path) -> None:
    write_pairs(copy / "train.jsonl", PAIRS[:20])
    before = contents(copy / "output")
    with pytest.raises(CheckpointError, match="training data has changed") as caught:
        train(tiny_settings(copy), resume=True)
    assert caught.value.exit_code == 4
    assert contents(copy / "output") == before


def test_training_data_may_move(copy: Path, finished: Finished) -> None:
    moved = (copy / "train.jsonl").rename(copy / "moved.jsonl")
    train(layered_settings(copy, options={"data.train": str(moved)}), resume=True)
    assert_same_run(copy / "output", finished.run_dir)


def test_a_changed_vocabulary_is_refused_with_both_hashes(copy: Path) -> None:
    before = load_checkpoint(copy / "output").vocab
    (copy / "vocab.json").unlink()
    write_pairs(copy / "data.jsonl", [*PAIRS, ("新", "字")])
    with pytest.raises(CheckpointError, match=before.sha256[:12]) as caught:
        train(tiny_settings(copy), resume=True)
    assert caught.value.exit_code == 4
    assert load_vocab(copy / "vocab.json").sha256[:12] in caught.value.message


def test_another_number_of_threads_is_warned_of(copy: Path) -> None:
    events: list[Event] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        train(tiny_settings(copy), resume=True, report=events.append)
    finally:
        torch.set_num_threads(threads)
    warned = texts(events, Warned)
    assert f"threads {threads}, now it is {threads + 1}" in warned
    assert "not bit for bit" in warned


def test_the_same_machine_is_not_warned_of(copy: Path) -> None:
    events: list[Event] = []
    train(tiny_settings(copy), resume=True, report=events.append)
    assert texts(events, Warned) == ""


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": {"train": 1}, "origins": {}}'])
def test_lost_settings_are_a_checkpoint_error(copy: Path, content: str) -> None:
    (copy / "output" / "settings.json").write_text(content, "utf-8")
    with pytest.raises(CheckpointError, match=r"settings\.json"):
        train(tiny_settings(copy), resume=True)


def test_best_alone_cannot_be_resumed(copy: Path) -> None:
    (copy / "output" / "last.safetensors").unlink()
    with pytest.raises(CheckpointError, match="nothing to resume") as resumed:
        train(tiny_settings(copy), resume=True)
    with pytest.raises(OutputError, match="already holds a run") as started:
        train(tiny_settings(copy))
    assert "--force" in resumed.value.hint
    assert "--force" in started.value.hint
    assert "--resume" not in started.value.hint


def test_best_in_the_place_of_last_is_refused(copy: Path) -> None:
    output = copy / "output"
    (output / "last.safetensors").write_bytes((output / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="no training state"):
        train(tiny_settings(copy), resume=True)
