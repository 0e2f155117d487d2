import math

import pytest

from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import Vocab
from minigpt.evaluation.baselines import answer_baseline, guess, guess_baselines
from minigpt.evaluation.encoded import encode
from minigpt.evaluation.memory import Memory
from tests.evaluation.examples import measured

VOCAB = Vocab(("<pad>", "<unk>", "<sep>", "a", "b"))
PAIRS = [QAPair("ab", "a"), QAPair("b", "bb")]
COUNTS = (0, 0, 4, 1, 3)  # + 1 each: 1 1 5 2 4 of 13


@pytest.mark.parametrize("vocab_size", [5, 6, 4825])
def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary(vocab_size: int) -> None:
    encoded = encode(PAIRS, VOCAB, max_length=10)
    (uniform,) = guess_baselines(encoded, (), vocab_size=vocab_size)
    assert uniform.name == "uniform"
    assert uniform.metrics["loss_all"] == pytest.approx(math.log(vocab_size))
    assert uniform.metrics["perplexity_answer"] == pytest.approx(vocab_size)


@pytest.mark.parametrize("vocab_size", [5, 6, 4825])
def test_a_uniform_guess_is_right_as_often_as_chance(vocab_size: int) -> None:
    encoded = encode(PAIRS, VOCAB, max_length=10)
    (uniform,) = guess_baselines(encoded, (), vocab_size=vocab_size)
    assert uniform.metrics["token_accuracy_all"] == pytest.approx(1 / vocab_size)
    assert uniform.metrics["top5_accuracy_answer"] == pytest.approx(5 / vocab_size)


def test_tokens_of_equal_frequency_share_the_chance_of_being_the_likeliest() -> None:
    encoded = encode([QAPair("a", "b")], VOCAB, max_length=10)
    _, frequency = guess_baselines(encoded, (0, 0, 0, 3, 3), vocab_size=5)
    assert frequency.metrics["token_accuracy_answer"] == pytest.approx(1 / 4)  # b; never <sep>


def test_a_guess_by_frequency_costs_the_hand_worked_number() -> None:
    uniform, frequency = guess_baselines(encode(PAIRS, VOCAB, max_length=10), COUNTS, vocab_size=5)
    cost = {"<sep>": math.log(13 / 5), "a": math.log(13 / 2), "b": math.log(13 / 4)}
    # targets: b <sep> | a <sep> and <sep> | b b <sep>
    answers = 2 * cost["<sep>"] + cost["a"] + 2 * cost["b"]
    everything = answers + cost["b"] + 2 * cost["<sep>"]
    assert frequency.name == "frequency"
    assert frequency.metrics["loss_all"] == pytest.approx(everything / 8)
    assert frequency.metrics["loss_answer"] == pytest.approx(answers / 5)
    assert frequency.metrics["token_accuracy_answer"] == pytest.approx(2 / 5)  # always <sep>
    assert frequency.metrics["token_accuracy_all"] == pytest.approx(4 / 8)
    assert frequency.metrics["top5_accuracy_all"] == 1  # all five tokens
    assert frequency.metrics.keys() == uniform.metrics.keys()


def test_a_guess_costs_every_pair_its_own() -> None:
    encoded = encode(PAIRS, VOCAB, max_length=10)
    sums = guess(encoded.dataset, COUNTS)
    assert sums.answer.nats.tolist() == pytest.approx(
        [math.log(13 / 2 * 13 / 5), 2 * math.log(13 / 4) + math.log(13 / 5)]
    )
    assert sums.answer.tokens.tolist() == [2, 3]
    assert sums.all.tokens.tolist() == [4, 4]


def test_a_token_never_met_in_training_costs_a_finite_number() -> None:
    unknown = encode([QAPair("?", "?")], VOCAB, max_length=10)  # <unk>
    _, frequency = guess_baselines(unknown, (0, 0, 10**9, 10**9, 10**9), vocab_size=5)
    assert all(math.isfinite(value) for value in frequency.metrics.values())


def test_the_most_common_answer_is_scored_as_the_model_is() -> None:
    pairs = [QAPair("一", "甲乙"), QAPair("二", "甲"), QAPair("三", "丙丁", answers=("甲", "丙"))]
    memory = Memory([QAPair("四", "丙"), QAPair("五", "甲"), QAPair("六", "甲")])
    mine = measured(pairs, ["丙", "丙", "丙"])
    found = answer_baseline(mine.encoded, mine.tally, memory)
    as_model = measured(pairs, ["甲", "甲", "甲"]).tally.figures()
    assert found.metrics == {name: as_model[name] for name in found.metrics}
    assert found.metrics["exact_match"] == pytest.approx(2 / 3)  # 甲 is the second, and accepted
    assert found.metrics["accuracy"] == 1
    assert "甲" in found.meaning
    assert {"loss_answer", "ended_by_itself", "memorised"}.isdisjoint(found.metrics)
