import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from minigpt.errors import SettingsError
from minigpt.layers import changed, load_settings
from minigpt.settings import ChatSettings, Settings
from tests.reference import REFERENCE, reference_toml

# Values that a field takes beside its default, where the type alone does not tell.
OTHERS: dict[str, tuple[Any, Any, Any]] = {
    "stats.plot": ("a.png", "b.svg", "c.pdf"),
    "chat.attention": ("a.png", "b.svg", "c.pdf"),
    "eval.report": ("a.md", "b.json", "c.md"),
    "runtime.device": ("cpu", "cuda", "mps"),
    "vocab.max_size": (100, 101, 102),
    "train.max_length": (100, 101, 102),
    "model.block_size": (300, 301, 302),
    "model.n_head": (2, 4, 6),
    "model.n_embd": (64, 128, 256),
    "chat.top_p": (0.7, 0.8, 0.9),
    "chat.repetition_penalty": (1.1, 1.2, 1.3),
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("MINIGPT_"):
            monkeypatch.delenv(name)


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    for table in Settings.model_fields:
        for key, field in type(getattr(Settings(), table)).model_fields.items():
            yield table, key, field


EVERY_FIELD = pytest.mark.parametrize(
    ("table", "key", "field"), [pytest.param(*each, id=".".join(each[:2])) for each in fields()]
)


def three_values(table: str, key: str, field: FieldInfo) -> tuple[Any, Any, Any]:
    """Values for the TOML file, the environment and the option; neighbours differ."""
    kind = field.annotation
    if f"{table}.{key}" in OTHERS:
        return OTHERS[f"{table}.{key}"]
    if kind is bool:
        return (not field.default, field.default, not field.default)
    if get_origin(kind) is Literal:
        choices = [choice for choice in get_args(kind) if choice != field.default]
        return (choices[0], field.default, choices[-1])
    if get_origin(kind) is tuple:
        return (("a=1",), ("b=2",), ("c=3",))
    if kind is int:
        return (11, 12, 13)
    if kind is float:
        return (0.25, 0.5, 0.75)
    return (kind("one"), kind("two"), kind("three")) if kind else ("", "", "")


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value)).replace("'", '"')
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def as_environment(value: Any) -> str:
    return as_toml(value) if isinstance(value, tuple) else str(value)


@EVERY_FIELD
def test_option_wins_over_environment_over_toml_over_default(
    table: str, key: str, field: FieldInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_toml, in_environment, as_option = three_values(table, key, field)
    variable = f"MINIGPT_{table}__{key}".upper()

    def value_and_origin(option: Any = None) -> tuple[Any, str]:
        overrides = {} if option is None else {table: {key: option}}
        settings = load_settings(overrides, option_names={f"{table}.{key}": "--it"})
        return getattr(getattr(settings, table), key), settings.origin(table, key)

    assert value_and_origin() == (field.default, "default")
    Path("minigpt.toml").write_text(f"[{table}]\n{key} = {as_toml(in_toml)}\n", encoding="utf-8")
    assert value_and_origin() == (in_toml, "minigpt.toml")
    monkeypatch.setenv(variable, as_environment(in_environment))
    assert value_and_origin() == (in_environment, variable)
    assert value_and_origin(as_option) == (as_option, "--it")


@EVERY_FIELD
def test_every_field_says_what_it_means(table: str, key: str, field: FieldInfo) -> None:
    assert field.description
    assert field.description.endswith((".", "repeatable.")), f"{table}.{key}"


def test_reference_file_equals_the_code() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference_toml()


def test_reference_file_gives_every_default() -> None:
    written = tomllib.loads(reference_toml())
    assert {table: set(values) for table, values in written.items()} == {
        table: set(type(section).model_fields) for table, section in Settings()
    }
    assert load_settings(config=REFERENCE).model_dump() == Settings().model_dump()


def test_unknown_key_names_the_nearest_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nepocs = 3\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(config=file)
    assert "mine.toml" in caught.value.message
    assert "'epocs'" in caught.value.message
    assert "'epochs'" in caught.value.hint


def test_unknown_key_of_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_TRAIN__EPOCS", "3")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "MINIGPT_TRAIN__EPOCS" in caught.value.message
    assert "'epochs'" in caught.value.hint


@pytest.mark.parametrize("layer", ["toml", "environment"])
def test_unknown_table_names_the_nearest_and_the_layer(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layer == "toml":
        Path("minigpt.toml").write_text("[trian]\nepochs = 3\n", encoding="utf-8")
    else:
        monkeypatch.setenv("MINIGPT_TRIAN__EPOCHS", "3")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    where = "minigpt.toml" if layer == "toml" else "MINIGPT_TRIAN__EPOCHS"
    assert where in caught.value.message
    assert "'train'" in caught.value.hint


def test_unrelated_variable_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_PORT", "8080")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("layer", "origin"),
    [("toml", "minigpt.toml"), ("environment", "MINIGPT_TRAIN__EPOCHS"), ("option", "--epochs")],
)
def test_value_out_of_bounds_names_its_layer(
    layer: str, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"train": {"epochs": "-1"}} if layer == "option" else {}
    if layer == "toml":
        Path("minigpt.toml").write_text("[train]\nepochs = -1\n", encoding="utf-8")
    if layer == "environment":
        monkeypatch.setenv("MINIGPT_TRAIN__EPOCHS", "-1")
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides, option_names={"train.epochs": "--epochs"})
    assert caught.value.message.startswith(f"{origin}: train.epochs")
    assert "Passes over" in caught.value.hint


