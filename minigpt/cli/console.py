"""What a command says: results on stdout, all else on stderr."""

import contextlib
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.text import Text

from minigpt.cli.process import is_debugging, is_terminal, silence, wants_colour
from minigpt.cli.progress import ProgressLine
from minigpt.cli.render import Lines, lines_of, show
from minigpt.cli.text import json_line, safe, to_json, to_plain
from minigpt.errors import InterruptedRunError, MiniGPTError
from minigpt.events import BadLine, BadLines, Event, Note, Saved, Warned
from minigpt.settings import Settings, TrainSettings

if TYPE_CHECKING:
    from minigpt.evaluation.result import EvalResult

STYLES = {"error": "bold red", "warning": "yellow", "hint": "cyan", "note": "dim"}


class Console:
    """The one place where the terminal is written while a command runs.

    Attributes:
        json: Whether stdout carries one JSON object instead of text.
        quiet: Whether progress and notes are left out.
        verbose: Whether more is said.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.out = _rich(sys.stdout)
        self.err = _rich(sys.stderr)
        # Under torchrun every process runs the command; the first one speaks for all.
        self.speaks = os.environ.get("RANK", "0") == "0"
        self.progress = ProgressLine(self.err)

    def report(self, event: Event) -> None:
        """Show an event of a service on stderr."""
        if self.speaks:
            with self._unhurt():
                self._report(event)

    @contextlib.contextmanager
    def _unhurt(self) -> Iterator[None]:
        """Go on when the reader of stderr went away: the work matters, its progress less."""
        try:
            yield
        except OSError:
            silence(sys.stderr)

    def _report(self, event: Event) -> None:
        match event:
            case Warned():
                self.say("warning", event.text, hint=event.hint)
            case BadLine():
                self.say("warning", f"{event.path}:{event.line}: {event.reason}")
            case BadLines():
                counts = (f"{count:,} {reason}" for reason, count in event.by_reason.items())
                self.say("warning", f"{event.path}: {event.total:,} left out: {', '.join(counts)}")
            case Note():
                self.note(event.text)
            case Saved():
                if self.verbose:
                    self.note(f"saved {event.path}")
            case _ if not self.quiet:
                self.progress.update(event)

    def say(self, kind: str, text: str, *, hint: str = "") -> None:
        """Write `kind: text` to stderr, and its hint on a line below."""
        for name, message in ((kind, text), ("hint", hint)):
            if message:
                line = Text.assemble((f"{name}:", STYLES[name]), " ", safe(message, keep="\n"))
                self.err_line(line)

    def err_line(self, line: Text) -> None:
        """Write a line to stderr."""
        with self._unhurt():
            self.err.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Write a note to stderr, unless notes are not wanted."""
        if not self.quiet:
            self.say("note", text)

    def remark(self, text: str) -> None:
        """Write a faint word to the person at the terminal."""
        if not self.quiet:
            self.err_line(Text(f"({safe(text)})", style="dim"))

    def end_line(self) -> None:
        """End the line that a person was typing."""
        self.err_line(Text())

    def origins(self, settings: Settings) -> None:
        """With --verbose, say which settings are not the defaults, and who set them."""
        if not self.verbose or self.quiet or not self.speaks:
            return
        for table, values in settings:
            for key, value in values:
                if value != type(values).model_fields[key].default:
                    self.note(f"{table}.{key} = {value} ({settings.origin(table, key)})")

    def result(self, result: Any, *, lines: Lines = lines_of) -> None:  # noqa: ANN401 - any result
        """Show what a service returned: as the lines that `lines` makes of it, or as JSON."""
        self.progress.stop()
        if not self.speaks:
            return
        if self.json:
            self.write_json(result)
        else:
            show(self.out, result, lines=lines)

    def measured(self, result: "EvalResult", *, missed: MiniGPTError | None = None) -> None:
        """Show an evaluation: its figures on one screen, or as JSON; and which were missed."""
        from minigpt.cli.figures import lines_of_figures

        width = self.out.width if is_terminal(sys.stdout) else None
        if self.json and missed:
            self.result({**to_plain(result), "error": _plain_error(missed)})
        else:
            self.result(result, lines=partial(lines_of_figures, width=width))
        if missed:
            self.say("error", missed.message, hint=missed.hint)

    def trained(self, result: Any) -> None:  # noqa: ANN401 - the TrainResult, torch stays away
        """Show a training's result: on stdout only the path of the best checkpoint."""
        self.progress.stop()
        if self.json or not self.speaks:
            self.result(result)
            return
        if not self.quiet:
            with self._unhurt():
                show(self.err, result)
                self.err.print()
                for line in next_commands(result.run_dir):
                    self.err.print(line, soft_wrap=True)
                self.err.print()
        self.out.print(Text(safe(str(result.best))), soft_wrap=True)

    def write_json(self, value: Any) -> None:  # noqa: ANN401 - a dataclass or a mapping
        """Write the command's one JSON object."""
        if self.speaks:
            write_json(sys.stdout, value)

    def write_json_line(self, value: Mapping[str, Any] | None) -> None:
        """Write one of many JSON objects, each a line; a blank line for None."""
        _write_utf8(sys.stdout, (json_line(value) if value is not None else "") + "\n")

    def close(self) -> None:
        """Take down what is drawn over itself."""
        self.progress.stop()


