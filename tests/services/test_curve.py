from pathlib import Path

import pytest

from minigpt.services.curve import draw_curve
from minigpt.services.run_directory import RunDirectory
from tests.services.tiny import Finished

PNG = b"\x89PNG\r\n\x1a\n"


def validation(step: int) -> dict[str, object]:
    losses = {"train_loss": 2.0, "val_loss": 2.1, "val_loss_answer": 1.9}
    return {"kind": "validation", "step": step, **losses}


def test_a_finished_run_has_a_picture_of_its_loss(finished: Finished) -> None:
    picture = (finished.run_dir / "loss.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 5_000


def test_steps_and_validations_are_drawn(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.append_metrics({"kind": "step", "step": 1, "loss": 3.0})
    run.append_metrics(validation(2))
    assert draw_curve(run, vocab_size=20)
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def test_without_a_validation_there_is_nothing_to_draw(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert not draw_curve(run, vocab_size=20)
    run.append_metrics({"kind": "step", "step": 1, "loss": 3.0})
    assert not draw_curve(run, vocab_size=20)
    assert not (tmp_path / "loss.png").exists()


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = RunDirectory(tmp_path)
    run.append_metrics(validation(1))
    assert not draw_curve(run, vocab_size=20)
