"""The errors a user can meet, each with its exit code."""

from typing import Any, ClassVar


class MiniGPTError(Exception):
    """Anything minigpt reports in one line instead of a traceback.

    Attributes:
        message: What was found, and where.
        hint: What to type or change next; empty when there is nothing to say.

    Example:
        >>> from minigpt import MiniGPTError, load_settings
        >>> try:
        ...     load_settings({"train": {"epoch": 3}})
        ... except MiniGPTError as error:
        ...     error.exit_code, error.hint
        (2, "did you mean 'epochs'?")
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "bug"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class SettingsError(MiniGPTError):
    """Wrong usage, or a setting that is unknown or out of bounds."""

    exit_code = 2
    kind = "settings"


class DataError(MiniGPTError):
    """Input data that is missing, unreadable or has nothing to learn from."""

    exit_code = 3
    kind = "data"


class CheckpointError(MiniGPTError):
    """A checkpoint that is missing, damaged, too new or does not match."""

    exit_code = 4
    kind = "checkpoint"


class VocabError(MiniGPTError):
    """A vocabulary file that is missing, damaged or does not match."""

    exit_code = 4
    kind = "vocab"


class OutputError(MiniGPTError):
    """An output that cannot be written: permission, space, or it is already there."""

    exit_code = 5
    kind = "output"


class DeviceError(MiniGPTError):
    """A device that is not there, cannot do what was asked, or is out of memory."""

    exit_code = 6
    kind = "device"


class DivergedError(MiniGPTError):
    """Training whose loss or gradient is no longer a number."""

    exit_code = 7
    kind = "diverged"


class ThresholdError(MiniGPTError):
    """A metric that did not reach its `fail_under`.

    Attributes:
        result: What was measured all the same.
    """

    exit_code = 8
    kind = "threshold"
    result: Any = None


class InterruptedRunError(MiniGPTError):
    """A run stopped by a signal after it saved what was done."""

    kind = "interrupted"

    def __init__(self, message: str, *, hint: str = "", signal_number: int = 2) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number

    @property
    def code(self) -> int:
        """The shell's exit code for a process ended by the signal: 128 + its number."""
        return 128 + self.signal_number
