import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.model.config import GPTConfig
from minigpt.settings import ModelSettings, TrainSettings
from minigpt.training.recipe import (
    FEWEST_EPOCHS,
    LARGE_BATCH,
    MOST_DROPOUT,
    MOST_EPOCHS,
    ROOM_TO_MEMORISE,
    SMALL_BATCH,
    STRONG_DECAY,
    suited,
    suited_batch_size,
    suited_dropout,
    suited_epochs,
    suited_muon_rate,
    suited_weight_decay,
)


def test_what_is_given_stays(dataset: TokenizedDataset) -> None:
    train = TrainSettings(batch_size=7, epochs=3, muon_learning_rate=0.3, weight_decay=0)
    model = ModelSettings(dropout=0.25)
    assert suited(train, model, dataset, vocab_size=30) == (train, model)


def test_nothing_stays_open(dataset: TokenizedDataset) -> None:
    train, model = suited(TrainSettings(), ModelSettings(), dataset, vocab_size=30)
    assert (train.batch_size, train.epochs) == (SMALL_BATCH, MOST_EPOCHS)
    assert (train.muon_learning_rate, train.weight_decay) == (0.01, STRONG_DECAY)
    assert model.dropout == MOST_DROPOUT  # 46 million parameters for a handful of tokens
    assert suited(train, model, dataset, vocab_size=30) == (train, model)


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_pairs_make_no_smaller_batch_and_no_more_epochs(one: int, other: int) -> None:
    few, many = sorted((one, other))
    batches = [suited_batch_size(pairs, tokens=20, width=768) for pairs in (few, many)]
    assert SMALL_BATCH <= batches[0] <= batches[1] <= LARGE_BATCH
    epochs = [suited_epochs(steps) for steps in (few, many)]
    assert MOST_EPOCHS >= epochs[0] >= epochs[1] >= FEWEST_EPOCHS


@given(st.floats(1, 500), st.integers(16, 4_096), st.integers(16, 4_096))
def test_a_wider_model_takes_no_smaller_batch(tokens: float, one: int, other: int) -> None:
    narrow, wide = (
        suited_batch_size(10**6, tokens=tokens, width=width) for width in sorted((one, other))
    )
    assert SMALL_BATCH <= narrow <= wide <= LARGE_BATCH
    assert suited_muon_rate(narrow) <= suited_muon_rate(wide) <= 0.02


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_dropout_and_decay_rise_with_what_could_be_memorised(one: float, other: float) -> None:
    little, much = sorted((one, other))
    assert 0 <= suited_dropout(little) <= suited_dropout(much) <= MOST_DROPOUT
    assert 0 < suited_weight_decay(little) <= suited_weight_decay(much)


def doublings(epochs: int, **sizes: int) -> float:
    parameters = GPTConfig(vocab_size=5_442, **sizes).parameters
    return math.log2(epochs * parameters / 2_030_000 / ROOM_TO_MEMORISE)


@pytest.mark.parametrize(("epochs", "dropout"), [(4, 0.06), (8, 0.13), (15, 0.2)])
def test_base_on_two_million_tokens_has_the_recipe_that_was_measured(
    epochs: int, dropout: float
) -> None:
    assert suited_dropout(doublings(epochs)) == pytest.approx(dropout, abs=0.015)
    assert suited_weight_decay(doublings(epochs)) == 0.2
    assert suited_batch_size(90_000, tokens=21.5, width=768) == 256
    assert suited_muon_rate(256) == 0.02


def test_tiny_for_some_epochs_has_no_dropout_and_little_decay() -> None:
    room = doublings(8, n_layer=4, n_head=4, n_embd=256)
    assert (suited_dropout(room), suited_weight_decay(room)) == (0, 0.02)
    assert suited_batch_size(59_000, tokens=29, width=256) == 64
