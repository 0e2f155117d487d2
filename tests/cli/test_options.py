import inspect
from typing import Any, get_args

import pytest
from rich.cells import cell_len

from minigpt.cli.options import SettingOption, setting_options, with_settings
from minigpt.settings import Settings
from tests.cli.conftest import Done, Run

ALL = setting_options(*Settings.model_fields)
EACH_OPTION = pytest.mark.parametrize("option", [pytest.param(o, id=o.path) for o in ALL])


def help_of(option: SettingOption) -> str:
    return str(get_args(option.annotation())[1].help)


def test_every_field_becomes_one_option() -> None:
    fields = [f"{table}.{key}" for table, part in Settings() for key in type(part).model_fields]
    assert [option.path for option in ALL] == fields


@EACH_OPTION
def test_help_is_the_docstring_and_the_default(option: SettingOption) -> None:
    text = " ".join((option.field.description or "").split())
    assert help_of(option).startswith(f"{text} [default: ")


@EACH_OPTION
def test_an_option_that_is_not_given_is_none(option: SettingOption) -> None:
    @with_settings(option.path)
    def command(settings: Settings, console: Any) -> None: ...

    parameters = inspect.signature(command).parameters
    assert parameters[option.parameter].default is None
    assert {"config", "json", "quiet", "verbose"} < set(parameters)


@EACH_OPTION
def test_a_flag_can_be_given_either_way(option: SettingOption) -> None:
    declared = get_args(option.annotation())[1]
    names = [name for name in (declared.default, *declared.param_decls) if isinstance(name, str)]
    expected = option.name
    if option.field.annotation is bool:
        expected = f"{option.name}/--no-{option.name.removeprefix('--')}"
    assert names == [expected]


def test_renamed_settings_take_their_new_names() -> None:
    names = {"data.train": "--train-output", "data.source": "SOURCE"}
    options = {option.path: option for option in setting_options("data", names=names)}
    assert options["data.train"].name == "--train-output"
    assert options["data.source"].is_argument
    assert options["data.val"].name == "--val"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("vocab", "SOURCE --output --min-count --max-size --strict --force"),
        (
            "split",
            "SOURCE --train-output --val-output --train-ratio --seed --leak-free --no-leak-free "
            "--strict --force",
        ),
        ("stats", "FILE --vocab --interval --max-length --plot --show"),
        (
            "train",
            "--train-data --val-data --vocab --run-dir --resume --force --dry-run --epochs "
            "--n-layer --size --block-size --device --dtype --compile",
        ),
        ("eval", "FILE --checkpoint --limit --generate --no-generate --report --fail-under"),
        (
            "chat",
            "QUESTION --checkpoint --temperature --top-k --top-p --repetition-penalty "
            "--max-new-tokens --seed",
        ),
    ],
)
def test_every_promised_option_is_there(run: Run, command: str, expected: str) -> None:
    done: Done = run(command, "--help")
    words = set(done.out.replace(",", " ").split())
    shared = {"--config", "--json", "-q", "--quiet", "-v", "--verbose", "-h", "--help"}
    assert {*expected.split(), *shared} <= words


@pytest.mark.parametrize("command", ["", "vocab", "split", "stats", "train", "eval", "chat"])
def test_help_fits_eighty_columns(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run(*([command] if command else []), "--help")
    assert max(map(cell_len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out
