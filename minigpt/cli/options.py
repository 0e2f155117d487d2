"""A command's options, made from the fields of the settings: nothing is written twice."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from minigpt.cli.process import interrupted
from minigpt.layers import load_settings
from minigpt.settings import Settings

Command = Callable[..., None]

GLOBAL_OPTIONS = {
    "config": (Path, ("--config",), "PATH", "Settings file; else minigpt.toml, if there is one."),
    "json": (bool, ("--json",), None, "Print one JSON object on stdout, errors too."),
    "quiet": (bool, ("--quiet", "-q"), None, "No progress and no notes; warnings and errors stay."),
    "verbose": (bool, ("--verbose", "-v"), None, "Say more: where settings come from, each save."),
}


class Carried(Exception):
    """Takes its cause past Typer, which would answer some exceptions in its own way."""


@dataclass(frozen=True, slots=True)
class SettingOption:
    """One field of the settings as an option or argument of a command."""

    table: str
    key: str
    field: FieldInfo
    name: str

    @property
    def path(self) -> str:
        """Where the setting stands: `train.epochs`."""
        return f"{self.table}.{self.key}"

    @property
    def parameter(self) -> str:
        """Its parameter in the command's signature."""
        return f"{self.table}__{self.key}"

    @property
    def is_argument(self) -> bool:
        """Whether it is given by position."""
        return not self.name.startswith("-")

    def annotation(self) -> Any:  # noqa: ANN401 - a type made at run time
        """What Typer reads: the type, the names, the help text with its default."""
        text = " ".join((self.field.description or "").split())
        help_text = f"{text} [default: {_shown(self.field.default)}]"
        if self.is_argument:
            argument = typer.Argument(help=help_text, metavar=self.name, show_default=False)
            return Annotated[str | None, argument]
        option = typer.Option(
            *self._declarations(),
            help=help_text,
            metavar=_metavar(self.field.annotation),
            show_default=False,
            rich_help_panel=f"[{self.table}]",
        )
        return Annotated[_typer_type(self.field.annotation) | None, option]

    def _declarations(self) -> tuple[str, ...]:
        if self.field.annotation is bool:
            return (f"{self.name}/--no-{self.name.removeprefix('--')}",)
        return (self.name,)


def setting_options(*wanted: str, names: Mapping[str, str] | None = None) -> list[SettingOption]:
    """The options for `wanted`, each a table ("train") or one key of it ("data.train").

    Args:
        wanted: What the command reads, in the order of its help.
        names: Names that are not the key's own: `--train-data`, or `SOURCE` for an argument.
    """
    options = []
    for path in wanted:
        table, _, only = path.partition(".")
        model = Settings.model_fields[table].annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for key in [only] if only else model.model_fields:
            name = (names or {}).get(f"{table}.{key}", f"--{key.replace('_', '-')}")
            options.append(SettingOption(table, key, model.model_fields[key], name))
    return options


def with_settings(
    *wanted: str, names: Mapping[str, str] | None = None
) -> Callable[[Command], Command]:
    """Turn `command(settings, console, **own)` into a command with an option for every setting.

    An option that is not given is None, so the layers below it decide. `wanted` and `names` are
    those of `setting_options`.
    """
    options = setting_options(*wanted, names=names)

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command).parameters.values())[2:]

        @functools.wraps(command)
        def run(**given: Any) -> None:  # noqa: ANN401 - whatever the options hold
            try:
                _run(command, options, given)
            except (KeyboardInterrupt, EOFError, OSError) as error:
                raise Carried from _as_interruption(error)

        parameters = [*_setting_parameters(options), *own, *_global_parameters()]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        signature = inspect.Signature(parameters)
        run.__signature__ = signature  # type: ignore[attr-defined] # what inspect reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _run(command: Command, options: list[SettingOption], given: dict[str, Any]) -> None:
    from minigpt.cli.console import open_console

    shared = {name: given.pop(name) for name in GLOBAL_OPTIONS}
    values = {option: given.pop(option.parameter) for option in options}
    overrides: dict[str, dict[str, Any]] = {}
    for option, value in values.items():
        if value is not None and value != []:
            overrides.setdefault(option.table, {})[option.key] = value
    option_names = {option.path: option.name for option in options}
    with open_console(
        json=bool(shared["json"]), quiet=bool(shared["quiet"]), verbose=bool(shared["verbose"])
    ) as console:
        settings = load_settings(overrides, config=shared["config"], option_names=option_names)
        console.origins(settings)
        command(settings, console, **given)


def _as_interruption(error: BaseException) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        return interrupted(error)
    return error


def _setting_parameters(options: list[SettingOption]) -> list[inspect.Parameter]:
    return [_parameter(option.parameter, option.annotation()) for option in options]


def _global_parameters() -> list[inspect.Parameter]:
    parameters = []
    for name, (kind, declarations, metavar, text) in GLOBAL_OPTIONS.items():
        option = typer.Option(*declarations, help=text, metavar=metavar, show_default=False)
        parameters.append(_parameter(name, Annotated[kind | None, option]))
    return parameters


def _parameter(name: str, annotation: Any) -> inspect.Parameter:  # noqa: ANN401 - a type
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=None, annotation=annotation)


def _typer_type(annotation: Any) -> Any:  # noqa: ANN401 - a type in, a type out
    # Text for all but flags and lists: the settings parse it, as they do the environment's, so
    # that bounds and messages are the same in every layer.
    if annotation is bool:
        return bool
    return list[str] if get_origin(annotation) is tuple else str


def _metavar(annotation: Any) -> str | None:  # noqa: ANN401 - a type
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return "METRIC=X"
    return {bool: None, int: "N", float: "X", Path: "PATH"}.get(annotation, "TEXT")


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if default not in ("", ()) else "none"
