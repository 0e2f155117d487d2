import math

import pytest
import torch

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.events import Event, Progress
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.training.validation import Surprise, Validation, validate
from tests.tiny import sharpen, tiny_model
from tests.training.examples import CPU


def pair_by_pair(model: GPT, dataset: TokenizedDataset) -> Validation:
    """The same sums without batches."""
    sums = {"all": [0.0, 0, 0], "answer": [0.0, 0, 0]}
    for index in range(dataset.n_pairs):
        ids = torch.from_numpy(dataset.pair(index).astype("int64"))
        with torch.no_grad():
            log_probabilities = model(ids[None, :-1])[0].double().log_softmax(-1)
        for place, target in enumerate(ids[1:].tolist(), start=1):
            row = log_probabilities[place - 1]
            parts = ["all", "answer"] if place >= dataset.prompt_lengths[index] else ["all"]
            for part in parts:
                sums[part][0] -= row[target].item()
                sums[part][1] += 1
                sums[part][2] += int(row.argmax() == target)
    (nats, tokens, right), (answer_nats, answer_tokens, answer_right) = sums.values()
    return Validation(
        Surprise(nats, int(tokens), int(right)),
        Surprise(answer_nats, int(answer_tokens), int(answer_right)),
    )


@pytest.mark.parametrize("micro_batch_tokens", [1, 30, 77, 100_000])
def test_every_pair_counts_whatever_the_micro_batch(
    micro_batch_tokens: int, tiny_gpt: GPT, dataset: TokenizedDataset
) -> None:
    expected = pair_by_pair(tiny_gpt, dataset)
    found = validate(tiny_gpt, dataset, CPU, micro_batch_tokens=micro_batch_tokens)

    for ours, theirs in [(found.all, expected.all), (found.answer, expected.answer)]:
        assert ours.nats == pytest.approx(theirs.nats, rel=1e-6)
        assert (ours.tokens, ours.correct) == (theirs.tokens, theirs.correct)
    assert found.all.tokens == dataset.n_tokens - dataset.n_pairs
    assert found.answer.tokens == dataset.n_tokens - int(dataset.prompt_lengths.sum())


def test_loss_is_per_token_and_not_a_mean_of_batch_means(
    tiny_gpt: GPT, dataset: TokenizedDataset
) -> None:
    found = validate(tiny_gpt, dataset, CPU, micro_batch_tokens=30)
    assert found.all.loss == found.all.nats / found.all.tokens
    assert found.all.accuracy == found.all.correct / found.all.tokens


@pytest.mark.parametrize("training", [True, False])
def test_validation_is_without_dropout_and_leaves_the_mode_as_it_was(
    training: bool, dataset: TokenizedDataset
) -> None:
    model = sharpen(tiny_model(dropout=0.5)).train(training)
    expected = pair_by_pair(sharpen(tiny_model()), dataset)
    found = validate(model, dataset, CPU, micro_batch_tokens=100)
    assert found.all.nats == pytest.approx(expected.all.nats, rel=1e-6)
    assert model.training is training


def test_bfloat16_is_close(tiny_gpt: GPT, dataset: TokenizedDataset) -> None:
    coarse = Runtime(torch.device("cpu"), torch.bfloat16)
    expected = validate(tiny_gpt, dataset, CPU, micro_batch_tokens=100)
    found = validate(tiny_gpt, dataset, coarse, micro_batch_tokens=100)
    assert found.all.loss == pytest.approx(expected.all.loss, rel=0.05)


def test_validation_draws_no_random_numbers(tiny_gpt: GPT, dataset: TokenizedDataset) -> None:
    before = torch.get_rng_state()
    validate(tiny_gpt, dataset, CPU, micro_batch_tokens=100)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_ends_at_its_total(tiny_gpt: GPT, dataset: TokenizedDataset) -> None:
    events: list[Event] = []
    validate(tiny_gpt, dataset, CPU, micro_batch_tokens=50, report=events.append)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in steps] == list(range(1, len(steps) + 1))
    assert {event.total for event in steps} == {len(steps)}


def test_loss_over_no_token_is_not_a_number() -> None:
    nothing = Surprise(0.0, 0, 0)
    assert math.isnan(nothing.loss)
    assert math.isnan(nothing.accuracy)


def test_loss_on_names_a_part() -> None:
    validation = Validation(Surprise(4.0, 2, 1), Surprise(1.0, 1, 1))
    assert validation.on("all").loss == 2.0
    assert validation.on("answer").loss == 1.0
