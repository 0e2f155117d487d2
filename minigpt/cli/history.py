"""The lines typed at the prompt, kept for the next time where only their author can read them."""

import os
from pathlib import Path

from minigpt.cli.text import safe
from minigpt.errors import OutputError
from minigpt.files import atomic_path, output_error

LIMIT = 1000
"""Most lines that are kept."""


def history_path() -> Path:
    """The file in the user's state directory (XDG Base Directory Specification)."""
    variable, default = "XDG_STATE_HOME", "~/.local/state"
    if os.name == "nt":
        variable, default = "LOCALAPPDATA", "~/AppData/Local"
    given = Path(os.environ.get(variable, ""))
    base = given if given.is_absolute() else Path(os.path.expanduser(default))
    return base / "minigpt" / "chat_history"


class History:
    """Lines in the order they were typed, the newest last.

    Attributes:
        lines: At most `LIMIT`.
        path: The file that keeps them; None keeps them in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.lines: list[str] = []
        self.path = path

    def load(self) -> None:
        """Read the lines that the file holds, and leave it private and short.

        Raises:
            OutputError: It cannot be made, read or written: nothing will be kept in it.
        """
        path, self.path = self.path, None
        if path is None:
            return
        if not path.is_absolute():  # nobody's home
            raise OutputError("no home directory to keep the history in", hint="--no-history")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            held = _read(path)
            self.lines = held[-LIMIT:]
            if len(held) > LIMIT:
                with atomic_path(path) as temporary:
                    temporary.write_text("".join(f"{line}\n" for line in self.lines), "utf-8")
        except OSError as error:
            raise output_error(path, error) from error
        self.path = path

    def add(self, line: str) -> bool:
        """Keep a line, unless it is blank or the one before it once more.

        Returns:
            Whether it is new.

        Raises:
            OutputError: The file cannot be written: from now on nothing is kept in it.
        """
        line = safe(line)
        if not line.strip() or self.lines[-1:] == [line]:
            return False
        self.lines.append(line)
        if self.path is not None:
            path, self.path = self.path, None
            try:
                _append(path, line)
            except OSError as error:
                raise output_error(path, error) from error
            self.path = path
        return True


def _append(path: Path, line: str) -> None:
    # One write at the end: conversations at the same time do not lose each other's lines.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _read(path: Path) -> list[str]:
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a regular file", hint="remove it, or give --no-history")
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
        text = file.read().decode("utf-8", "replace")
    path.chmod(0o600)
    lines = (safe(line) for line in text.split("\n"))
    return [line for line in lines if line.strip()]
