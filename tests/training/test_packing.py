from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.errors import DeviceError
from minigpt.events import ignore
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.training.batches import IGNORE_INDEX, LossOn, Rows
from minigpt.training.loss import token_loss
from minigpt.training.packing import PackedCorpus, packed_shape, stratified_batches
from minigpt.training.step import BucketedStep, build_step, has_room
from tests.tiny import sharpen, tiny_model, tiny_set
from tests.training.examples import CPU, first_gradients, train_settings, trainer_of

few_examples = settings(max_examples=60, deadline=None)
some_lengths = st.lists(st.integers(3, 140), min_size=1, max_size=300)

DATASET = tiny_set()


@few_examples
@given(
    lengths=some_lengths, batch_size=st.integers(1, 90), seed=st.integers(0, 9), epoch=st.integers()
)
def test_an_epoch_has_every_pair_once_in_batches_of_one_size(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    array = np.array(lengths)
    batches = stratified_batches(array, batch_size=batch_size, seed=seed, epoch=abs(epoch))
    again = stratified_batches(array, batch_size=batch_size, seed=seed, epoch=abs(epoch))

    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    open_places = len(batches) * batch_size - len(lengths)
    assert max(map(len, batches)) <= batch_size
    assert min(map(len, batches)) >= batch_size - -(-open_places // len(batches)) - 1
    assert [b.tolist() for b in batches] == [b.tolist() for b in again]


@pytest.mark.parametrize("changed", [{"seed": 2}, {"epoch": 2}])
def test_seed_and_epoch_change_the_order(changed: dict[str, int]) -> None:
    lengths = np.full(100, 9)
    first = stratified_batches(lengths, **{"batch_size": 8, "seed": 1, "epoch": 1})
    other = stratified_batches(lengths, **{"batch_size": 8, "seed": 1, "epoch": 1, **changed})
    assert np.concatenate(first).tolist() != np.concatenate(other).tolist()


@few_examples
@given(
    lengths=some_lengths,
    batch_size=st.integers(1, 90),
    tokens=st.sampled_from([1, 200, 1_000, 10_000]),
    processes=st.integers(1, 3),
)
def test_every_batch_of_every_epoch_fits_the_shape(
    lengths: list[int], batch_size: int, tokens: int, processes: int
) -> None:
    array = np.array(lengths)
    shape = packed_shape(
        array, batch_size=batch_size, micro_batch_tokens=tokens, processes=processes
    )
    dataset_like = _corpus(shape_of=array, batch_size=batch_size, tokens=tokens, n=processes)

    assert shape.rows % processes == 0
    assert shape.tokens % 128 == 0
    assert shape.tokens <= max(128, tokens) or shape.pairs == 1
    targets = np.append(array - 1, 0)
    for epoch in (1, 2):
        for batch in stratified_batches(array, batch_size=batch_size, seed=0, epoch=epoch):
            arranged = dataset_like.arranged(batch)
            assert arranged.shape == (shape.rows, shape.pairs)
            assert sorted(arranged[arranged < len(array)].tolist()) == sorted(batch.tolist())
            assert targets[arranged].sum(axis=1).max() <= shape.tokens


def _corpus(*, shape_of: Rows, batch_size: int, tokens: int, n: int) -> PackedCorpus:
    offsets = np.concatenate([[0], shape_of.cumsum()])
    dataset = TokenizedDataset(
        ids=np.full(offsets[-1], 3, dtype=np.uint16),
        offsets=offsets,
        prompt_lengths=np.full(len(shape_of), 2, dtype=np.int32),
        kept=np.arange(len(shape_of)),
        too_long=0,
    )
    shape = packed_shape(shape_of, batch_size=batch_size, micro_batch_tokens=tokens, processes=n)
    return PackedCorpus(dataset, shape, torch.device("cpu"), loss_on="all")


def test_hardly_any_place_is_padding() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(3.3, 0.5, 20_000), 3, 140).astype(int)
    for batch_size, most in [(64, 0.1), (512, 0.02), (2_048, 0.01)]:
        shape = packed_shape(lengths, batch_size=batch_size, micro_batch_tokens=70_000)
        places = shape.rows * shape.tokens * -(-len(lengths) // batch_size)
        assert 1 - (lengths - 1).sum() / places < most + (batch_size / len(lengths)) / 2


@pytest.mark.parametrize("loss_on", ["all", "answer"])
@pytest.mark.parametrize("micro_batch_tokens", [1, 128])
def test_gathered_rows_are_the_pairs_shifted_by_one(
    loss_on: LossOn, micro_batch_tokens: int
) -> None:
    shape = packed_shape(DATASET.lengths, batch_size=13, micro_batch_tokens=micro_batch_tokens)
    corpus = PackedCorpus(DATASET, shape, torch.device("cpu"), loss_on=loss_on)
    for batch in stratified_batches(DATASET.lengths, batch_size=13, seed=0, epoch=1):
        arranged = corpus.arranged(batch)
        packed = corpus.gather(torch.from_numpy(arranged))
        for row, pairs in enumerate(arranged.tolist()):
            place = 0
            for pair in (p for p in pairs if p != corpus.nobody):
                ids, prompt = DATASET.pair(pair).tolist(), int(DATASET.prompt_lengths[pair])
                unseen = prompt - 1 if loss_on == "answer" else 0
                here = slice(place, place + len(ids) - 1)
                assert packed.input_ids[row, here].tolist() == ids[:-1]
                assert packed.targets[row, here].tolist() == (
                    [IGNORE_INDEX] * unseen + ids[1 + unseen :]
                )
                assert packed.starts[row, here].tolist() == [place] * (len(ids) - 1)
                assert packed.positions[row, here].tolist() == list(range(len(ids) - 1))
                place += len(ids) - 1
            assert set(packed.targets[row, place:].tolist()) <= {IGNORE_INDEX}
            alone = torch.arange(place, shape.tokens)
            assert torch.equal(packed.starts[row, place:], alone)
            assert packed.positions[row, place:].count_nonzero() == 0


BFLOAT16 = Runtime(torch.device("cpu"), torch.bfloat16)
GPU = Runtime(torch.device("cuda"), torch.float32)


@pytest.mark.parametrize("micro_batch_tokens", [1, 128, 10_000])
@pytest.mark.parametrize("loss_on", ["all", "answer"])
@pytest.mark.parametrize(
    ("runtime", "tolerance"),
    [
        pytest.param(CPU, 1e-5, id="float32"),
        pytest.param(BFLOAT16, 2e-2, id="bfloat16"),
        pytest.param(GPU, 1e-2, id="gpu", marks=pytest.mark.gpu),  # its float32 may be TF32
    ],
)
def test_packed_loss_and_gradients_are_those_of_pairs_one_by_one(
    runtime: Runtime, tolerance: float, loss_on: LossOn, micro_batch_tokens: int
) -> None:
    model = sharpen(tiny_model())
    nats, expected = _one_by_one(model, loss_on)
    settings = train_settings(
        loss_on=loss_on,
        batch_size=DATASET.n_pairs,
        micro_batch_tokens=micro_batch_tokens,
        batching="packed",
        grad_clip=0,
    )
    model.zero_grad()
    trainer = trainer_of(settings, model=model.to(runtime.device), runtime=runtime, stop_at=1)
    trainer.fit()

    assert trainer.state.epoch_nats == pytest.approx(nats, rel=tolerance)
    moments = {name: tensor.cpu() / (1 - 0.9) for name, tensor in first_gradients(trainer).items()}
    found = sorted(float(t.norm()) for t in moments.values())
    assert found == pytest.approx(
        sorted(float(g.norm()) for g in expected), rel=10 * tolerance, abs=tolerance
    )
    whole = torch.cat([t.flatten() for t in moments.values()])
    groups = trainer.optimizers[0].param_groups
    names = {id(p): g for p, g in zip(model.parameters(), expected, strict=True)}
    wanted = torch.cat([names[id(p)].flatten() for group in groups for p in group["params"]])
    assert float((whole - wanted).norm() / wanted.norm()) < 2 * tolerance


def _one_by_one(model: GPT, loss_on: LossOn) -> tuple[float, list[Tensor]]:
    """Summed loss and the gradient of its mean, pair after pair, in float32."""
    sums, counts = torch.zeros(()), 0
    for pair in range(DATASET.n_pairs):
        ids = torch.from_numpy(DATASET.pair(pair).astype(np.int64))
        first = int(DATASET.prompt_lengths[pair]) if loss_on == "answer" else 1
        targets = torch.where(torch.arange(1, len(ids)) >= first, ids[1:], IGNORE_INDEX)
        nats, count = token_loss(model(ids[None, :-1])[0], targets)
        sums, counts = sums + nats, counts + int(count)
    gradients = torch.autograd.grad(sums / counts, list(model.parameters()))
    return float(sums.detach()), list(gradients)


def test_a_corpus_that_would_fill_the_gpu_stays_in_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = 4 * DATASET.n_tokens + 24 * DATASET.n_pairs
    for share, fits in ((5, True), (3, False)):
        memory = SimpleNamespace(total_memory=share * needed)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, found=memory: found)
        assert has_room(GPU, DATASET) is fits


def test_pairs_are_packed_on_a_gpu_only_where_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.training.step.runs_kernels", lambda _: False)
    gpu = Runtime(torch.device("cuda"))
    auto, packed = (train_settings(batching=batching) for batching in ("auto", "packed"))
    step = build_step(tiny_model(), DATASET, [], auto, gpu, ignore)
    assert isinstance(step, BucketedStep)
    with pytest.raises(DeviceError, match="Triton") as caught:
        build_step(tiny_model(), DATASET, [], packed, gpu, ignore)
    assert "--batching bucketed" in caught.value.hint
