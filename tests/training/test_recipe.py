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
    SMALL_BATCH,
    suited,
    suited_batch_size,
    suited_dropout,
    suited_epochs,
)


def test_what_is_given_stays(dataset: TokenizedDataset) -> None:
    train, model = TrainSettings(batch_size=7, epochs=3), ModelSettings(dropout=0.25)
    assert suited(train, model, dataset, vocab_size=30, device="cuda") == (train, model)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_nothing_stays_open(dataset: TokenizedDataset, device: str) -> None:
    train, model = suited(TrainSettings(), ModelSettings(), dataset, vocab_size=30, device=device)
    assert train.batch_size == SMALL_BATCH
    assert train.epochs == MOST_EPOCHS
    assert model.dropout == MOST_DROPOUT  # 46 million parameters for a handful of tokens
    assert suited(train, model, dataset, vocab_size=30, device=device) == (train, model)


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_pairs_make_no_smaller_batch_and_no_more_epochs(one: int, other: int) -> None:
    few, many = sorted((one, other))
    for device in ("cpu", "cuda"):
        batches = [
            suited_batch_size(pairs, tokens=20, width=768, device=device) for pairs in (few, many)
        ]
        assert SMALL_BATCH <= batches[0] <= batches[1] <= LARGE_BATCH
    epochs = [suited_epochs(steps) for steps in (few, many)]
    assert MOST_EPOCHS >= epochs[0] >= epochs[1] >= FEWEST_EPOCHS


@given(st.floats(1, 500), st.integers(16, 4_096))
def test_a_cpu_takes_no_larger_batch_than_a_gpu(tokens: float, width: int) -> None:
    cpu, cuda = (
        suited_batch_size(10**6, tokens=tokens, width=width, device=device)
        for device in ("cpu", "cuda")
    )
    assert cpu <= cuda == LARGE_BATCH
    assert cpu == LARGE_BATCH or cpu * tokens >= 4 * width


@given(st.floats(0.001, 10**6), st.floats(0.001, 10**6))
def test_dropout_rises_with_what_could_be_memorised(one: float, other: float) -> None:
    little, much = sorted((one, other))
    assert 0 <= suited_dropout(little) <= suited_dropout(much) <= MOST_DROPOUT


@pytest.mark.parametrize(("epochs", "dropout"), [(4, 0.1), (8, 0.2), (15, 0.3)])
def test_base_on_two_million_tokens_has_the_dropout_that_was_measured(
    epochs: int, dropout: float
) -> None:
    parameters = GPTConfig(vocab_size=5_442).parameters
    assert suited_dropout(epochs * parameters / 2_030_000) == pytest.approx(dropout, abs=0.015)


def test_tiny_for_some_epochs_has_none() -> None:
    config = GPTConfig(vocab_size=5_442, n_layer=4, n_head=4, n_embd=256)
    assert suited_dropout(8 * config.parameters / 2_030_000) == 0
