"""`fail_under`: the least that a metric must reach."""

import math
from collections.abc import Mapping, Sequence

from minigpt.errors import SettingsError, ThresholdError

LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_character", "unknown", "empty")


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Read `METRIC=X` texts.

    Raises:
        SettingsError: A text is not of that form.
    """
    thresholds = {}
    for text in texts:
        name, _, number = text.partition("=")
        wanted = _number(number)
        if not name.strip() or math.isnan(wanted):
            raise SettingsError(
                f"--fail-under {text!r}: not of the form METRIC=X",
                hint="for example --fail-under exact_match=0.5",
            )
        thresholds[name.strip()] = wanted
    return thresholds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_thresholds(metrics: Mapping[str, float], thresholds: Mapping[str, float]) -> None:
    """Compare each metric with what it must reach: at least, or at most where lower is better.

    Raises:
        SettingsError: A metric was not measured.
        ThresholdError: One was not reached.
    """
    missed = []
    for name, wanted in thresholds.items():
        if name not in metrics:
            raise SettingsError(
                f"--fail-under {name}: was not measured", hint=f"measured: {', '.join(metrics)}"
            )
        found = metrics[name]
        reached = found <= wanted if name.startswith(LOWER_IS_BETTER) else found >= wanted
        if math.isnan(found) or not reached:
            missed.append(f"{name} is {found:.4g}, not {wanted:g}")
    if missed:
        raise ThresholdError(
            "; ".join(missed), hint="train longer or on more data, or lower the threshold"
        )
