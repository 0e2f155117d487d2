import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigpt.services.curve import draw_curve, loss_figure
from minigpt.services.evaluate import evaluate
from minigpt.services.run_directory import RunDirectory
from minigpt.services.train import train
from tests.services.tiny import Finished, tiny_settings

PNG = b"\x89PNG\r\n\x1a\n"
GUESSES: dict[str, Any] = {"vocab_size": 20, "unigram": (2.5, 2.4), "loss_on": "all"}


def validation(step: int) -> dict[str, Any]:
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
    assert draw_curve(run, **GUESSES)
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def lines(rows: list[dict[str, Any]], **changes: Any) -> dict[str, list[float]]:
    """The losses in the picture, by the name that stands beside them."""
    figure = loss_figure(rows, **GUESSES | changes)
    (axes,), (legend,) = figure.axes, figure.legends
    curves = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    assert [text.get_text() for text in legend.texts] == [line.get_label() for line in curves]
    values = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in curves}
    return values | {text.get_text(): [text.get_position()[1]] for text in axes.texts}


STEPS = [{"kind": "step", "step": 1, "loss": 3.0}, {"kind": "step", "step": 2, "loss": 2.9}]


def test_every_line_carries_its_name() -> None:
    assert lines([*STEPS, validation(1), validation(2)]) == {
        "training, all tokens: a single step": [3.0, 2.9],
        "training, all tokens: mean of the epoch: 2.00 at the end": [2.0, 2.0],
        "validation, all tokens: 2.10 at the end": [2.1, 2.1],
        "validation, answers: 1.90 at the end": [1.9, 1.9],
        "blind guess, ln V: 3.00": [math.log(20)],
        "guess by frequency, all tokens: 2.50": [2.5],
        "guess by frequency, answers: 2.40": [2.4],
    }


def test_a_training_loss_over_answers_is_called_so() -> None:
    names = set(lines([*STEPS, validation(2)], loss_on="answer"))
    assert "training, answers: a single step" in names
    assert not any(name.startswith("training, all tokens") for name in names)


@pytest.mark.parametrize("unigram", [(2.5, 2.4), (2.4, 2.5), (2.5, 2.5)])
def test_two_guesses_close_together_are_named_on_opposite_sides(
    unigram: tuple[float, float],
) -> None:
    (axes,) = loss_figure([validation(2)], **GUESSES | {"unigram": unigram}).axes
    guesses = [text for text in axes.texts if "frequency" in text.get_text()]
    side = {text.get_verticalalignment(): text.get_position()[1] for text in guesses}
    assert side.keys() == {"bottom", "top"}
    assert side["bottom"] >= side["top"]


def test_a_run_is_drawn_beside_the_guesses_on_its_own_data(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "minigpt.services.record.draw_curve", lambda run, **guesses: given.append(guesses)
    )
    settings = tiny_settings(root, train__epochs=1, eval__generate=False)
    train(settings)
    (guesses,) = given
    baselines = evaluate(settings, file=settings.data.val).baselines
    uniform, frequency = (baselines[name].metrics for name in ("uniform", "frequency"))
    assert math.log(guesses["vocab_size"]) == pytest.approx(uniform["loss_all"])
    expected = (frequency["loss_all"], frequency["loss_answer"])
    assert guesses["unigram"] == pytest.approx(expected)
    assert guesses["loss_on"] == "all"


def test_without_a_validation_there_is_nothing_to_draw(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert not draw_curve(run, **GUESSES)
    run.append_metrics({"kind": "step", "step": 1, "loss": 3.0})
    assert not draw_curve(run, **GUESSES)
    assert not (tmp_path / "loss.png").exists()


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = RunDirectory(tmp_path)
    run.append_metrics(validation(1))
    assert not draw_curve(run, **GUESSES)
