import math
from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt.model.gpt import GPT
from minigpt.settings import TrainSettings
from minigpt.training.base_optimizer import Optimizer
from minigpt.training.muon import orthogonal
from minigpt.training.optimizer import (
    build_optimizers,
    learning_rate_factor,
    load_optimizer_tensors,
    moment_numbers,
    optimizer_tensors,
    set_learning_rate,
)
from tests.tiny import assert_same_weights, random_ids, snapshot, tiny_model

EACH_OPTIMIZER = pytest.mark.parametrize("optimizer", ["adamw", "muon"])


def settings(**changes: Any) -> TrainSettings:
    base = {"optimizer": "adamw", "schedule": "cosine"}
    rates = {"muon_learning_rate": 0.01, "weight_decay": 0.02}
    return TrainSettings.model_validate(base | rates | changes)


@EACH_OPTIMIZER
def test_every_parameter_stands_in_exactly_one_group(optimizer: str) -> None:
    model = tiny_model()
    built = build_optimizers(model, settings(optimizer=optimizer))
    held = [id(p) for o in built for group in o.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(parameter) for parameter in model.parameters()}


@EACH_OPTIMIZER
def test_matrices_decay_and_biases_and_norms_do_not(optimizer: str) -> None:
    built = build_optimizers(tiny_model(), settings(optimizer=optimizer, weight_decay=0.3))
    for group in (group for o in built for group in o.param_groups):
        assert {p.dim() for p in group["params"]} <= ({2} if group["weight_decay"] else {1})
        assert group["weight_decay"] in (0.0, 0.3)


def test_muon_has_the_matrices_of_the_blocks_and_no_others() -> None:
    model = tiny_model()
    adamw, muon = build_optimizers(model, settings(optimizer="muon", muon_learning_rate=0.03))
    names = {id(p): name for name, p in model.named_parameters()}
    held = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    matrices = ("qkv_proj.weight", "out_proj.weight", "c_fc.weight", "c_proj.weight")
    assert held == {name for name in names.values() if name.endswith(matrices)}
    assert {group["lr"] for group in muon.param_groups} == {0.03}
    assert {group["lr"] for group in adamw.param_groups} == {settings().learning_rate}


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_muon_multiplies_in_bfloat16_only_where_the_processor_is_fast_at_it(
    fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def spied(matrices: Tensor) -> Tensor:
        used.append(matrices.dtype)
        return orthogonal(matrices)

    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: fast)
    monkeypatch.setattr("minigpt.training.muon.orthogonal", spied)
    model = tiny_model()
    optimizers = build_optimizers(model, settings(optimizer="muon"))
    model(torch.tensor([[3, 4, 5]])).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    assert set(used) == {dtype}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_warm_up_rises_linearly_and_reaches_the_highest_rate(schedule: str) -> None:
    chosen = settings(warmup_steps=4, schedule=schedule)
    factors = [learning_rate_factor(step, steps=20, settings=chosen) for step in range(1, 5)]
    assert factors == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 9 steps after one of warm-up: 9/10, 8/10, … 1/10 of the way are left
        ("linear", [left / 10 for left in range(9, 0, -1)]),
        ("cosine", [(1 - math.cos(math.pi * left / 10)) / 2 for left in range(9, 0, -1)]),
        ("constant", [1.0] * 9),
    ],
)
def test_rate_falls_as_the_schedule_says(schedule: str, expected: list[float]) -> None:
    chosen = settings(warmup_steps=1, schedule=schedule)
    factors = [learning_rate_factor(step, steps=10, settings=chosen) for step in range(2, 11)]
    assert factors == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 1, 7, 100, 5_000])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_every_step_learns_and_none_over_the_highest_rate(schedule: str, warmup: int) -> None:
    chosen = settings(warmup_steps=warmup, schedule=schedule)
    factors = [learning_rate_factor(step, steps=100, settings=chosen) for step in range(1, 101)]
    assert all(0 < factor <= 1 for factor in factors)
    after = factors[warmup:]
    assert after == sorted(after, reverse=True)


