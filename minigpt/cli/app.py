"""The six commands. Each is one call of a service; what it needs is imported when it runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minigpt import __version__
from minigpt.cli.help import HelpfulCommand, HelpfulGroup
from minigpt.cli.options import with_settings
from minigpt.cli.process import is_terminal
from minigpt.errors import SettingsError, ThresholdError
from minigpt.settings import Settings

if TYPE_CHECKING:
    from minigpt.cli.console import Console

LINES = ("data.strict", "data.question_key", "data.answer_key")
DEVICE = ("runtime.device", "runtime.dtype")
ANSWERING = (*DEVICE, "runtime.quantize")

Force = Annotated[bool, typer.Option("--force", help="Replace outputs with other content.")]
OptionalFile = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="JSONL file.", show_default=False)
]

app = typer.Typer(
    cls=HelpfulGroup,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    minigpt train               # vocabulary and split are built where missing
    minigpt chat                # talk with what was trained
    minigpt chat 你好           # one question, one answer
    minigpt COMMAND --help      # every option of a command
    """,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"minigpt {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def minigpt(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Train a small conversational model from your own questions and answers.

    Every option can also stand in minigpt.toml, or in a variable MINIGPT_TABLE__KEY.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), color=context.color)


@app.command(
    cls=HelpfulCommand,
    epilog="""
    minigpt vocab
    minigpt vocab data.jsonl
    minigpt vocab data.jsonl --output vocab.json --min-count 2
    """,
)
@with_settings(
    *("data.source", "data.vocab", *LINES, "vocab"),
    names={"data.source": "SOURCE", "data.vocab": "--output"},
)
def vocab(settings: Settings, console: "Console", force: Force = False) -> None:
    """Build the vocabulary: every character of the data becomes a token."""
    from minigpt.services.vocab import build_vocabulary

    console.result(build_vocabulary(settings, force=force, report=console.report))


@app.command(
    cls=HelpfulCommand,
    epilog="""
    minigpt split
    minigpt split data.jsonl --train-ratio 0.8 --seed 7
    minigpt split --no-leak-free --force
    """,
)
@with_settings(
    *("data.source", "data.train", "data.val", *LINES, "split"),
    names={
        "data.source": "SOURCE",
        "data.train": "--train-output",
        "data.val": "--val-output",
    },
)
def split(settings: Settings, console: "Console", force: Force = False) -> None:
    """Shuffle the data and cut it into a training and a validation part."""
    from minigpt.services.split import split_data

    console.result(split_data(settings, force=force, report=console.report))


@app.command(
    cls=HelpfulCommand,
    epilog="""
    minigpt stats
    minigpt stats data.jsonl --interval 10 --plot lengths.png
    minigpt stats --show 3
    """,
)
@with_settings("data.vocab", *LINES, "stats")
def stats(
    settings: Settings, console: "Console", file: OptionalFile = None, force: Force = False
) -> None:
    """Show how many tokens the pairs of FILE have (default: [data] train)."""
    from minigpt.cli.inside import lines_of_stats
    from minigpt.services.stats import show_stats

    result = show_stats(settings, file=file, force=force, report=console.report)
    console.result(result, lines=lines_of_stats)


@app.command(
    cls=HelpfulCommand,
    epilog="""
    minigpt train
    minigpt train --epochs 15 --size small
    minigpt train --dry-run          # the model as a tree, and what it takes
    minigpt train --init-from old    # learn on from a model, with new characters
    minigpt train --resume           # go on where a run stopped
    minigpt train --run-dir output-2 --learning-rate 5e-4
    """,
)
@with_settings(
    *(
        "train",
        "model",
        *DEVICE,
        "runtime.compile",
        "data.source",
        "data.train",
        "data.val",
        "data.vocab",
        *LINES,
    ),
    names={"data.train": "--train-data", "data.val": "--val-data"},
)
def train(
    settings: Settings,
    console: "Console",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the run directory, exactly.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew in a run directory that holds a run.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what would be trained and what it takes, after some steps for trial.",
        ),
    ] = False,
) -> None:
    """Train a model; vocabulary and split are built first where they are missing."""
    if resume and force:
        raise SettingsError("--resume and --force exclude each other", hint="leave one out")
    from minigpt.cli.inside import lines_of_dry_run

    if dry_run:
        from minigpt.services import plan

        planned = plan.dry_run(settings, report=console.report)
        console.result(planned, lines=lines_of_dry_run)
        return
    from minigpt.services import train as service

    result = service.train(settings, resume=resume, force=force, report=console.report)
    console.trained(result)


