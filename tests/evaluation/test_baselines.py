import math

import pytest

from minigpt.corpus.dataset import tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import Vocab
from minigpt.evaluation.baselines import uniform_loss, unigram_losses

VOCAB = Vocab(("<pad>", "<unk>", "<sep>", "a", "b"))


@pytest.mark.parametrize("vocab_size", [4, 5, 4825])
def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary(vocab_size: int) -> None:
    assert uniform_loss(vocab_size) == pytest.approx(math.log(vocab_size))


def test_the_unigram_guess_costs_the_hand_worked_number() -> None:
    dataset = tokenize([QAPair("ab", "a"), QAPair("b", "bb")], Tokenizer(VOCAB))
    counts = (0, 0, 4, 1, 3)  # + 1 each: 1 1 5 2 4 of 13
    cost = {"<sep>": math.log(13 / 5), "a": math.log(13 / 2), "b": math.log(13 / 4)}
    # targets: b <sep> | a <sep> and <sep> | b b <sep>
    answers = 2 * cost["<sep>"] + cost["a"] + 2 * cost["b"]
    everything = answers + cost["b"] + 2 * cost["<sep>"]
    on_all, on_answers = unigram_losses(dataset, counts)
    assert on_all == pytest.approx(everything / 8)
    assert on_answers == pytest.approx(answers / 5)


def test_a_guess_that_has_seen_nothing_is_uniform() -> None:
    dataset = tokenize([QAPair("ab", "a")], Tokenizer(VOCAB))
    assert unigram_losses(dataset, (0,) * 5) == pytest.approx((math.log(5), math.log(5)))


def test_a_token_never_seen_in_training_costs_a_finite_number() -> None:
    dataset = tokenize([QAPair("?", "?")], Tokenizer(VOCAB))  # <unk>
    on_all, on_answers = unigram_losses(dataset, (0, 0, 10**9, 10**9, 10**9))
    assert math.isfinite(on_all)
    assert math.isfinite(on_answers)


def test_no_pairs_cost_nothing_that_is_a_number() -> None:
    on_all, on_answers = unigram_losses(tokenize([], Tokenizer(VOCAB)), (0,) * 5)
    assert math.isnan(on_all)
    assert math.isnan(on_answers)
