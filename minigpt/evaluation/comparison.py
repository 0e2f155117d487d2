"""Two models on the same pairs: which is better, and could that be chance?

Source: Koehn 2004, "Statistical significance tests for machine translation evaluation" (paired
bootstrap): the pairs are drawn anew again and again, always the same for both.
"""

from dataclasses import dataclass
from pathlib import Path

from minigpt.evaluation.bootstrap import Interval, paired_difference
from minigpt.evaluation.candidate import Candidate, Measurement
from minigpt.evaluation.encoded import encode
from minigpt.evaluation.figures import FIGURES
from minigpt.evaluation.tally import FEWEST_PAIRS, Tally, Values

COMPARED = ("accuracy", "exact_match", "character_f1", "loss_answer", "bits_per_character_answer")


@dataclass(frozen=True, slots=True)
class Contrast:
    """One figure of both models.

    Attributes:
        name: Of the figure.
        value: Of the model that is measured.
        other: Of the one that it is compared with.
        difference: The first less the second.
        interval: Of the difference, with 95 % confidence.
        better: Which is better: "this", "other", or "" where the difference may be chance.
    """

    name: str
    value: float
    other: float
    difference: float
    interval: Interval
    better: str

    @property
    def verdict(self) -> str:
        """Which is better, in words: "this", "the other", "may be chance" or "equal"."""
        if self.difference == self.interval.low == self.interval.high == 0:
            return "equal"
        return {"this": "this", "other": "the other", "": "may be chance"}[self.better]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models side by side.

    Attributes:
        other: The checkpoint that is compared with.
        pairs: Pairs that both were measured on.
        contrasts: The figures of COMPARED that were measured.
        remark: What to mind in reading them; empty if nothing.
    """

    other: Path
    pairs: int
    contrasts: tuple[Contrast, ...]
    remark: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the figures say, in words."""
        said = {
            "this": "This model is better in {}.",
            "the other": "The other model is better in {}.",
            "may be chance": "In {} the difference may be chance.",
            "equal": "In {} they are equal, pair by pair.",
        }
        named: dict[str, list[str]] = {verdict: [] for verdict in said}
        for each in self.contrasts:
            named[each.verdict].append(FIGURES[each.name].label)
        sentences = [said[key].format(", ".join(found)) for key, found in named.items() if found]
        return (*sentences, self.remark) if self.remark else tuple(sentences)


def compare(candidate: Candidate, measured: Measurement, rival: Candidate) -> Comparison:
    """Let a second model sit the exam that the first one sat.

    Args:
        candidate: The first model.
        measured: What it came to.
        rival: The second model; no pair is too long for it.
    """
    own, other, seed = candidate.checkpoint, rival.checkpoint, candidate.settings.seed
    encoded = encode(measured.encoded.pairs, other.vocab, max_length=other.info.max_length)
    theirs = rival.measure(encoded, None)
    contrasts = [
        contrast(name, measured.tally, theirs.tally, seed=seed)
        for name in COMPARED
        if FIGURES[name].above in measured.tally.columns
    ]
    remark = "" if own.vocab == other.vocab else _remark_on_vocabularies(measured, theirs)
    return Comparison(other.path, len(encoded), tuple(contrasts), remark)


def _remark_on_vocabularies(measured: Measurement, theirs: Measurement) -> str:
    mine, other = (each.tally.figures()["unknown_share"] for each in (measured, theirs))
    return (
        "The vocabularies differ. Both models have one token for each character, so that the "
        "figures can be set side by side; but a character that a model lacks is <unk> to it, "
        f"which is easy to guess: {mine:.2%} of the tokens for this one, {other:.2%} for the other."
    )


def contrast(name: str, tally: Tally, other: Tally, *, seed: int) -> Contrast:
    """One figure of two models on the same pairs in the same order."""
    figure = FIGURES[name]
    mine, theirs = (_shares(name, each) for each in (tally, other))
    result = paired_difference(mine, theirs, seed=seed)
    low, high = result.interval.low, result.interval.high
    better = ""
    if len(mine) >= FEWEST_PAIRS and (low > 0 or high < 0):
        better = "this" if (low > 0) == figure.higher else "other"
    return Contrast(
        name=name,
        value=tally.figures()[name],
        other=other.figures()[name],
        difference=result.difference,
        interval=result.interval,
        better=better,
    )


def _shares(name: str, tally: Tally) -> Values:
    """What each pair adds to the figure, so that the mean of the additions is the figure."""
    figure = FIGURES[name]
    below = tally.columns[figure.below]
    counted = below > 0
    per_pair = figure.factor / float(below[counted].mean())
    return tally.columns[figure.above][counted] * per_pair