@app.command(
    "eval",
    cls=HelpfulCommand,
    epilog="""
    minigpt eval
    minigpt eval exam.jsonl --limit 500 --report report.md
    minigpt eval --compare output-2
    minigpt eval --no-generate --fail-under loss_answer=2.5
    """,
)
@with_settings("eval", "data.train", *ANSWERING, *LINES, names={"data.train": "--train-data"})
def evaluate(
    settings: Settings, console: "Console", file: OptionalFile = None, force: Force = False
) -> None:
    """Measure a checkpoint on the pairs of FILE (default: [data] val)."""
    from minigpt.services.evaluate import evaluate

    try:
        console.measured(evaluate(settings, file=file, force=force, report=console.report))
    except ThresholdError as missed:  # the figures are still what was asked for
        console.measured(missed.result, missed=missed)
        raise typer.Exit(missed.exit_code) from missed


@app.command(
    cls=HelpfulCommand,
    epilog="""
    minigpt chat
    minigpt chat 中国的首都是哪里？
    minigpt chat --top-k 20 --temperature 0.8
    minigpt chat < questions.txt > answers.txt
    minigpt chat --jsonl < questions.jsonl > answers.jsonl
    minigpt chat 你好 --attention looked.png    # where the model looked
    """,
)
@with_settings("chat", *ANSWERING, "data.question_key", "data.answer_key")
def chat(
    settings: Settings,
    console: "Console",
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            help="Without it: a prompt on a terminal, else one question per line of stdin.",
            show_default=False,
        ),
    ] = None,
    jsonl: Annotated[
        bool,
        typer.Option("--jsonl", help="Lines of stdin and stdout are JSON objects."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Let a picture replace a file.")] = False,
) -> None:
    """Answer a question, a file of questions, or talk."""
    talks = question is None and is_terminal(sys.stdin)
    _check_ways(settings, console, question, talks=talks, jsonl=jsonl)
    if talks:
        from minigpt.cli.talk import talk

        talk(settings, console, force=force)
        return
    from minigpt.cli import ask, lines
    from minigpt.services.chat import ChatSession

    session = ChatSession.open(settings, report=console.report)
    if question is not None:
        ask.answer_one(session, console, question, force=force, apart_from=settings.files)
        return
    form = lines.form_of(console, settings.data, jsonl=jsonl)
    lines.answer_lines(session, console, sys.stdin.buffer, form=form, settings=settings.chat)


def _check_ways(
    settings: Settings, console: "Console", question: str | None, *, talks: bool, jsonl: bool
) -> None:
    """Refuse what does not go together, before a model is loaded."""
    if talks and console.json:
        raise SettingsError("--json needs a question", hint="minigpt chat QUESTION --json")
    if jsonl and (talks or question is not None):
        raise SettingsError("--jsonl reads stdin", hint="minigpt chat --jsonl < questions.jsonl")
    if jsonl and console.json:
        raise SettingsError("--jsonl and --json exclude each other", hint="leave one out")
    if question is not None and not question.strip():
        raise SettingsError("the question is empty", hint='minigpt chat "QUESTION"')
    if settings.chat.attention and question is None and not talks:
        raise SettingsError(
            "chat.attention draws one answer", hint="minigpt chat QUESTION --attention FILE.png"
        )
