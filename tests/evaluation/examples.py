"""Measured pairs without a model: whatever the test says was said, and was surprising."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import build_vocab
from minigpt.evaluation.answers import Said
from minigpt.evaluation.candidate import Measurement
from minigpt.evaluation.encoded import Encoded, encode
from minigpt.evaluation.gap import Gap
from minigpt.evaluation.memory import Memory
from minigpt.evaluation.result import EvalResult, build_result
from minigpt.evaluation.rows import build_rows, with_answer, with_memory
from minigpt.evaluation.surprise import PairSums, Surprises
from minigpt.evaluation.tally import tally_surprises, with_rows
from minigpt.evaluation.verdict import unclear
from minigpt.model.checkpoint import Checkpoint, CheckpointInfo
from minigpt.model.config import GPTConfig
from minigpt.settings import EvalSettings


def encoded(pairs: Sequence[QAPair]) -> Encoded:
    """The pairs with a vocabulary that holds all their characters."""
    return encode(pairs, build_vocab(pairs), max_length=1000)


def flat_surprises(pairs: Sequence[QAPair], nats: float | Sequence[float] = 1.0) -> Surprises:
    """Each target of a pair costs as much; every second pair is right everywhere."""
    costs = np.broadcast_to(np.array(nats, dtype=np.float64), (len(pairs),))
    right = np.arange(len(pairs)) % 2 == 0
    sums = []
    for tokens in (
        np.array([len(pair.question) + len(pair.answer) + 1 for pair in pairs], dtype=np.float64),
        np.array([len(pair.answer) + 1 for pair in pairs], dtype=np.float64),
    ):
        sums.append(PairSums(costs * tokens, tokens, right * tokens, tokens))
    return Surprises(all=sums[0], answer=sums[1])


def measured(
    pairs: Sequence[QAPair],
    said: Sequence[str] | None = None,
    *,
    nats: float | Sequence[float] = 1.0,
    memory: Memory | None = None,
) -> Measurement:
    """A measurement in which a model said these answers, all ended by themselves."""
    surprises = flat_surprises(pairs, nats)
    losses = (surprises.answer.nats / surprises.answer.tokens).tolist()
    rows = build_rows(pairs, losses)
    if said is not None:
        answers = (Said(text, ended=True) for text in said)
        rows = [with_answer(row, answer) for row, answer in zip(rows, answers, strict=True)]
    if memory is not None:
        rows = with_memory(rows, memory)
    both = encoded(pairs)
    return Measurement(both, rows, with_rows(tally_surprises(both, surprises), rows), {})


def result_of(one: Measurement, memory: Memory | None = None) -> EvalResult:
    """The result of a measurement, without a verdict."""
    vocab = build_vocab(one.encoded.pairs)
    config = GPTConfig(vocab_size=vocab.size, n_layer=1, n_head=1, n_embd=4)
    info = CheckpointInfo(step=7, epoch=2, max_length=1000, unigram=(1,) * vocab.size)
    return build_result(
        one,
        Checkpoint(Path("output/best.safetensors"), config, vocab, {}, info),
        settings=EvalSettings(),
        gap=Gap({}, unclear("the training data is not known", "name it with --train-data")),
        memory=memory,
        comparison=None,
        file=Path("data/val.jsonl"),
        left_out=0,
        facts={"model": {"step": 7}},
    )
