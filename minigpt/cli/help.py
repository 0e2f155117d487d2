"""How `--help` looks: one section per table of settings, then examples.

Plain text in two columns: it fits 80 columns, needs no box characters, and costs no import. The
context and the formatter are Typer's; their classes are not public, hence Any.
"""

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from minigpt.cli.process import wants_colour

NAME_WIDTH = 24  # a longer name has its help text on the next line


class HelpfulCommand(TyperCommand):
    """A command whose help groups its options by `rich_help_panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write a section for the arguments and one for each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = f"{parameter.param_type_name}s".capitalize()
                title = getattr(parameter, "rich_help_panel", None) or kind
                name = record[0].partition(" <")[0]  # an argument's type says nothing here
                sections.setdefault(title, []).append((name, record[1]))
        _write_sections(ctx, formatter, sections)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the examples as they stand."""
        _write_examples(ctx, formatter, self.epilog or "")


class HelpfulGroup(TyperGroup):
    """The program itself: its commands, then its options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write what each command does in one line, and the options."""
        commands = [
            (name, (command.help or "").partition("\n")[0])
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        options = [record for record in records if record is not None]
        _write_sections(ctx, formatter, {"Commands": commands, "Options": options})

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the examples as they stand."""
        _write_examples(ctx, formatter, self.epilog or "")


def _write_sections(
    ctx: typer.Context,
    formatter: Any,  # noqa: ANN401 - Typer's
    sections: dict[str, list[tuple[str, str]]],
) -> None:
    names = [name for records in sections.values() for name, _ in records]
    width = max(len(name) for name in names if len(name) <= NAME_WIDTH)
    for title, records in sections.items():
        if not records:
            continue
        with formatter.section(_styled(ctx, title, bold=True)):
            rows = [(_styled(ctx, name.ljust(width), fg="cyan"), text) for name, text in records]
            formatter.write_dl(rows, col_max=width)


def _write_examples(ctx: typer.Context, formatter: Any, examples: str) -> None:  # noqa: ANN401
    with formatter.section(_styled(ctx, "Examples", bold=True)):
        for line in examples.strip().splitlines():
            command, gap, meaning = line.strip().partition("  ")
            formatter.write(f"  {command}{gap}{_styled(ctx, meaning, dim=True)}\n")


def _styled(ctx: typer.Context, text: str, **style: Any) -> str:  # noqa: ANN401 - typer.style's
    ctx.color = wants_colour(sys.stdout)
    return typer.style(text, **style) if ctx.color and text else text
