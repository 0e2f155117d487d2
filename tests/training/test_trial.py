import math

import pytest
import torch

from minigpt.events import ignore
from minigpt.model.runtime import Runtime
from minigpt.training.loop import Trainer
from minigpt.training.trial import Nobody, try_out
from tests.tiny import tiny_model, tiny_set
from tests.training.examples import train_settings


@pytest.mark.parametrize("batching", ["bucketed", "packed"])
@pytest.mark.parametrize("batch_size", [3, 1_000])
def test_a_trial_finds_what_training_takes(
    batching: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minigpt.training.trial.ENOUGH_S", 0.01)
    data = tiny_set()
    settings = train_settings(batching=batching, batch_size=batch_size)
    runtime = Runtime(torch.device("cpu"))
    trainer = Trainer(tiny_model(), data, data, settings, runtime, recorder=Nobody(), report=ignore)
    trial = try_out(trainer)
    assert 0 < trial.tokens_per_s < math.inf
    assert 0 < trial.validation_s < math.inf
    assert trial.memory_bytes == 0 or trial.memory_bytes > 4 * trainer.model.config.parameters
    assert trainer.state.epoch == 1
    assert 0 < trainer.state.step <= trainer.steps
