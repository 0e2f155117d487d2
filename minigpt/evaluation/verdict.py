"""What training and new pairs together say of a model, in plain words."""

from dataclasses import dataclass
from typing import Literal

from minigpt.evaluation.bootstrap import Interval

Label = Literal["under-fitted", "over-fitted", "too little data", "balanced", "unclear"]

FEWEST_PAIRS = 50  # on either side
CARRIES = 0.8  # of what is known of the training pairs is known of new ones
KNOWS = 0.6  # of the surprise of a guess by frequency is gone on the training pairs
HARDLY = 0.1


@dataclass(frozen=True, slots=True)
class Learnt:
    """How much a model knows of some pairs.

    Attributes:
        pairs: How many they are.
        loss: Nats per token of the answers.
        interval: Of the loss.
        guess: What guessing by frequency costs there, in nats per token.
    """

    pairs: int
    loss: float
    interval: Interval
    guess: float

    def share(self, loss: float | None = None) -> float:
        """The part of the guess's surprise that the model has removed; 1 is all of it."""
        return 1 - (self.loss if loss is None else loss) / self.guess


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to make of it.

    Attributes:
        label: In two words.
        sure: Whether the label stays the same wherever in their intervals the losses lie.
        reason: What it rests on.
        advice: What to do next.
    """

    label: Label
    sure: bool
    reason: str
    advice: str


ADVICE: dict[Label, str] = {
    "under-fitted": "train longer (--epochs) or a larger model (--size)",
    "over-fitted": "use the run's best checkpoint, or train anew with fewer epochs or --dropout",
    "too little data": "more and more varied pairs help most; --dropout helps a little",
    "balanced": "more pairs and a larger --size, together, are what is left to gain",
    "unclear": "",
}


def judge(train: Learnt, new: Learnt, *, better_epoch: int = 0) -> Verdict:
    """Say which of four things a model most needs, from training pairs and pairs new to it.

    Loss alone does not tell: text has a surprise of its own that no model removes. So both losses
    are set against a guess by frequency: `share` is the part of the guess's surprise that is
    gone, on training pairs and on new ones; `carried` is the second over the first.

    - share on training pairs under HARDLY: under-fitted; it has not begun to learn.
    - carried of CARRIES or more: it knows new pairs about as well as its own. balanced if the
      share on training pairs is KNOWS or more, else under-fitted: it could still learn from the
      pairs it has.
    - carried under CARRIES: it knows its own pairs, but new ones much less. over-fitted if the
      run has an earlier epoch with a lower validation loss: longer training made it worse. Else
      too little data: training did not hurt, but what it learns does not reach beyond its pairs.

    The two bounds are rules of thumb, chosen on runs of this program with little and much data.
    Whether the verdict hangs on chance is tested: `sure` is False where another place of the two
    losses within their 95 % intervals would change the label.

    Args:
        train: Pairs that the model was trained on.
        new: Pairs of the same kind that it was not trained on.
        better_epoch: An earlier epoch of the run with a lower validation loss; 0 if there is none.
    """
    if min(train.pairs, new.pairs) < FEWEST_PAIRS:
        return unclear(f"fewer than {FEWEST_PAIRS} pairs on one side", "measure more pairs")
    label = _label(train.share(), new.share(), better_epoch)
    corners = {
        _label(train.share(on_train), new.share(on_new), better_epoch)
        for on_train in (train.interval.low, train.interval.high)
        for on_new in (new.interval.low, new.interval.high)
    }
    return Verdict(
        label, corners == {label}, _reason(label, train, new, better_epoch), ADVICE[label]
    )


def unclear(reason: str, advice: str) -> Verdict:
    """No verdict, and why."""
    return Verdict("unclear", False, reason, advice)


def _label(on_train: float, on_new: float, better_epoch: int) -> Label:
    if on_train < HARDLY:
        return "under-fitted"
    if on_new / on_train >= CARRIES:
        return "balanced" if on_train >= KNOWS else "under-fitted"
    return "over-fitted" if better_epoch else "too little data"


def _reason(label: Label, train: Learnt, new: Learnt, better_epoch: int) -> str:
    known = (
        f"next to a guess by frequency, the loss is {_lower(train)} on training pairs and "
        f"{_lower(new)} here"
    )
    if label == "under-fitted" and train.share() < HARDLY:
        return f"{known}: it has hardly begun to learn"
    meaning = {
        "under-fitted": "it does about as well here, and could still learn from the pairs it has",
        "balanced": "it has learnt its pairs, and does about as well here",
        "too little data": "what it has learnt hardly reaches beyond its own pairs",
        "over-fitted": f"it did better on new pairs in epoch {better_epoch}, then learnt by heart",
    }
    return f"{known}: {meaning[label]}"


def _lower(learnt: Learnt) -> str:
    share = learnt.share()
    return f"{share:.0%} lower" if share >= 0 else f"{-share:.0%} higher"
