import dataclasses
import json
import math
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID
from minigpt.errors import DivergedError
from minigpt.events import StepDone, Warned
from minigpt.model.checkpoint import load_checkpoint, load_training_state
from minigpt.model.generation import complete
from minigpt.model.gpt import GPT
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler
from minigpt.settings import TrainSettings
from minigpt.training.loop import Trainer
from minigpt.training.state import TrainState
from minigpt.training.validation import Validation
from tests.tiny import (
    assert_same_weights,
    sharpen,
    snapshot,
    tiny_model,
    tiny_set,
    tiny_vocab,
    twenty_pairs,
)
from tests.training.examples import (
    BATCHES,
    CPU,
    Kept,
    everything,
    first_gradients,
    state_without_time,
    train_as_a_rank,
    train_settings,
    trainer_of,
)

EPOCHS = 3
STEPS = EPOCHS * BATCHES


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(CPU, id="cpu"),
        pytest.param(
            Runtime(torch.device("cuda"), torch.bfloat16), id="cuda", marks=pytest.mark.gpu
        ),
    ],
)
def test_a_tiny_model_memorises_20_pairs_and_answers_them(runtime: Runtime) -> None:
    model = tiny_model().to(runtime.device)
    settings = train_settings(epochs=90, learning_rate=0.01)
    trainer = trainer_of(settings, model=model, runtime=runtime)
    assert trainer.fit() == "finished"

    tokenizer = Tokenizer(tiny_vocab())
    prompts = [tokenizer.encode_prompt(pair.question) for pair in twenty_pairs()]
    answers = dict(
        complete(
            model.eval(),
            prompts,
            sampler=Sampler(temperature=0),
            max_new_tokens=20,
            stop_token_id=SEP_ID,
        )
    )

    said = [tokenizer.decode(answers[index].ids) for index in range(len(prompts))]
    assert said == [pair.answer for pair in twenty_pairs()]
    assert all(answer.stopped for answer in answers.values())


# Resumed = uninterrupted

VARIANTS: dict[str, tuple[dict[str, Any], Runtime]] = {
    "adamw": ({"optimizer": "adamw"}, CPU),
    "muon": ({"optimizer": "muon"}, CPU),
    "adamw bfloat16": ({"optimizer": "adamw"}, dataclasses.replace(CPU, dtype=torch.bfloat16)),
    "muon bfloat16": ({"optimizer": "muon"}, dataclasses.replace(CPU, dtype=torch.bfloat16)),
    "validations within": ({"validate_every": 3, "loss_on": "answer"}, CPU),
    "packed": ({"batching": "packed", "optimizer": "muon"}, CPU),
    "packed rows": ({"batching": "packed", "micro_batch_tokens": 1, "loss_on": "answer"}, CPU),
    "micro-batches": ({"micro_batch_tokens": 20, "grad_clip": 0}, CPU),
}


def variant(name: str) -> tuple[TrainSettings, Runtime]:
    changes, runtime = VARIANTS[name]
    return train_settings(epochs=EPOCHS, **changes), runtime


@cache
def uninterrupted(name: str) -> tuple[dict[str, Tensor], dict[str, Any], Kept]:
    settings, runtime = variant(name)
    kept = Kept()
    trainer = trainer_of(settings, model=tiny_model(dropout=0.2), runtime=runtime, kept=kept)
    assert trainer.fit() == "finished"
    return everything(trainer), state_without_time(trainer), kept


def resumed_from(path: Path, settings: TrainSettings, runtime: Runtime, kept: Kept) -> Trainer:
    """A trainer as another process would have it: from the file and the settings alone."""
    model = load_checkpoint(path).build().requires_grad_()
    trainer = trainer_of(settings, model=model, runtime=runtime, kept=kept)
    tensors, state = load_training_state(path)
    trainer.restore(tensors, TrainState.from_json(state))
    torch.manual_seed(999)  # what another process's generator happens to be
    return trainer


