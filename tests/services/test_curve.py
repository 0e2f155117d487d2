import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigpt.services.curve import apart, draw_curve, loss_figure
from minigpt.services.evaluate import evaluate
from minigpt.services.run_directory import RunDirectory
from minigpt.services.train import train
from tests.services.tiny import Finished, tiny_settings

PNG = b"\x89PNG\r\n\x1a\n"
GUESSES: dict[str, Any] = {"vocab_size": 20, "unigram": (2.5, 2.4), "loss_on": "all"}


def validation(step: int) -> dict[str, Any]:
    losses = {"train_loss": 2.0, "val_loss": 2.1, "val_loss_answer": 1.9}
    accuracies = {"val_accuracy": 0.5, "val_accuracy_answer": 0.6}
    return {"kind": "validation", "epoch": 1, "step": step, **losses, **accuracies}


def test_a_finished_run_has_a_picture_of_its_loss(finished: Finished) -> None:
    picture = (finished.run_dir / "loss.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 5_000


def test_steps_and_validations_are_drawn(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.append_metrics({"kind": "step", "epoch": 1, "step": 1, "loss": 3.0})
    run.append_metrics(validation(2))
    assert draw_curve(run, **GUESSES)
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def lines(rows: list[dict[str, Any]], **changes: Any) -> dict[str, list[float]]:
    """The lines of the picture from left to right, by the name of their colour."""
    (axes,) = loss_figure(rows, **GUESSES | changes).axes
    named = {(text.get_color(), text.get_text().split()[0]): text for text in axes.texts}
    found = {}
    for line in axes.lines:
        values = np.asarray(line.get_ydata()).tolist()
        name = named.pop((line.get_color(), f"{values[-1]:.2f}"), None)
        found[name.get_text() if name else "no name"] = values
    assert named == {}
    return found


STEPS = [{"kind": "step", "step": 1, "loss": 3.0}, {"kind": "step", "step": 2, "loss": 2.9}]


def test_every_line_carries_its_name_and_its_last_value() -> None:
    assert lines([*STEPS, validation(1), validation(2)]) == {
        "no name": [3.0, 2.9],
        "2.00  training, all tokens": [2.0, 2.0],
        "2.10  validation, all tokens": [2.1, 2.1],
        "1.90  validation, answers": [1.9, 1.9],
        "3.00  blind guess, ln V": [math.log(20)] * 2,
        "2.50  guess by frequency, all tokens": [2.5, 2.5],
        "2.40  guess by frequency, answers": [2.4, 2.4],
    }


def test_a_training_loss_over_answers_is_called_so() -> None:
    names = set(lines([*STEPS, validation(2)], loss_on="answer"))
    assert "2.00  training, answers" in names
    assert "2.00  training, all tokens" not in names


@pytest.mark.parametrize("unigram", [(2.5, 2.4), (2.1, 2.1), (0.0, 9.0)])
def test_no_name_is_written_over_another_or_outside_the_picture(
    unigram: tuple[float, float],
) -> None:
    figure = loss_figure([*STEPS, validation(2)], **GUESSES | {"unigram": unigram})
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda b: b.y0)
    assert all(below.y1 < above.y0 for below, above in itertools.pairwise(boxes))
    assert all(figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1 for box in boxes)


@pytest.mark.parametrize("seed", range(10))
def test_values_are_moved_apart_in_order_and_around_where_they_were(seed: int) -> None:
    values = sorted(np.random.default_rng(seed).uniform(0, 5, 8).tolist())
    moved = apart(values, gap=0.5)
    assert all(b - a > 0.5 - 1e-9 for a, b in itertools.pairwise(moved))
    assert sum(moved) == pytest.approx(sum(values))


def test_values_far_enough_apart_stay_where_they_are() -> None:
    assert apart([1.0, 2.0, 2.6], gap=0.5) == pytest.approx([1.0, 2.0, 2.6])
    assert apart([1.0, 1.0, 3.0], gap=0.5) == pytest.approx([0.75, 1.25, 3.0])


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
    run.append_metrics({"kind": "step", "epoch": 1, "step": 1, "loss": 3.0})
    assert not draw_curve(run, **GUESSES)
    assert not (tmp_path / "loss.png").exists()


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = RunDirectory(tmp_path)
    run.append_metrics(validation(1))
    assert not draw_curve(run, **GUESSES)