@pytest.mark.parametrize("content", [b"[train\n", b"\xff\xfe", b"train = 3\n"])
def test_damaged_file_is_an_error_that_names_it(content: bytes) -> None:
    Path("minigpt.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"minigpt\.toml"):
        load_settings()


def test_named_file_must_exist() -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load_settings(config=Path("absent.toml"))


def test_pairs_longer_than_the_model_are_refused() -> None:
    with pytest.raises(SettingsError, match="block_size"):
        load_settings({"train": {"max_length": 300}, "model": {"block_size": 256}})


def test_settings_are_frozen_and_closed() -> None:
    for _, section in Settings():
        assert isinstance(section, BaseModel)
        assert section.model_config["frozen"] is True
        assert section.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"n_head": 7}, "n_embd 768 is not a multiple of n_head 7"),
        ({"size": "tiny", "n_embd": 30}, "n_embd 30 is not a multiple of n_head 4"),
        ({"n_layer": 5_000}, "model.n_layer"),
        ({"n_embd": 100_000}, "model.n_embd"),
    ],
)
def test_a_shape_that_no_model_has_is_a_settings_error(
    model: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings({"model": model})


@pytest.mark.parametrize("key", [key for key, value in ChatSettings() if value != ""])
def test_a_changed_value_is_the_one_that_an_option_would_give(key: str) -> None:
    text = {"top_p": "0.5", "seed": "7", "checkpoint": "a/b", "temperature": "0"}.get(key, "1")
    expected = load_settings({"chat": {key: text}}).chat
    assert changed(ChatSettings(), key, text) == expected


def test_a_changed_value_leaves_the_others() -> None:
    before = ChatSettings(temperature=0.3, top_k=7)
    assert changed(before, "top_p", "0.5") == before.model_copy(update={"top_p": 0.5})
    assert before.top_p == 1


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("temperature", "-1", "greater than or equal to 0"),
        ("top_p", "1.5", "less than or equal to 1"),
        ("top_k", "many", "valid integer"),
        ("repetition_penalty", "0.5", "greater than or equal to 1"),
    ],
)
def test_a_change_out_of_bounds_names_the_bound_and_the_meaning(
    key: str, value: str, bound: str
) -> None:
    with pytest.raises(SettingsError, match=f"{key} = '{value}': .*{bound}") as caught:
        changed(ChatSettings(), key, value)
    assert caught.value.hint.startswith(f"{key}: ")