@pytest.mark.parametrize("stop_at", [1, 3, BATCHES, BATCHES + 1, 2 * BATCHES, STEPS - 1, STEPS])
@pytest.mark.parametrize("name", VARIANTS)
def test_resumed_training_equals_uninterrupted(name: str, stop_at: int, tmp_path: Path) -> None:
    weights, state, all_kept = uninterrupted(name)
    settings, runtime = variant(name)
    kept = Kept(tmp_path / "last.safetensors")
    model = tiny_model(dropout=0.2)
    stopped = trainer_of(settings, model=model, runtime=runtime, kept=kept, stop_at=stop_at)
    assert stopped.fit() == "stopped"
    assert kept.saves[-1] == stop_at

    resumed = resumed_from(tmp_path / "last.safetensors", settings, runtime, kept)
    assert resumed.fit() == "finished"

    assert_same_weights(everything(resumed), weights)
    assert state_without_time(resumed) == state
    assert kept.validations == all_kept.validations


@pytest.mark.parametrize("validation", [1, 2, 3])
def test_training_goes_on_from_the_save_of_a_validation(validation: int, tmp_path: Path) -> None:
    weights, state, all_kept = uninterrupted("adamw")
    settings, runtime = variant("adamw")

    class Killed(Kept):
        def save(self, trainer: Trainer) -> None:
            super().save(trainer)
            if len(self.saves) == validation:
                raise KeyboardInterrupt

    path = tmp_path / "last.safetensors"
    kept = Killed(path)
    with pytest.raises(KeyboardInterrupt):
        trainer_of(settings, model=tiny_model(dropout=0.2), runtime=runtime, kept=kept).fit()
    resumed = resumed_from(path, settings, runtime, kept)
    assert resumed.fit() == "finished"

    assert_same_weights(everything(resumed), weights)
    assert state_without_time(resumed) == state
    assert kept.validations == all_kept.validations


def test_saving_now_and_then_does_not_change_the_training() -> None:
    kept = Kept()
    settings = variant("adamw")[0].model_copy(update={"save_every_s": 1e-9})
    trainer = trainer_of(settings, model=tiny_model(dropout=0.2), kept=kept)
    trainer.fit()
    assert kept.saves == list(range(1, STEPS + 1))
    assert_same_weights(everything(trainer), uninterrupted("adamw")[0])


def test_seed_of_dropout_and_order_changes_the_training() -> None:
    settings = variant("adamw")[0].model_copy(update={"seed": 1})
    trainer = trainer_of(settings, model=tiny_model(dropout=0.2))
    trainer.fit()
    same = uninterrupted("adamw")[0]
    assert not torch.equal(everything(trainer)["lm_head.weight"], same["lm_head.weight"])


@pytest.mark.parametrize("state", [TrainState(), TrainState(2, 3, 9, best_loss=0.1 + 0.2)])
def test_state_survives_json(state: TrainState) -> None:
    assert TrainState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_state_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError):
        TrainState.from_json({"momentum": 1})


# What a step is


@pytest.mark.parametrize("micro_batch_tokens", [1, 20, 50])
@pytest.mark.parametrize("loss_on", ["all", "answer"])
def test_micro_batches_give_the_gradients_of_one_batch(
    loss_on: str, micro_batch_tokens: int
) -> None:
    def trained(tokens: int) -> Trainer:
        settings = train_settings(loss_on=loss_on, micro_batch_tokens=tokens, batch_size=13)
        trainer = trainer_of(settings, model=sharpen(tiny_model()), stop_at=1)
        trainer.fit()
        return trainer

    whole, parts = trained(100_000), trained(micro_batch_tokens)

    expected = first_gradients(whole)
    assert expected
    for name, gradient in first_gradients(parts).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)
    assert parts.state.epoch_nats == pytest.approx(whole.state.epoch_nats, rel=1e-6)
    assert parts.state.tokens == whole.state.tokens


@pytest.mark.parametrize("loss_on", ["all", "answer"])
def test_loss_counts_the_tokens_that_loss_on_names(loss_on: str) -> None:
    dataset, kept = tiny_set(), Kept()
    trainer = trainer_of(train_settings(loss_on=loss_on, epochs=1), kept=kept)
    trainer.fit()
    counted = dataset.n_tokens - dataset.n_pairs
    if loss_on == "answer":
        counted = dataset.n_tokens - int(dataset.prompt_lengths.sum())
    assert trainer.state.tokens == counted
    best = kept.validations[0][1]
    assert trainer.state.best_loss == best
    assert (trainer.state.best_loss_answer == best) is (loss_on == "answer")