def test_halfway_the_cosine_is_at_a_half() -> None:
    chosen = settings(warmup_steps=0)
    assert learning_rate_factor(51, steps=101, settings=chosen) == pytest.approx(0.5, abs=0.02)


def test_factor_scales_each_optimizers_own_rate() -> None:
    built = build_optimizers(
        tiny_model(), settings(optimizer="muon", learning_rate=0.001, muon_learning_rate=0.02)
    )
    for factor in (0.5, 0.1, 1.0):  # not compounded
        set_learning_rate(built, factor)
        rates = [{group["lr"] for group in o.param_groups} for o in built]
        assert rates == [{0.001 * factor}, {0.02 * factor}]


def step(model: GPT, optimizers: list[Optimizer], seed: int) -> None:
    ids = random_ids(2, 9, vocab_size=model.config.vocab_size, seed=seed)
    model(ids).square().mean().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


@EACH_OPTIMIZER
def test_restored_moments_continue_bit_for_bit(optimizer: str) -> None:
    model = tiny_model()
    optimizers = build_optimizers(model, settings(optimizer=optimizer))
    for seed in range(3):
        step(model, optimizers, seed)
    other = tiny_model(seed=5)
    other.load_state_dict(snapshot(model))
    restored = build_optimizers(other, settings(optimizer=optimizer))

    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizers).items()}
    load_optimizer_tensors(restored, tensors)
    for seed in range(3, 6):
        step(model, optimizers, seed)
        step(other, restored, seed)

    assert_same_weights(snapshot(other), snapshot(model))
    assert_same_weights(optimizer_tensors(restored), optimizer_tensors(optimizers))


@EACH_OPTIMIZER
def test_moment_numbers_are_those_that_the_optimizers_keep(optimizer: str) -> None:
    model = tiny_model()
    optimizers = build_optimizers(model, settings(optimizer=optimizer))
    step(model, optimizers, 0)
    kept = [t.numel() for name, t in optimizer_tensors(optimizers).items() if "step" not in name]
    assert sum(kept) == moment_numbers(model.config, optimizer)


def test_restoring_keeps_the_rates_of_now() -> None:
    model = tiny_model()
    optimizers = build_optimizers(model, settings())
    step(model, optimizers, 0)
    slower = build_optimizers(model, settings(learning_rate=1e-5))
    load_optimizer_tensors(slower, optimizer_tensors(optimizers))
    assert {group["peak_lr"] for group in slower[0].param_groups} == {1e-5}


def test_moments_of_another_optimizer_or_model_are_refused() -> None:
    model = tiny_model()
    adamw = build_optimizers(model, settings())
    muon = build_optimizers(model, settings(optimizer="muon"))
    for optimizers in (adamw, muon):
        step(model, optimizers, 0)
    of_adamw, of_muon = optimizer_tensors(adamw), optimizer_tensors(muon)

    for optimizers, tensors in [
        (adamw, of_muon),
        (muon, of_adamw),
        (adamw, {}),
        (adamw, {"rng": torch.zeros(1)}),
        (adamw, dict(list(of_adamw.items())[3:])),
    ]:
        with pytest.raises(ValueError, match=r"optimizer|unpack"):
            load_optimizer_tensors(optimizers, tensors)


@EACH_OPTIMIZER
def test_moments_of_another_shape_type_or_kind_are_refused(optimizer: str) -> None:
    model = tiny_model()
    optimizers = build_optimizers(model, settings(optimizer=optimizer))
    step(model, optimizers, 0)
    good = optimizer_tensors(optimizers)
    for name, tensor in good.items():
        for bad in (tensor.reshape(1, *tensor.shape), tensor.double()):
            with pytest.raises(ValueError, match=r"expected torch\.float32"):
                load_optimizer_tensors(optimizers, {**good, name: bad})
        others = {key: value for key, value in good.items() if key != name}
        others[name.rpartition(".")[0] + ".other"] = tensor
        with pytest.raises(ValueError, match="of the kinds"):
            load_optimizer_tensors(optimizers, others)
    load_optimizer_tensors(optimizers, good)
