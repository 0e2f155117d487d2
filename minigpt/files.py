"""Files that are written whole or not at all, and inputs that are checked before opening."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from minigpt.errors import MiniGPTError, OutputError

Status = Literal["written", "unchanged"]

_COMPARED_AT_ONCE = 1 << 20  # bytes


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A new file beside `path` that takes its place, durably, when the block ends well.

    The file is flushed, fsynced and renamed over `path`, then the directory is fsynced: a kill at
    any moment leaves the previous file or the new one. A symbolic link is written through.
    When the block removes the new file, nothing changes.

    Raises:
        OutputError: The directory or the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            raise OutputError(f"{path}: is not a regular file", hint="name another output file")
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        if temporary.exists():
            _publish(temporary, target)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path) -> None:
    mode = target.stat().st_mode if target.exists() else 0o666 & ~_umask()
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.chmod(stat.S_IMODE(mode))
    temporary.replace(target)
    if os.name == "posix":
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_file(path: Path, data: bytes, *, force: bool = False) -> Status:
    """Write `data` atomically, unless the very same stands there already.

    Raises:
        OutputError: The file holds something else and `force` is not given, or cannot be written.
    """
    status = check_output(path, data, force=force)
    if status == "written":
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    return status


def check_output(path: Path, data: bytes | Path, *, force: bool = False) -> Status:
    """What `write_file` would come to, before anything is written.

    Args:
        path: The output.
        data: What it is to hold, or another file that holds it.
        force: Whether it may be replaced.

    Raises:
        OutputError: The file holds something else and `force` is not given.
    """
    if not holds_other(path, data):
        return "unchanged" if path.exists() else "written"
    if not force:
        raise OutputError(
            f"{path}: exists with other content",
            hint="give --force to replace it, or name another output file",
        )
    return "written"


def same_file(first: Path, second: Path) -> bool:
    """Whether both paths lead to one place, which need not exist yet."""
    with contextlib.suppress(OSError):
        return first.samefile(second)
    return os.path.realpath(first) == os.path.realpath(second)


def holds_other(path: Path, data: bytes | Path) -> bool:
    """Whether something stands at `path` that is not exactly `data`, or what that file holds."""
    try:
        if not path.exists():
            return False
        if not path.is_file():
            raise OutputError(f"{path}: is not a regular file", hint="name another output file")
        if isinstance(data, Path):
            return path.stat().st_size != data.stat().st_size or not _are_alike(path, data)
        return path.stat().st_size != len(data) or path.read_bytes() != data
    except OSError as error:
        raise output_error(path, error) from error


def _are_alike(first: Path, second: Path) -> bool:
    with first.open("rb") as one, second.open("rb") as other:
        while data := one.read(_COMPARED_AT_ONCE):
            if other.read(_COMPARED_AT_ONCE) != data:
                return False
        return not other.read(1)


def output_error(path: Path, error: OSError) -> OutputError:
    """The error for an output that the system refused to write."""
    reason = error.strerror or str(error)
    return OutputError(
        f"{path}: cannot be written: {reason}",
        hint="check the free space and the permissions, or name another place",
    )


def check_input(path: Path, *, error: type[MiniGPTError], what: str, hint: str = "") -> None:
    """Refuse, before it is opened, an input that is not a readable regular file.

    Args:
        path: The input; a link to a regular file is fine.
        error: The class to raise; its exit code is the input's.
        what: What the file should be ("the vocabulary"), for the message.
        hint: What to type when it is missing.
    """
    try:
        mode = path.stat().st_mode
    except OSError as cause:
        reason = cause.strerror or str(cause)
        raise error(f"{path}: cannot read {what}: {reason}", hint=hint) from cause
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise error(f"{path}: cannot read {what}: it is {kind}", hint=hint)
    if not os.access(path, os.R_OK):
        raise error(f"{path}: cannot read {what}: Permission denied", hint=hint)
