import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import minigpt
from minigpt.corpus.vocab import load_vocab
from minigpt.errors import OutputError, SettingsError
from minigpt.model.checkpoint import load_checkpoint
from minigpt.services.prepare import read_training_data
from minigpt.services.run_directory import RunDirectory
from minigpt.services.train import train
from minigpt.settings import Settings
from tests.services.tiny import Finished, layered_settings, metrics


def test_a_run_directory_holds_what_was_promised(finished: Finished) -> None:
    names = {path.name for path in finished.run_dir.iterdir()}
    promised = {"settings.json", "metrics.jsonl", "best.safetensors", "last.safetensors"}
    assert names == promised | {"loss.png"}


def test_the_settings_file_names_every_setting_and_its_origin(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_TRAIN__SEED", "7")
    settings = layered_settings(root, options={"train.epochs": 1})
    train(settings)
    facts = json.loads((root / "output" / "settings.json").read_text("utf-8"))
    assert facts["schema"] == 1
    assert facts["settings"] == settings.model_dump(mode="json")
    origins = facts["origins"]
    assert {table: set(keys) for table, keys in origins.items()} == {
        table: set(keys) for table, keys in facts["settings"].items()
    }
    assert origins["train"]["epochs"] == "--epochs"
    assert origins["train"]["seed"] == "MINIGPT_TRAIN__SEED"
    assert origins["train"]["batch_size"] == str(root / "minigpt.toml")
    assert origins["train"]["grad_clip"] == "default"


def test_the_settings_file_names_versions_machine_and_hashes(finished: Finished) -> None:
    facts = json.loads((finished.run_dir / "settings.json").read_text("utf-8"))
    data = read_training_data(finished.settings, lambda event: None)
    assert facts["versions"]["minigpt"] == minigpt.__version__
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["machine"]["threads"] == torch.get_num_threads()
    assert facts["machine"]["dtype"] == "float32"
    assert facts["sha256"] == {
        "train": data.train_set.sha256,
        "val": data.val_set.sha256,
        "vocab": load_vocab(finished.root / "vocab.json").sha256,
    }
    assert load_checkpoint(finished.run_dir).info.data_sha256 == facts["sha256"]["train"]


def test_the_settings_can_be_read_back_with_their_origins(
    finished: Finished, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    settings = Settings.model_validate(finished.settings.model_dump())
    settings._origins["train.epochs"] = "--epochs"
    run.write_settings(settings, {})
    read = run.read_settings()
    assert read.model_dump() == settings.model_dump()
    assert read.origin("train", "epochs") == "--epochs"
    assert read.origin("train", "seed") == "default"


def test_a_line_of_metrics_for_each_validation(finished: Finished) -> None:
    rows = metrics(finished.run_dir)
    assert [(row["kind"], row["epoch"], row["step"]) for row in rows] == [
        ("validation", 1, 4),
        ("validation", 2, 8),
    ]
    for row in rows:
        assert {"train_loss", "val_loss", "val_loss_answer", "val_accuracy", "best"} <= row.keys()
        assert 0 <= row["val_accuracy"] <= 1


def step_row(step: int) -> dict[str, Any]:
    return {"kind": "step", "epoch": 1, "step": step, "loss": 2.5}


@pytest.mark.parametrize(
    "change",
    [
        *({"step": "5"}, {"step": True}, {"step": 10**400}, {"step": 1.5}, {"epoch": "\x1b[2J"}),
        *({"loss": None}, {"loss": "2"}, {"loss": 10**400}, {"kind": "validation"}),
        *({"kind": ["step"]}, {"kind": 7}, {"kind": "else"}),
    ],
)
def test_a_line_of_metrics_that_makes_no_sense_is_skipped(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    run = RunDirectory(tmp_path)
    for row in (step_row(1), step_row(2) | change, step_row(3)):
        run.append_metrics(row)
    assert run.read_metrics() == [step_row(1), step_row(3)]


def test_a_line_of_metrics_cut_by_a_kill_is_skipped(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.append_metrics(step_row(1))
    run.append_metrics(step_row(2))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    assert run.read_metrics() == [step_row(1)]


def test_metrics_are_cut_after_a_step(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for step in (1, 2, 3):
        run.append_metrics(step_row(step))
    run.cut_metrics(2)
    assert run.read_metrics() == [step_row(1), step_row(2)]


def test_metrics_that_cannot_be_written_are_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl"):
        RunDirectory(tmp_path).append_metrics({"step": 1})


@pytest.mark.skipif(os.name != "posix", reason="directories are locked on POSIX only")
def test_the_lock_ends_with_the_block(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path), RunDirectory(tmp_path)
    with first.locked(), pytest.raises(OutputError, match="in use"), second.locked():
        pass
    with second.locked():
        pass


@pytest.mark.skipif(os.name != "posix", reason="directories are locked on POSIX only")
def test_a_directory_that_may_not_be_opened_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    run = RunDirectory(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)
        with pytest.raises(OutputError, match="Permission denied"), run.locked():
            pass


def test_tensorboard_that_is_missing_is_an_error_only_if_wished_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = RunDirectory(tmp_path)
    for wish in ("off", "auto"):
        run.open_tensorboard(wish, step=0)
    with pytest.raises(SettingsError, match="TensorBoard is not installed") as caught:
        run.open_tensorboard("on", step=0)
    assert "minigpt[tensorboard]" in caught.value.hint
    run.add_scalars({"Loss/val": 1.0}, step=1)
    assert list(tmp_path.iterdir()) == []
