"""What the services can report while they work, as plain values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing that needs no action."""

    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that may not be what the user wants; `hint` says what to do."""

    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line of a data file that was left out."""

    path: Path
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class BadLines:
    """How many lines of a data file were left out in all, by reason."""

    path: Path
    total: int
    by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is; `total` is 0 when it is not known."""

    task: str
    done: int
    total: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """What is about to be trained, on what, and for how long."""

    parameters: int
    device: str
    dtype: str
    train_pairs: int
    val_pairs: int
    tokens_per_epoch: int
    steps: int
    epochs: int
    first_step: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """Where training is. Rates are over the time since the previous report.

    `tokens_per_s` counts targets that are no padding, `padding` is the share of it in this step,
    and `utilization` that of the arithmetic that the device was seen to reach. `seconds_left` is
    None after the first step, which waits for what the others have.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    tokens_per_s: float
    padding: float
    utilization: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """A fixed validation question and what the model answers now."""

    question: str
    answer: str
    expected: str


@dataclass(frozen=True, slots=True)
class Validated:
    """A validation over every pair; losses in nats per token."""

    epoch: int
    epochs: int
    step: int
    train_loss: float
    val_loss: float
    val_loss_answer: float
    is_best: bool
    seconds: float
    samples: tuple[SampleAnswer, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that now stands complete on the disk."""

    path: Path


Event = (
    Note | Warned | BadLine | BadLines | Progress | TrainingStarted | StepDone | Validated | Saved
)
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Report nothing: the default for library use."""
