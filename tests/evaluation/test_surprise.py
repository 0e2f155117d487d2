import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.evaluation.surprise import TOP, Surprises, measure_surprise, places_of
from minigpt.events import Event, Progress
from minigpt.model.gpt import GPT
from minigpt.training.validation import validate
from tests.training.examples import CPU


def measured(model: GPT, dataset: TokenizedDataset, batch_tokens: int = 10_000) -> Surprises:
    return measure_surprise(model, dataset, CPU, batch_tokens=batch_tokens)


def test_the_sums_of_the_pairs_are_those_of_validation(
    tiny_gpt: GPT, dataset: TokenizedDataset
) -> None:
    found = measured(tiny_gpt, dataset)
    expected = validate(tiny_gpt, dataset, CPU, micro_batch_tokens=10_000)
    for ours, theirs in ((found.all, expected.all), (found.answer, expected.answer)):
        assert ours.nats.sum() == pytest.approx(theirs.nats, rel=1e-6)
        assert ours.tokens.sum() == theirs.tokens
        assert ours.hits.sum() == theirs.correct


def test_each_pair_costs_what_it_costs_alone(tiny_gpt: GPT, dataset: TokenizedDataset) -> None:
    found = measured(tiny_gpt, dataset)
    for index in range(dataset.n_pairs):
        ids = torch.from_numpy(dataset.pair(index).astype("int64"))
        first = int(dataset.prompt_lengths[index])
        with torch.no_grad():
            scores = tiny_gpt(ids[None, :-1])[0].double()
        costs = -scores.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
        likeliest = scores.topk(TOP).indices
        in_top = (likeliest == ids[1:, None]).any(dim=1)[first - 1 :]
        assert found.all.nats[index] == pytest.approx(costs.sum().item(), rel=1e-5)
        assert found.answer.nats[index] == pytest.approx(costs[first - 1 :].sum().item(), rel=1e-5)
        assert found.answer.tokens[index] == len(ids) - first
        assert found.answer.top5[index] == int(in_top.sum())


@pytest.mark.parametrize("batch_tokens", [1, 30, 77])
def test_the_batch_changes_nothing_but_the_rounding(
    batch_tokens: int, tiny_gpt: GPT, dataset: TokenizedDataset
) -> None:
    whole, parts = measured(tiny_gpt, dataset), measured(tiny_gpt, dataset, batch_tokens)
    for ours, theirs in ((parts.all, whole.all), (parts.answer, whole.answer)):
        # Another shape of the products adds up in another order: float32 differs in its last bits.
        np.testing.assert_allclose(ours.nats, theirs.nats, rtol=1e-5)
        np.testing.assert_array_equal(ours.hits, theirs.hits)
        np.testing.assert_array_equal(ours.top5, theirs.top5)


def test_hits_are_among_the_five_likeliest_and_these_among_all(
    tiny_gpt: GPT, dataset: TokenizedDataset
) -> None:
    for sums in (measured(tiny_gpt, dataset).all, measured(tiny_gpt, dataset).answer):
        assert (sums.hits <= sums.top5).all()
        assert (sums.top5 <= sums.tokens).all()


def test_progress_counts_pairs_to_the_last(tiny_gpt: GPT, dataset: TokenizedDataset) -> None:
    events: list[Event] = []
    measure_surprise(tiny_gpt, dataset, CPU, batch_tokens=50, report=events.append)
    last = events[-1]
    assert isinstance(last, Progress)
    assert last.done == last.total == dataset.n_pairs


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12), st.data())
def test_the_place_of_a_target_is_its_rank_with_ties_by_id(
    scores: list[int], data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    place = places_of(torch.tensor([scores], dtype=torch.float), torch.tensor([target]))
    assert place.tolist() == [order.index(target)]


def test_a_model_that_knows_nothing_is_not_right_everywhere() -> None:
    targets = torch.arange(10)
    assert (places_of(torch.zeros(10, 10), targets) < 1).sum() == 1
    assert (places_of(torch.zeros(10, 10), targets) < TOP).sum() == TOP


def test_loss_and_accuracy_are_over_all_tokens(tiny_gpt: GPT, dataset: TokenizedDataset) -> None:
    sums = measured(tiny_gpt, dataset).answer
    assert sums.loss == sums.nats.sum() / sums.tokens.sum()
    assert math.isclose(sums.accuracy, sums.hits.sum() / sums.tokens.sum())
