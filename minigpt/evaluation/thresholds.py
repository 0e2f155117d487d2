"""`fail_under`: how good a figure must be."""

import math
from collections.abc import Mapping, Sequence

from minigpt.errors import SettingsError, ThresholdError
from minigpt.evaluation.figures import FIGURES, Need, nearest_figure

MISSING: dict[Need, str] = {
    "answers": "leave --no-generate out",
    "accepted": "no line of the data has a list of accepted `answers`",
    "training": "name the data that the model was trained on with --train-data",
    "quantized": "add --quantize int8 or int4",
}


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Read `METRIC=X` texts.

    Raises:
        SettingsError: A text is not of that form, no figure has that name, or a share is given in
            percent.
    """
    thresholds = {}
    for text in texts:
        name, _, number = text.partition("=")
        name, wanted = name.strip(), _number(number)
        if not name or math.isnan(wanted):
            raise SettingsError(
                f"--fail-under {text!r}: not of the form METRIC=X",
                hint="for example --fail-under exact_match=0.5",
            )
        if name not in FIGURES:
            raise SettingsError(f"--fail-under {name}: no such metric", hint=nearest_figure(name))
        if FIGURES[name].form == "share" and not 0 <= wanted <= 1:
            raise SettingsError(
                f"--fail-under {text}: {name} is a share, from 0 to 1",
                hint=f"50 % is {name}=0.5",
            )
        thresholds[name] = wanted
    return thresholds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_measurable(
    thresholds: Mapping[str, float],
    *,
    answers: bool,
    accepted: bool,
    training: bool,
    quantized: bool = False,
) -> None:
    """Refuse a threshold for what will not be measured, before anything is.

    Args:
        thresholds: By figure.
        answers: Whether answers are generated.
        accepted: Whether the data has accepted answers.
        training: Whether the training data is known.
        quantized: Whether the model's weights are.

    Raises:
        SettingsError: A figure needs what is not there.
    """
    there: dict[Need, bool] = {
        "answers": answers,
        "accepted": accepted,
        "training": training,
        "quantized": quantized,
    }
    for name in thresholds:
        for need in FIGURES[name].needs:
            if not there[need]:
                raise SettingsError(
                    f"--fail-under {name}: cannot be measured here", hint=MISSING[need]
                )


def check_thresholds(metrics: Mapping[str, float], thresholds: Mapping[str, float]) -> None:
    """Compare each figure with what it must reach: at least, or at most where lower is better.

    Raises:
        ThresholdError: One was not reached, or could not be computed.
    """
    missed = []
    for name, wanted in thresholds.items():
        figure, found = FIGURES[name], metrics.get(name, math.nan)
        if not figure.reaches(found, wanted):
            bound = "at least" if figure.higher else "at most"
            missed.append(f"{name} is {found:.4g}, not {bound} {wanted:g}")
    if missed:
        raise ThresholdError(
            "; ".join(missed), hint="train longer or on more data, or lower the threshold"
        )