def test_loss_on_answers_teaches_answers_and_not_questions() -> None:
    losses: list[tuple[float, float]] = []

    class Both(Kept):
        def validated(self, trainer: Trainer, validation: Validation, *, is_best: bool) -> None:
            losses.append((validation.all.loss, validation.answer.loss))

    settings = train_settings(loss_on="answer", epochs=25, learning_rate=0.01)
    trainer_of(settings, kept=Both()).fit()
    of_all, of_answers = losses[-1]
    assert of_answers < of_all / 2
    assert of_answers < losses[0][1] / 2


def test_gradient_is_clipped_to_its_whole_norm() -> None:
    def norm(grad_clip: float) -> float:
        settings = train_settings(grad_clip=grad_clip)
        trainer = trainer_of(settings, model=sharpen(tiny_model()), stop_at=1)
        trainer.fit()
        moments = first_gradients(trainer).values()
        return math.sqrt(sum(float(t.square().sum()) for t in moments)) / (1 - 0.9)

    free = norm(0)
    assert free > 0.5
    assert norm(free * 2) == pytest.approx(free, rel=1e-4)
    assert norm(0.25) == pytest.approx(0.25, rel=1e-4)


def test_each_step_reports_its_loss_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.training.clock.REPORT_EVERY_S", 0.0)
    kept = Kept()
    settings = train_settings(warmup_steps=4, learning_rate=0.004, schedule="constant")
    trainer_of(settings, kept=kept).fit()

    steps = [event for event in kept.events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, STEPS + 1))
    assert [event.epoch for event in steps] == sorted([1, 2, 3] * BATCHES)
    rates = [event.learning_rate for event in steps]
    assert rates == pytest.approx([0.001, 0.002, 0.003] + [0.004] * (STEPS - 3))
    assert abs(steps[0].loss - math.log(tiny_vocab().size)) < 0.2
    assert steps[-1].loss < steps[0].loss
    assert all(0 <= event.padding < 0.5 and event.tokens_per_s > 0 for event in steps)
    assert steps[0].seconds_left is None  # what it waited for is not the pace
    assert all(event.seconds_left for event in steps[1:-1])
    assert steps[-1].seconds_left == 0


# When it validates, and when it ends


@pytest.mark.parametrize(
    ("validate_every", "expected"),
    [(0, [4, 8, 12]), (3, [3, 4, 6, 8, 9, 12]), (4, [4, 8, 12]), (100, [4, 8, 12])],
)
def test_validations_come_after_so_many_steps_and_each_epoch(
    validate_every: int, expected: list[int]
) -> None:
    kept = Kept()
    trainer_of(train_settings(validate_every=validate_every), kept=kept).fit()
    assert [step for step, _, _ in kept.validations] == expected
    assert kept.saves == expected


def test_best_is_the_lowest_validation_loss() -> None:
    kept = Kept()
    settings = train_settings(epochs=6, learning_rate=0.3, warmup_steps=0, schedule="constant")
    trainer = trainer_of(settings, kept=kept)
    trainer.fit()
    lowest = math.inf
    for _, loss, is_best in kept.validations:
        assert is_best is (loss < lowest)
        lowest = min(lowest, loss)
    assert trainer.state.best_loss == lowest
    assert (trainer.state.best_step, lowest, True) in kept.validations
    assert trainer.state.best_epoch == trainer.state.best_step // BATCHES


STANDSTILL = {"learning_rate": 1e-30, "epochs": 9}  # no float32 weight ever changes


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_patience_ends_a_training_that_gets_no_better(patience: int) -> None:
    kept = Kept()
    trainer = trainer_of(train_settings(**STANDSTILL, patience=patience), kept=kept)
    assert trainer.fit() == "early"
    assert [is_best for _, _, is_best in kept.validations] == [True] + [False] * patience
    assert kept.saves[-1] == trainer.state.step == (1 + patience) * BATCHES


