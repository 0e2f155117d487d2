import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from minigpt.cli.commands import (
    COMMANDS,
    SETTINGS,
    Command,
    Typed,
    completions,
    help_lines,
    name_and_value,
    parse,
    path_argument,
)
from minigpt.errors import SettingsError
from minigpt.settings import ChatSettings

EACH = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


@EACH
@pytest.mark.parametrize("slash", ["/", "／"])
@pytest.mark.parametrize("blank", [" ", "\u3000", "  ", "\t"])
def test_a_command_is_known_by_both_names_and_slashes(
    command: Command, slash: str, blank: str
) -> None:
    for name in (command.name, command.chinese, command.name.upper()):
        assert parse(f"{slash}{name}{blank}a  b") == Typed(command, "a  b")
        assert parse(slash + name) == Typed(command, "")


def test_full_width_letters_are_letters() -> None:
    found = parse("／ｓｅｔ　ｔｏｐ＿ｋ　２０")
    assert isinstance(found, Typed)
    assert name_and_value(found.argument) == ("top_k", "20")


@pytest.mark.parametrize("line", ["quit", "exit", "help", "退出", "你/好", "", "?"])
def test_what_has_no_slash_is_a_question(line: str) -> None:
    assert parse(line) == line


@pytest.mark.parametrize(
    ("line", "question"), [("//help", "/help"), ("／／是什么", "／是什么"), ("//", "/")]
)
def test_two_slashes_ask_something_that_begins_with_one(line: str, question: str) -> None:
    assert parse(line) == question


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("/hepl", "/help"),
        ("/exti", "/exit"),
        ("/atention a.png", "/attention"),
        ("／显不", "/显示"),
        ("/为什", "/为什么"),
        ("/models", "/model"),
    ],
)
def test_an_unknown_command_names_the_nearest(typed: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match="no command /") as caught:
        parse(typed)
    assert caught.value.hint == f"did you mean {nearest}?"


@pytest.mark.parametrize("typed", ["/", "/xyzxyz", "／鑫"])
def test_a_command_like_no_other_leads_to_the_list(typed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(typed)
    assert "/help" in caught.value.hint


@pytest.mark.parametrize(
    "argument", ["top-k 5", "top_k=5", "TOP_K 5", "top_k　５", " top_k  =  5 "]
)
def test_a_setting_can_be_written_in_every_usual_way(argument: str) -> None:
    assert name_and_value(argument) == ("top_k", "5")


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("temprature 0.5", "/set temperature 0.5"),
        ("temperature", "/set temperature VALUE"),
        ("top_k 1 2", "/set top_k 1"),
        ("", "the names are temperature, "),
        ("checkpoint a", "the names are"),
    ],
)
def test_a_wrong_setting_says_what_to_type(argument: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        name_and_value(argument)
    assert caught.value.hint.startswith(hint)


def test_every_setting_that_can_be_changed_is_one_of_the_chat() -> None:
    assert set(SETTINGS) <= set(ChatSettings.model_fields)


def test_the_help_names_everything_and_fits_80_columns() -> None:
    lines = list(help_lines())
    for command in COMMANDS:
        (line,) = [line for line in lines if f"/{command.name} " in line]
        assert f"/{command.chinese}" in line
        assert command.meaning in line
    assert max(map(cell_len, lines)) <= 80
    pairs = zip(lines[: len(COMMANDS)], COMMANDS, strict=True)
    starts = {cell_len(line.partition(each.meaning)[0]) for line, each in pairs}
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/h", ["/help"]),
        ("/s", ["/save ", "/set ", "/show"]),
        ("／s", ["／save ", "／set ", "／show"]),
        ("/帮", ["/帮助"]),
        ("／清", ["／清空"]),
        ("/set t", ["temperature ", "top_k ", "top_p "]),
        ("/设置 se", ["seed "]),
        ("/set temperature t", []),
        ("/show x", []),
        ("/nothing x", []),
        ("你好", []),
        ("", []),
    ],
)
def test_a_begun_word_is_completed(line: str, expected: list[str]) -> None:
    assert completions(line) == expected


def test_a_slash_offers_all_commands() -> None:
    offered = [each.rstrip() for each in completions("/")]
    assert offered == sorted(f"/{command.name}" for command in COMMANDS)


def test_files_are_completed(tmp_path: Path) -> None:
    for name in ("第一.jsonl", "第二.jsonl", ".hidden", "run"):
        (tmp_path / name).mkdir() if name == "run" else (tmp_path / name).touch()
    begun = str(tmp_path) + os.sep
    assert completions(f"/save {begun}第") == [f"{begun}第一.jsonl", f"{begun}第二.jsonl"]
    assert completions(f"/model {begun}r") == [f"{begun}run/"]
    assert f"{begun}.hidden" not in completions(f"/save {begun}")
    assert completions(f"/save {begun}absent/") == []


@given(st.text(max_size=20))
def test_completing_never_fails(line: str) -> None:
    assert all(isinstance(each, str) for each in completions("/" + line))


@pytest.mark.parametrize(
    ("argument", "path"),
    [("a b.jsonl", "a b.jsonl"), ("'a b.jsonl'", "a b.jsonl"), ('"甲"', "甲"), ("'", "'")],
)
def test_a_path_may_be_quoted(argument: str, path: str) -> None:
    assert path_argument(argument) == Path(path)


def test_a_path_may_begin_at_home() -> None:
    assert path_argument("~/a") == Path.home() / "a"
