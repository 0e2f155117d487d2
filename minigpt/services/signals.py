"""Signals that ask a long task to stop when it next can."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class StopRequest:
    """Whether a signal has asked to stop, and which."""

    def __init__(self) -> None:
        self.signal_number = 0

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal_number != 0

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        """Remember the first signal; a second SIGINT means at once."""
        if self.signal_number and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or signal_number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request, and give the earlier handlers back.

    A signal that the parent process wants ignored (`nohup`) stays ignored. Outside the main thread
    no handler can be set, and nothing ever asks to stop.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, stop.handle) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
