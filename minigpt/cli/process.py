"""What a program owes its shell: streams that can show anything, signals, a quiet end."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import IO, Any, TextIO

from minigpt.errors import InterruptedRunError

BUSY_LOAD = 0.5  # cores in use, of the machine's


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, unwinding the program the way Ctrl-C does."""

    def __init__(self, signal_number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.signal_number = signal_number


def prepare_streams() -> None:
    """Give every stream a place to go, and a spelling for what its encoding cannot show."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - lives as long as we do
    sys.stdout = _writable(sys.stdout)
    sys.stderr = _writable(sys.stderr)


def _writable(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed by the shell: minigpt ... >&-
        return open(os.devnull, "w", encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def prepare_signals() -> None:
    """Let SIGTERM and SIGHUP clean up like Ctrl-C, unless the parent process ignores them."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(signal_number: int, frame: FrameType | None) -> None:
    raise Terminated(signal_number)


def interrupted(error: KeyboardInterrupt) -> InterruptedRunError:
    """What is said when a signal ended a command, with the shell's code for it."""
    number = error.signal_number if isinstance(error, Terminated) else signal.SIGINT
    return InterruptedRunError("stopped", signal_number=number)


def prepare_libraries() -> None:
    """Set what PyTorch's libraries read once, when they are loaded; the user's own values stay.

    oneDNN keeps code for each shape of a matrix product that it met, megabytes apiece; lengths
    of text are many shapes. GNU OpenMP's threads wait for each other by spinning: fastest where
    every core is free, and ruinous where another program needs one.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    if "OMP_WAIT_POLICY" not in os.environ and _others_compute():
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _others_compute() -> bool:
    """Whether other programs kept half a core busy, or more, over the last minute."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY_LOAD


def flush_streams() -> None:
    """Hand everything written to the system.

    Raises:
        OSError: The reader of stdout went away, or what it writes to is full.
    """
    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
        raise
    try:
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def silence(stream: IO[str]) -> None:
    """Send what is still in the stream, and all that follows, nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # not backed by a file: nothing left to silence
        return


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person may be looking at the stream."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def is_animated(stream: IO[str]) -> bool:
    """Whether a line on the stream can be drawn over."""
    return is_terminal(stream) and os.environ.get("TERM", "") not in {"dumb", "unknown"}


Modes = list[Any]


def modes_of(stream: IO[str]) -> Modes | None:
    """How a terminal treats what is typed, as termios has it; None where there is no terminal."""
    try:
        import termios
    except ImportError:  # Windows shows nothing that nobody reads
        return None
    try:
        return termios.tcgetattr(stream.fileno())
    except (OSError, ValueError, termios.error):
        return None


@contextlib.contextmanager
def in_modes(stream: IO[str], modes: Modes | None) -> Iterator[None]:
    """A block in which the terminal has these modes."""
    before = modes_of(stream)
    if before is None or modes is None:
        yield
        return
    _set_modes(stream, modes)
    try:
        yield
    finally:
        _set_modes(stream, before)


def _set_modes(stream: IO[str], modes: Modes) -> None:
    import termios

    with contextlib.suppress(OSError, ValueError, termios.error):  # it went away
        termios.tcsetattr(stream.fileno(), termios.TCSANOW, modes)


def unechoed(stream: IO[str]) -> contextlib.AbstractContextManager[None]:
    """A block in which what is typed is not shown, but kept for the next one who reads it.

    It is kept key by key: the terminal's own line editing would take Ctrl-D for the end of the
    file, and erase single bytes of a character where it has not been told of UTF-8.
    """
    modes = modes_of(stream)
    if modes is not None:
        import termios

        modes[3] &= ~(termios.ECHO | termios.ICANON)
    return in_modes(stream, modes)


def wants_colour(stream: IO[str]) -> bool:
    """Whether to colour the stream: NO_COLOR, then FORCE_COLOR, then what stands behind it."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return is_animated(stream)


def is_debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("MINIGPT_DEBUG", "0") not in {"", "0"}