def test_without_patience_training_goes_on() -> None:
    trainer = trainer_of(train_settings(**STANDSTILL))
    assert trainer.fit() == "finished"
    assert trainer.state.bad_validations == 8


def test_patience_that_ends_at_the_resumed_validation_ends_the_training(tmp_path: Path) -> None:
    settings = train_settings(**STANDSTILL, patience=2)
    kept = Kept(tmp_path / "last.safetensors")
    stopped = trainer_of(settings, kept=kept, stop_at=3 * BATCHES)
    assert stopped.fit() == "stopped"  # before the validation that ends it
    for _ in range(2):  # resumed once more, it has ended already
        resumed = resumed_from(tmp_path / "last.safetensors", settings, CPU, kept)
        assert resumed.fit() == "early"
        assert resumed.state.step == 3 * BATCHES
    assert len(kept.validations) == 3


# When something is wrong


def test_loss_that_is_no_number_three_times_in_a_row_ends_the_training() -> None:
    model, kept = tiny_model(), Kept()
    trainer = trainer_of(train_settings(), model=model, kept=kept, stop_at=1)
    trainer.fit()
    with torch.no_grad():
        model.transformer.wte.weight[5:] = math.nan
    with pytest.raises(
        DivergedError, match="step 4: the loss is not a number, the third time in a row"
    ) as caught:
        trainer.fit()
    assert "--learning-rate" in caught.value.hint
    assert kept.saves == [1]


@pytest.mark.parametrize("grad_clip", [0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("times", [1, 2])
def test_gradient_that_is_no_number_leaves_its_step_out(
    times: int, bad: float, grad_clip: float
) -> None:
    model, kept = tiny_model(), Kept()
    settings = train_settings(grad_clip=grad_clip, save_every_s=1e-9, epochs=1)
    trainer = trainer_of(settings, model=model, kept=kept)
    calls: list[int] = []
    seen: list[dict[str, Tensor]] = []

    def overflow(gradient: Tensor) -> Tensor:
        calls.append(1)
        seen.append(everything(trainer))
        return gradient * bad if 2 <= len(calls) < 2 + times else gradient

    model.transformer.ln_f.weight.register_hook(overflow)  # type: ignore[no-untyped-call] # torch's
    assert trainer.fit() == "finished"
    assert_same_weights(seen[1 + times], seen[1])
    assert not torch.equal(seen[2 + times - 1]["lm_head.weight"], snapshot(model)["lm_head.weight"])
    assert trainer.state.left_out == 0
    said = [event.text for event in kept.events if isinstance(event, Warned)]
    assert said == [
        f"step {step}: the gradient is not a number: the step is left out"
        for step in range(2, 2 + times)
    ]


@pytest.mark.gpu
@pytest.mark.parametrize("batching", ["bucketed", "packed"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_gpu_leaves_such_a_step_out_even_when_it_repeats_a_recorded_one(
    optimizer: str, batching: str
) -> None:
    runtime = Runtime(torch.device("cuda"), torch.bfloat16)
    model = tiny_model().to(runtime.device)
    settings = train_settings(optimizer=optimizer, batching=batching)
    trainer = trainer_of(settings, model=model, runtime=runtime)
    batches = trainer.step.batches(1)
    for number in range(6):  # after three, packed steps are recorded
        assert trainer.step.take(batches[number % BATCHES]).isfinite().all()
    bias = model.transformer.ln_f.bias
    good = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(math.nan)
    before = everything(trainer)
    assert trainer.step.take(batches[0]).isnan().all()
    after = everything(trainer)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        bias.copy_(good)
    assert trainer.step.take(batches[1]).isfinite().all()
    assert not torch.equal(everything(trainer)["lm_head.weight"], before["lm_head.weight"])


def test_weights_that_are_no_numbers_are_not_saved() -> None:
    kept = Kept()
    settings = train_settings(save_every_s=1e-9, learning_rate=1e39, warmup_steps=0)
    with pytest.raises(DivergedError, match="step 1: the update is not a number"):
        trainer_of(settings, kept=kept).fit()
    assert kept.saves == []


def test_validation_loss_that_is_no_number_ends_the_training_unsaved() -> None:
    model, kept = tiny_model(), Kept()
    trainer = trainer_of(train_settings(), model=model, kept=kept, stop_at=BATCHES)
    trainer.fit()
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = math.nan
    with pytest.raises(DivergedError, match=f"step {BATCHES}: the validation loss is not a number"):
        trainer.fit()
    assert kept.saves == [BATCHES]
    assert kept.validations == []


def test_first_loss_far_from_a_uniform_guess_is_warned_of() -> None:
    model, kept = tiny_model(), Kept()
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    trainer_of(train_settings(), model=model, kept=kept, stop_at=3).fit()
    warnings = [event for event in kept.events if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert f"ln V = {math.log(tiny_vocab().size):.2f}" in warnings[0].text


def test_fresh_and_resumed_models_are_not_warned_of(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "last.safetensors")
    settings = train_settings(learning_rate=0.03, epochs=9)
    trainer_of(settings, kept=kept, stop_at=8 * BATCHES).fit()
    resumed_from(tmp_path / "last.safetensors", settings, CPU, kept).fit()
    assert not [event for event in kept.events if isinstance(event, Warned)]


# Several processes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "tolerance"),
    [("cpu", 1e-4), pytest.param("cuda", 1e-3, marks=pytest.mark.gpu)],  # 1e-3: TF32
)
def test_two_processes_train_to_the_weights_of_one(
    device: str, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "alone").mkdir()
    train_as_a_rank(tmp_path / "alone", device)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.training.examples import train_as_a_rank\n"
        "train_as_a_rank(Path(sys.argv[1]), sys.argv[2])"
    )
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), device],
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]

    alone = load_checkpoint(tmp_path / "alone" / "0.safetensors").weights
    ranks = [load_checkpoint(tmp_path / f"{rank}.safetensors").weights for rank in (0, 1)]
    assert_same_weights(dict(ranks[0]), dict(ranks[1]))
    fresh = snapshot(tiny_model())
    for name, weight in alone.items():
        torch.testing.assert_close(ranks[0][name], weight, rtol=10 * tolerance, atol=tolerance)
        assert not torch.equal(fresh[name], weight)
    losses = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("0", "1", "alone/0")]
    assert losses[0] == losses[1]
    assert np.allclose(losses[0], losses[2], rtol=tolerance)


