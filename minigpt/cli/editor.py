"""How a line is read from a person: by prompt_toolkit, by readline, or as the terminal gives it."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Protocol

from minigpt.cli.process import in_modes, is_animated, is_terminal, modes_of, wants_colour

PROMPT = "> "
WAKE_S = 0.2  # unnoticed by a person who waits for Ctrl-C, and by the processor
_STYLE, _PLAIN = "\x1b[1;36m", "\x1b[0m"

Complete = Callable[[str], list[str]]


class Editor(Protocol):
    """Reads lines; the prompt and what is typed appear on stderr."""

    def read(self) -> str:
        """A line.

        Raises:
            EOFError: The person has left (Ctrl-D).
            KeyboardInterrupt: The line was dropped (Ctrl-C).
        """

    def remember(self, line: str) -> None:
        """Offer the line again when the person goes back."""


def open_editor(earlier: Sequence[str], complete: Complete) -> Editor:
    """The best editor that is here.

    Args:
        earlier: Lines to go back to, the newest last.
        complete: The last word of what stands before the cursor, continued in every way.
    """
    if is_terminal(sys.stdin) and is_terminal(sys.stderr) and is_animated(sys.stderr):
        try:
            from minigpt.cli.toolkit import ToolkitEditor
        except ImportError:
            pass
        else:
            return ToolkitEditor(earlier, complete)
    try:
        import readline
    except ImportError:  # Windows has a line editor of its own
        return PlainEditor()
    return ReadlineEditor(readline, earlier, complete)


class PlainEditor:
    """Whatever the terminal offers, in the modes that it has now."""

    def __init__(self) -> None:
        self._modes = modes_of(sys.stdin)

    def read(self) -> str:
        """A line."""
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            with in_modes(sys.stdin, self._modes), _stdout_to_stderr(), _waking():
                return input(self.prompt())
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")  # the line that was begun ends
            raise

    def prompt(self) -> str:
        """The prompt, coloured where colour is wanted."""
        return f"{_STYLE}{PROMPT}{_PLAIN}" if wants_colour(sys.stderr) else PROMPT

    def remember(self, line: str) -> None:
        """Nothing can be offered."""


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """A block in which file 1, all that input() and readline know, is stderr."""
    try:
        stdout = os.dup(1)
    except OSError:  # closed
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


@contextlib.contextmanager
def _waking() -> Iterator[None]:
    """A block in which a signal is heeded soon, whenever it comes.

    Readline looks for signals only when one interrupts its waiting for a key. One that comes a
    moment before the waiting begins would lie there until a key is pressed: the next tick of a
    timer interrupts for it.
    """
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, WAKE_S, WAKE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ReadlineEditor(PlainEditor):
    """GNU readline or libedit, which `input` uses on a terminal."""

    def __init__(self, readline: ModuleType, earlier: Sequence[str], complete: Complete) -> None:
        super().__init__()
        self._readline = readline
        self._complete = complete
        readline.set_auto_history(False)
        readline.clear_history()
        for line in earlier:
            readline.add_history(line)
        readline.set_completer_delims(" ")
        readline.set_completer(self._candidate)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def prompt(self) -> str:
        r"""The prompt; what stands between \x01 and \x02 takes no cells, so readline is told."""
        if not wants_colour(sys.stderr) or not is_terminal(sys.stderr):
            return super().prompt()
        return f"\x01{_STYLE}\x02{PROMPT}\x01{_PLAIN}\x02"

    def remember(self, line: str) -> None:
        """Offer the line when the person goes back."""
        self._readline.add_history(line)

    def _candidate(self, word: str, index: int) -> str | None:
        begun = self._readline.get_line_buffer()[: self._readline.get_endidx()]
        candidates = [each for each in self._complete(begun) if each.startswith(word)]
        return candidates[index] if index < len(candidates) else None
