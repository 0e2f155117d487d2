"""Where a setting's value comes from: option, then environment, then TOML file, then default."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from minigpt.errors import SettingsError
from minigpt.files import check_input
from minigpt.settings import Settings

DEFAULT_CONFIG = Path("minigpt.toml")
ENV_PREFIX = "MINIGPT_"
MOST_BYTES = 1 << 20  # of a settings file

Layer = Mapping[str, Mapping[str, Any]]
Table = TypeVar("Table", bound=BaseModel)


def load_settings(
    overrides: Layer | None = None,
    *,
    config: Path | None = None,
    option_names: Mapping[str, str] | None = None,
) -> Settings:
    """Merge all layers into validated settings that know where each value came from.

    Args:
        overrides: Values given on the command line, by table and key.
        config: TOML file; without it `minigpt.toml` in the working directory, if there is one.
        option_names: The option behind an override (`{"train.epochs": "--epochs"}`), for messages.

    Raises:
        SettingsError: A file cannot be read, or a table, key or value is not allowed.

    Example:
        >>> from minigpt import load_settings
        >>> settings = load_settings({"train": {"epochs": 3}})
        >>> settings.train.epochs, settings.origin("train", "epochs")
        (3, 'option')
    """
    if config is None and os.path.lexists(DEFAULT_CONFIG):
        config = DEFAULT_CONFIG
    layers: list[tuple[str, Layer]] = []
    if config is not None:
        layers.append((str(config), _read_toml(config)))
    layers.append(("environment", _read_environment()))
    layers.append(("option", overrides or {}))

    merged: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for name, layer in layers:
        for table, values in layer.items():
            _check_table(table, values, name=name)
            for key, value in values.items():
                merged.setdefault(table, {})[key] = value
                origins[f"{table}.{key}"] = _origin(name, table, key, option_names or {})
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise _explain(error, origins) from error
    settings._origins.update(origins)
    settings._file = config
    return settings


def changed(table: Table, key: str, value: str) -> Table:
    """`table` with one value changed, under the rules of every layer.

    Raises:
        SettingsError: The value is not allowed.
    """
    try:
        return type(table).model_validate({**table.model_dump(), key: value})
    except ValidationError as error:
        message = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        hint = f"{key}: {_meaning(type(table), key)}"
        raise SettingsError(f"{key} = {value!r}: {message}", hint=hint) from error


def _origin(layer: str, table: str, key: str, option_names: Mapping[str, str]) -> str:
    if layer == "option":
        return option_names.get(f"{table}.{key}", layer)
    if layer == "environment":
        return f"{ENV_PREFIX}{table}__{key}".upper()
    return layer


def _read_toml(path: Path) -> Layer:
    hint = "name an existing TOML file with --config, or leave the option out"
    check_input(path, error=SettingsError, what="the settings", hint=hint, most=MOST_BYTES)
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(
            f"{path}: cannot read the settings: {reason}",
            hint=hint,
        ) from error
    except (ValueError, RecursionError) as error:  # of TOML, UTF-8, or a number of many digits
        raise SettingsError(
            f"{path}: not valid TOML: {error}", hint="correct the file at that place"
        ) from error


def _read_environment() -> Layer:
    ours = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    if not ours:
        return {}
    # Imported here: it takes a fifth as long as all else that a command needs to start.
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
    from pydantic_settings import SettingsError as SourceError

    class Layered(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    for name in ours:
        table, delimiter, _ = name.upper().removeprefix(ENV_PREFIX).partition("__")
        if delimiter:
            _check_table(table.lower(), {}, name=f"environment variable {name}")
    try:
        values: Layer = EnvSettingsSource(Layered)()
    except SourceError as error:
        raise SettingsError(
            f"environment: {error}", hint="lists are written as JSON: '[\"character_f1=0.5\"]'"
        ) from error
    return values


def _check_table(table: str, values: object, *, name: str) -> None:
    if table not in Settings.model_fields:
        raise SettingsError(
            f"{name}: unknown table [{table}]",
            hint=_nearest(table, Settings.model_fields, what="table"),
        )
    if not isinstance(values, Mapping):
        raise SettingsError(
            f"{name}: {table} must be a table, got {values!r}",
            hint=f"write [{table}] on a line of its own, and the keys below it",
        )


def _explain(error: ValidationError, origins: Mapping[str, str]) -> SettingsError:
    first = error.errors(include_url=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if len(first["loc"]) < 2:
        return SettingsError(message, hint="change one of the two, as an option or in minigpt.toml")
    table, key = str(first["loc"][0]), str(first["loc"][1])
    origin = origins.get(f"{table}.{key}", "default")
    model = Settings.model_fields[table].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    if first["type"] == "extra_forbidden":
        return SettingsError(
            f"{origin}: unknown key {key!r} in [{table}]",
            hint=_nearest(key, model.model_fields, what="key"),
        )
    meaning = _meaning(model, key)
    return SettingsError(
        f"{origin}: {table}.{key} = {first['input']!r}: {message}",
        hint=f"{key}: {meaning}" if meaning else "",
    )


def _meaning(model: type[BaseModel], key: str) -> str:
    return " ".join((model.model_fields[key].description or "").split())


def _nearest(name: str, known: Mapping[str, object], *, what: str) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known {what}s: {', '.join(known)}"
