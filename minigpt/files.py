"""Files that are written whole or not at all, and inputs that are checked before opening."""

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from minigpt.errors import MiniGPTError, OutputError, SettingsError

Status = Literal["written", "unchanged"]
Step = Literal[
    "make directory", "create", "write", "flush", "permit", "replace", "flush directory", "append"
]

_UNFINISHED = ".unfinished"


def _nothing(step: Step, path: Path) -> None:
    """Write as usual."""


before_step: Callable[[Step, Path], None] = _nothing
"""Called before each step that changes the disk: the tests fail, or end the process, here."""

_COMPARED_AT_ONCE = 1 << 20  # bytes


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Where to write a new file that takes the place of `path`, durably, when the block ends well.

    The file is flushed, fsynced and renamed over `path`, then the directory is fsynced: a kill at
    any moment leaves the previous file or the new one. A symbolic link is written through. When
    the block leaves no file there, nothing changes. It is alone in a directory beside `path`, so
    that what else a library writes while it saves goes with it, also when a killed process left
    it behind.

    Raises:
        OutputError: The directory or the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    room: Path | None = None
    descriptor = -1
    try:
        make_directory(target.parent)
        if os.path.lexists(target) and not target.is_file():  # a link here leads to itself
            raise OutputError(f"{path}: is not a regular file", hint="name another output file")
        remove_unfinished(target)
        before_step("create", target)
        room = Path(
            tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_UNFINISHED)
        )
        if sys.platform != "win32":  # which opens no directories
            descriptor = os.open(room, os.O_RDONLY)
            with contextlib.suppress(OSError):  # some file systems have no locks
                lock(descriptor)
        temporary = room / target.name
        before_step("write", temporary)
        yield temporary
        if temporary.exists():
            _publish(temporary, target)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)


def _publish(temporary: Path, target: Path) -> None:
    mode = target.stat().st_mode if target.exists() else 0o666 & ~_umask()
    before_step("flush", temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    before_step("permit", temporary)
    temporary.chmod(stat.S_IMODE(mode))
    before_step("replace", target)
    temporary.replace(target)
    before_step("flush directory", target.parent)
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


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are missing."""
    if not path.is_dir():
        before_step("make directory", path)
        path.mkdir(parents=True, exist_ok=True)


def remove_unfinished(target: Path) -> None:
    """Remove what processes that were killed while they wrote `target` have left beside it."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"\w+" + re.escape(_UNFINISHED))
    with contextlib.suppress(OSError):
        for path in target.parent.iterdir():
            if pattern.fullmatch(path.name) and path.is_dir() and not _is_being_written(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_being_written(path: Path) -> bool:
    """Whether the process that made this directory is still at it."""
    if sys.platform == "win32":
        return True
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not lock(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Keep others from locking the same file, until it is closed or this process ends.

    Returns:
        Whether no other process has it; always True on Windows.

    Raises:
        OSError: The file system has no locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def append_line(path: Path, line: str) -> None:
    """Add a line at the end of a file, the whole of it or, if that fails, nothing.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a regular file", hint="name another output file")
        before_step("append", path)
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            data = f"{line}\n".encode()
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        raise output_error(path, error) from error


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


def is_there(path: Path) -> bool:
    """Whether something stands at `path`, or may: where looking fails, opening it says why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


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


def check_input(
    path: Path, *, error: type[MiniGPTError], what: str, hint: str = "", most: int = 0
) -> None:
    """Refuse, before it is opened, an input that is not a readable regular file.

    Args:
        path: The input; a link to a regular file is fine.
        error: The class to raise; its exit code is the input's.
        what: What the file should be ("the vocabulary"), for the message.
        hint: What to type when it is missing.
        most: Bytes that it may have; 0 is any number.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = getattr(cause, "strerror", "") or str(cause)
        raise error(f"{path}: cannot read {what}: {reason}", hint=hint) from cause
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise error(f"{path}: cannot read {what}: it is {kind}", hint=hint)
    if not os.access(path, os.R_OK):
        raise error(f"{path}: cannot read {what}: Permission denied", hint=hint)
    if most and status.st_size > most:
        raise error(
            f"{path}: cannot read {what}: {status.st_size:,} bytes, at most {most:,} make sense",
            hint=hint,
        )


def check_distinct(output: Path, inputs: Iterable[Path], *, what: str, option: str) -> None:
    """Refuse, even with --force, an output that would take the place of an input.

    Args:
        output: Where something is to be written.
        inputs: What is read, or a directory with it; links to them count as well.
        what: What would be written ("the report").
        option: What names another place.

    Raises:
        SettingsError: The output is one of the inputs.
    """
    for path in inputs:
        if same_file(output, path):
            raise SettingsError(
                f"{output}: {what} would replace what it is made from",
                hint=f"name another file with {option}",
            )
