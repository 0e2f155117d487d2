import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.corpus.vocab import PAD_ID
from minigpt.training.batches import (
    IGNORE_INDEX,
    WINDOW,
    LossOn,
    collate,
    counted_targets,
    epoch_batches,
    micro_batches,
    padding_share,
)
from tests.tiny import tiny_set

few_examples = settings(max_examples=50, deadline=None)
some_lengths = st.lists(st.integers(3, 140), min_size=1, max_size=400)
some_rows = st.lists(st.integers(0, 19), min_size=1, max_size=20, unique=True)

DATASET = tiny_set()


@few_examples
@given(
    lengths=some_lengths, batch_size=st.integers(1, 70), seed=st.integers(0, 9), epoch=st.integers()
)
def test_an_epoch_has_every_pair_once(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    array = np.array(lengths)
    batches = epoch_batches(array, batch_size=batch_size, seed=seed, epoch=abs(epoch))
    again = epoch_batches(array, batch_size=batch_size, seed=seed, epoch=abs(epoch))

    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1
    assert [b.tolist() for b in batches] == [b.tolist() for b in again]


@pytest.mark.parametrize("changed", [{"seed": 2}, {"epoch": 2}])
def test_seed_and_epoch_change_the_order(changed: dict[str, int]) -> None:
    lengths = np.full(100, 9)
    first = epoch_batches(lengths, **{"batch_size": 8, "seed": 1, "epoch": 1})
    other = epoch_batches(lengths, **{"batch_size": 8, "seed": 1, "epoch": 1, **changed})
    assert np.concatenate(first).tolist() != np.concatenate(other).tolist()


def test_pairs_of_like_length_stand_together_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(10, 140, 8 * WINDOW)
    batches = epoch_batches(lengths, batch_size=8, seed=0, epoch=1)
    assert padding_share(lengths, batches) < 0.02
    assert padding_share(lengths, list(np.arange(8 * WINDOW).reshape(-1, 8))) > 0.3
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@few_examples
@given(lengths=some_lengths, tokens=st.integers(1, 2_000), data=st.data())
def test_micro_batches_hold_every_row_within_the_limit(
    lengths: list[int], tokens: int, data: st.DataObject
) -> None:
    array = np.array(lengths)
    count = data.draw(st.integers(0, len(lengths)))
    rows = np.random.default_rng(count).permutation(len(lengths))[:count]

    parts = micro_batches(rows, array, tokens=tokens)

    assert sorted(r for part in parts for r in part.tolist()) == sorted(rows.tolist())
    for part in parts:
        places = len(part) * (int(array[part].max()) - 1)
        assert places <= tokens or len(part) == 1
    widths = [int(array[part].max()) for part in parts]
    assert widths == sorted(widths)


@few_examples
@given(rows=some_rows, loss_on=st.sampled_from(["all", "answer"]))
def test_collated_rows_are_the_pairs_shifted_by_one(rows: list[int], loss_on: LossOn) -> None:
    chosen = np.array(rows)
    batch = collate(DATASET, chosen, loss_on=loss_on)

    width = int(DATASET.lengths[chosen].max()) - 1
    assert batch.input_ids.shape == batch.targets.shape == batch.is_answer.shape
    assert batch.input_ids.shape == (len(rows), width)
    for place, row in enumerate(rows):
        ids, prompt = DATASET.pair(row).tolist(), int(DATASET.prompt_lengths[row])
        pads = width - len(ids) + 1
        counted = ids[1:] if loss_on == "all" else [IGNORE_INDEX] * (prompt - 1) + ids[prompt:]
        answer = [False] * (prompt - 1) + [True] * (len(ids) - prompt)
        # A shorter pair shows its stop token too: nothing to learn stands after it.
        assert batch.input_ids[place].tolist() == (ids + [PAD_ID] * pads)[:width]
        assert batch.targets[place].tolist() == counted + [IGNORE_INDEX] * pads
        assert batch.is_answer[place].tolist() == answer + [False] * pads
    places = (batch.targets.flatten() != IGNORE_INDEX).nonzero().flatten()
    assert torch.equal(batch.counted, places)
    assert counted_targets(DATASET, chosen, loss_on=loss_on) == len(places)
    assert batch.input_ids.dtype is batch.targets.dtype is torch.int64


def test_padding_share_counts_pads_among_places() -> None:
    lengths = np.array([4, 2, 10])
    assert padding_share(lengths, [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 18)
    assert padding_share(lengths, [np.array([2])]) == 0


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batch_moves_whole(device: str) -> None:
    batch = collate(DATASET, np.arange(5))
    moved = batch.to(torch.device(device))
    assert moved.input_ids.device.type == device
    assert torch.equal(moved.input_ids.cpu(), batch.input_ids)
    assert torch.equal(moved.targets.cpu(), batch.targets)
    assert torch.equal(moved.is_answer.cpu(), batch.is_answer)
    assert torch.equal(moved.counted.cpu(), batch.counted)
