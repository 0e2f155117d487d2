"""How long training takes, and how fast it goes, without the pauses for validation and saving."""

import time

REPORT_EVERY_S = 0.5


class Clock:
    """Runs while the model trains."""

    def __init__(self) -> None:
        self._started = self._reported = self._saved = time.monotonic()
        self._tokens = self._tokens_reported = self._steps = 0
        self._seconds = self._first_s = 0.0

    def restart(self) -> None:
        """Go on after a pause; what is due in some seconds is due from now."""
        self._started = self._reported = self._saved = time.monotonic()
        self._tokens_reported = self._tokens

    def pause(self) -> float:
        """Stop for a while, and return the seconds since the last restart."""
        spent = time.monotonic() - self._started
        self._seconds += spent
        return spent

    def count(self, tokens: int) -> None:
        """Count a step that learnt from so many targets."""
        self._tokens += tokens
        self._steps += 1
        if self._steps == 1:
            self._first_s = self._spent()

    def report_is_due(self) -> bool:
        """Whether the last report is long enough ago."""
        return time.monotonic() - self._reported >= REPORT_EVERY_S

    def save_is_due(self, every_s: float) -> bool:
        """Whether the last save is `every_s` seconds ago; never when that is 0."""
        return 0 < every_s <= time.monotonic() - self._saved

    def tokens_per_s(self) -> float:
        """Targets per second since the previous report; a new report starts now."""
        now = time.monotonic()
        rate = (self._tokens - self._tokens_reported) / max(1e-9, now - self._reported)
        self._reported, self._tokens_reported = now, self._tokens
        return rate

    def seconds_per_step(self) -> float | None:
        """Over the whole time but the first step, which waits for what the others have."""
        if self._steps < 2:
            return None
        return (self._spent() - self._first_s) / (self._steps - 1)

    def _spent(self) -> float:
        return self._seconds + time.monotonic() - self._started
