"""The same model on its training pairs and on new ones, and what the difference says."""

from collections.abc import Sequence
from dataclasses import dataclass

from minigpt.evaluation.baselines import guess
from minigpt.evaluation.candidate import Candidate, Measurement
from minigpt.evaluation.encoded import Encoded, draw, encode
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.tally import Tally, tally_surprises
from minigpt.evaluation.verdict import Learnt, Verdict, judge, unclear

MOST_KNOWN = 0.5  # of the pairs may stand in the training data


@dataclass(frozen=True, slots=True)
class Gap:
    """What the training pairs add to the picture.

    Attributes:
        metrics: The figures that need them.
        verdict: What to make of both sides.
    """

    metrics: dict[str, float]
    verdict: Verdict


def measure_gap(
    candidate: Candidate, measured: Measurement, memory: Memory | None, *, better_epoch: int
) -> Gap:
    """Measure as many training pairs, drawn with the seed of `[eval]`, and set both side by side.

    Args:
        candidate: The model.
        measured: What the pairs came to.
        memory: The training data, if it is known.
        better_epoch: An earlier epoch of the run with a lower validation loss; 0 if there is none.
    """
    if memory is None:
        return Gap({}, unclear("the training data is not known", "name it with --train-data"))
    checkpoint, seed = candidate.checkpoint, candidate.settings.seed
    drawn = draw(memory.pairs, len(measured.encoded), seed=seed)
    trained = encode(drawn, checkpoint.vocab, max_length=checkpoint.info.max_length)
    tally = tally_surprises(trained, candidate.surprises(trained))
    here, there = measured.tally.figures(), tally.figures()
    metrics = {
        "loss_answer_train": there["loss_answer"],
        "loss_gap": here["loss_answer"] - there["loss_answer"],
        "token_accuracy_answer_train": there["token_accuracy_answer"],
    }
    unigram = checkpoint.info.unigram
    verdict = _incomparable(measured.encoded, here, unigram) or judge(
        _learnt(trained, tally, unigram, seed=seed),
        _learnt(measured.encoded, measured.tally, unigram, seed=seed),
        better_epoch=better_epoch,
    )
    return Gap(metrics, verdict)


def _learnt(encoded: Encoded, tally: Tally, unigram: Sequence[int], *, seed: int) -> Learnt:
    return Learnt(
        pairs=len(encoded),
        loss=tally.figures()["loss_answer"],
        interval=tally.intervals(seed=seed)["loss_answer"],
        guess=guess(encoded.dataset, unigram).answer.loss,
    )


def _incomparable(
    encoded: Encoded, figures: dict[str, float], unigram: Sequence[int]
) -> Verdict | None:
    """Why training pairs and these do not tell the model's state, if they do not."""
    if not unigram:
        return unclear("the checkpoint does not say how frequent each token was in training", "")
    if figures.get("in_training", 0) > MOST_KNOWN:
        return unclear(
            f"{figures['in_training']:.0%} of these pairs stand in the training data",
            "measure on pairs that are new to the model, such as [data] val",
        )
    if encoded.has_keywords:
        return unclear(
            "the accepted answers of this file are not worded as the training answers are, so "
            "that the losses cannot be set side by side",
            "measure on [data] val",
        )
    return None