# When memory is short


class SmallMemory:
    """Has room for forward passes of so many places."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, places: int) -> None:
        plain = GPT.embed

        def embed(model: GPT, input_ids: Tensor, *arguments: Any) -> Tensor:
            if input_ids.numel() > places:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return plain(model, input_ids, *arguments)

        monkeypatch.setattr(GPT, "embed", embed)


@pytest.mark.parametrize(
    ("batching", "places"), [("bucketed", 200), ("bucketed", 60), ("packed", 128)]
)
def test_short_of_memory_smaller_passes_sum_up_to_the_same_batch(
    batching: str, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = train_settings(batching=batching, batch_size=20)
    whole = trainer_of(settings, model=sharpen(tiny_model()), stop_at=1)
    whole.fit()
    kept = Kept()
    with monkeypatch.context() as patch:
        SmallMemory(patch, places=places)
        trainer = trainer_of(settings, model=sharpen(tiny_model()), kept=kept, stop_at=1)
        assert trainer.fit() == "stopped"

    assert trainer.state.epoch_nats == pytest.approx(whole.state.epoch_nats, rel=1e-6)
    for name, gradient in first_gradients(trainer).items():
        torch.testing.assert_close(gradient, first_gradients(whole)[name], rtol=1e-4, atol=1e-7)
    warnings = [event for event in kept.events if isinstance(event, Warned)]
    assert warnings
    assert all("out of memory" in warning.text for warning in warnings)
    assert f"--micro-batch-tokens {trainer.step.micro_batch_tokens}" in warnings[-1].hint


@pytest.mark.parametrize("batching", ["bucketed", "packed"])
def test_memory_too_small_for_one_pair_ends_the_training(
    batching: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallMemory(monkeypatch, places=2)
    with pytest.raises(torch.OutOfMemoryError):
        trainer_of(train_settings(batching=batching)).fit()
