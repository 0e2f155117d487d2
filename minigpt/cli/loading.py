"""A model that is loaded while its user reads the prompt and types."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Loading(Generic[T]):
    """The value of a function that runs in a thread of its own.

    The thread is not a daemon: a program that leaves meanwhile waits for it, as an import that is
    torn away from under torch could end in a crash.
    """

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._value: T
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._interruptible = False
        self._thread = threading.Thread(target=self._run, name="loading")
        self._thread.start()

    def get(self) -> T:
        """The value, waited for if need be.

        Raises:
            BaseException: What the function raised.
        """
        self._thread.join()
        self.check()
        return self._value

    def check(self) -> None:
        """Raise what the function has raised, if it has."""
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """A block that a failure ends at once, with the error of the function.

        So nobody types a question at a prompt that nothing stands behind.
        """
        try:
            with self._lock:
                self._interruptible = True
            self.check()
            yield
            with self._lock:
                self._interruptible = False
        except KeyboardInterrupt:
            self.check()
            raise
        finally:
            self._interruptible = False

    def _run(self) -> None:
        try:
            self._value = self._load()
        except BaseException as error:  # every kind belongs to the thread that waits
            with self._lock:
                self._error = error
                if self._interruptible and os.name == "posix":
                    # What reads the terminal in the main thread wakes up by a signal alone.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