def next_commands(run_dir: Path) -> Iterator[Text]:
    """What to type after a training."""
    where = (
        ""
        if run_dir == TrainSettings().run_dir
        else f" --checkpoint {shlex.quote(safe(str(run_dir)))}"
    )
    commands = {f"minigpt eval{where}": "how good it is", f"minigpt chat{where}": "talk with it"}
    width = max(map(cell_len, commands))
    for command, purpose in commands.items():
        room = " " * (width - cell_len(command))
        yield Text.assemble(("next", "dim"), "  ", (command, "bold"), room, (f"  {purpose}", "dim"))


@contextlib.contextmanager
def open_console(*, json: bool, quiet: bool, verbose: bool) -> Iterator[Console]:
    """A console that also carries the package's logging while it is open."""
    console = Console(json=json, quiet=quiet, verbose=verbose)
    handler = _LogHandler(console)
    root, ours = logging.getLogger(), logging.getLogger("minigpt")
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.captureWarnings(True)
    try:
        yield console
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        ours.setLevel(logging.NOTSET)
        console.close()


def write_json(stream: IO[str], value: Any) -> None:  # noqa: ANN401 - a dataclass or a mapping
    """Write one JSON object in UTF-8, whatever encoding the console has."""
    _write_utf8(stream, to_json(to_plain(value)) + "\n")


def _write_utf8(stream: IO[str], text: str) -> None:
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text)
    else:
        buffer.write(text.encode("utf-8"))


def write_error(error: MiniGPTError, *, json: bool) -> None:
    """Say what went wrong: on stderr for people, and on stdout as JSON if that was asked for."""
    console = Console(json=json)
    is_stop = isinstance(error, InterruptedRunError)
    if is_stop and not console.speaks:  # all processes are stopped alike
        return
    if json:
        write_json(sys.stdout, {"error": _plain_error(error)})
    if is_debugging():
        written = "".join(traceback.format_exception(error))
        console.err_line(Text(safe(written.rstrip(), keep="\n\t")))
    console.say("note" if is_stop else "error", error.message, hint=error.hint)


def _plain_error(error: MiniGPTError) -> dict[str, str]:
    return {"kind": error.kind, "message": error.message, "hint": error.hint}


class _LogHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        console = self.console
        # Python's own warnings (torch has many) are for developers.
        least = logging.ERROR if record.name == "py.warnings" else logging.WARNING
        if record.levelno < least and (console.quiet or not console.verbose):
            return
        kind = {logging.WARNING: "warning", logging.ERROR: "error"}.get(record.levelno, "note")
        with contextlib.suppress(OSError):
            console.say(kind, f"{record.name}: {record.getMessage()}")


class _StreamConsole(RichConsole):
    def on_broken_pipe(self) -> NoReturn:
        # Rich would exit with 1; the stream's reader decides what its absence means.
        raise BrokenPipeError


def _rich(stream: IO[str]) -> RichConsole:
    colour = wants_colour(stream)
    return _StreamConsole(
        file=stream,
        force_terminal=is_terminal(stream) or colour,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
