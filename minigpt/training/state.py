"""Where a training stands."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass
class TrainState:
    """Where training stands: plain data, and with weights and moments all that continuing needs.

    Attributes:
        epoch: The current epoch, from 1.
        batch: Batches of this epoch that are done.
        step: Optimizer steps taken.
        tokens: Targets learnt from, over all epochs.
        seconds: Time spent in training.
        epoch_nats: Summed loss of the epoch so far.
        epoch_tokens: Targets that count in the epoch so far.
        best_loss: Lowest validation loss, infinite before the first.
        best_loss_answer: The loss on answers at that validation.
        best_step: Step of the best validation.
        best_epoch: Its epoch.
        bad_validations: Validations since then.
        validated_step: Step of the latest validation.
        left_out: Steps left out since the latest that was a number.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    epoch_nats: float = 0.0
    epoch_tokens: int = 0
    best_loss: float = math.inf
    best_loss_answer: float = math.inf
    best_step: int = 0
    best_epoch: int = 0
    bad_validations: int = 0
    validated_step: int = 0
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """Values that JSON can hold: a loss that is not there yet is None."""
        values = dataclasses.asdict(self)
        return {k: None if v == math.inf else v for k, v in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The state that `to_json` gave.

        Raises:
            TypeError: Values are missing or not expected, or of another type.
        """
        known: dict[str, Any] = {k: math.inf if v is None else v for k, v in values.items()}
        state = cls(**known)
        for field in dataclasses.fields(cls):
            value = known.get(field.name, field.default)
            kinds = (int,) if field.type is int else (int, float)
            if type(value) not in kinds or not value >= 0:
                raise TypeError(f"{field.name} = {value!r}")
        return state
