"""One run of the program: what was typed goes in, an exit code comes out."""

import errno
import gc
import sys
from collections.abc import Sequence

import typer

from minigpt.cli.app import app
from minigpt.cli.options import GLOBAL_OPTIONS, Carried
from minigpt.cli.process import (
    flush_streams,
    interrupted,
    prepare_libraries,
    prepare_signals,
    prepare_streams,
    silence,
)
from minigpt.errors import (
    DeviceError,
    InterruptedRunError,
    MiniGPTError,
    OutputError,
    SettingsError,
)

BROKEN_PIPE = 141

# Typer's own Click: what it raises for wrong usage, without an import that Typer does not promise.
UsageError = typer.BadParameter.__mro__[1]

gc.set_threshold(50_000)  # looking for garbage in what imports make is 15 % of a short command

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run minigpt and return its exit code.

    Args:
        arguments: What follows the program's name; without it, what the shell gave.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    prepare_signals()
    prepare_libraries()
    json = "--json" in _before_dashes(given)
    try:
        code = _guarded(given, json=json)
        flush_streams()
    except BrokenPipeError:
        silence(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:  # stdout is full: what was to be said is not there
        return _failed(_as_ours(error), json=False)
    return code


def _guarded(arguments: list[str], *, json: bool) -> int:
    try:
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="minigpt", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, Carried) as carrier:
        error = carrier.__cause__ or carrier
    except KeyboardInterrupt as raised:
        error = interrupted(raised)
    except Exception as raised:
        error = raised
    if isinstance(error, BrokenPipeError):
        raise error
    return _failed(_as_ours(error), json=json)


def _failed(error: MiniGPTError, *, json: bool) -> int:
    from minigpt.cli.console import write_error

    write_error(error, json=json)
    flush_streams()
    return error.code if isinstance(error, InterruptedRunError) else error.exit_code


def _as_ours(error: BaseException) -> MiniGPTError:
    """The error as one of minigpt's own; what nobody expected is a bug."""
    if isinstance(error, MiniGPTError):
        return error
    ours = _translated(error)
    ours.__cause__ = error
    return ours


def _translated(error: BaseException) -> MiniGPTError:
    if isinstance(error, UsageError):
        return _usage_error(error)
    if isinstance(error, MemoryError):
        return DeviceError("out of memory", hint="close other programs, or take a smaller model")
    if isinstance(error, OSError) and error.errno in _FULL:
        place = error.filename or "the output"
        return OutputError(f"{place}: cannot be written: {error.strerror}", hint="free some space")
    return MiniGPTError(
        f"unexpected {type(error).__name__}: {error}",
        hint="a bug in minigpt: run it again with MINIGPT_DEBUG=1 to see where",
    )


def _usage_error(error: BaseException) -> SettingsError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "minigpt COMMAND"
    option = getattr(error, "option_name", "")
    if path == "minigpt" and option in _global_names():
        hint = f"minigpt COMMAND {option} ..."
        return SettingsError(f"{option} stands after the command", hint=hint)
    message, _, nearest = _text(error).partition(" Did you mean ")
    nearest = " or ".join(sorted(getattr(error, "possibilities", None) or [])) or nearest
    message = message.rstrip(".")
    hint = f"did you mean {nearest.rstrip('?')}?" if nearest else f"see {path} --help"
    return SettingsError(message[:1].lower() + message[1:], hint=hint)


def _text(error: BaseException) -> str:
    if isinstance(error, typer.BadParameter):
        return str(error.format_message())
    return str(getattr(error, "message", error))


def _global_names() -> set[str]:
    return {name for _, names, _, _ in GLOBAL_OPTIONS.values() for name in names}


def _before_dashes(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
