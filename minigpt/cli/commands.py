"""What can be typed at the prompt besides questions: a slash, a name, an argument."""

import difflib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.cells import cell_len

from minigpt.errors import SettingsError

SETTINGS = (
    *("temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens", "seed"),
    *("loop_guard", "stats"),
)
"""The keys of `[chat]` that can be changed in a conversation."""

_SLASHES = ("/", "\uff0f")  # the second one is what a Chinese keyboard types


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the conversation.

    Attributes:
        name: Its name.
        chinese: Its name in Chinese.
        argument: What follows it, as the help shows it.
        meaning: What it does.
        takes: What its argument is, for completion.
    """

    name: str
    chinese: str
    argument: str
    meaning: str
    takes: Literal["", "setting", "file"] = ""


COMMANDS = (
    Command("help", "帮助", "", "this list"),
    Command("set", "设置", "NAME VALUE", "change how answers are drawn", "setting"),
    Command("show", "显示", "", "the settings and the model"),
    Command("retry", "重试", "", "answer the last question again, with the next seed"),
    Command("why", "为什么", "", "how likely each character of the last answer was"),
    Command("attention", "注意力", "[FILE]", "draw where the model looked for each one", "file"),
    Command("save", "保存", "FILE.jsonl", "add the questions and answers to a data file", "file"),
    Command("model", "模型", "PATH", "go on with another checkpoint", "file"),
    Command("clear", "清空", "", "forget the questions and answers"),
    Command("exit", "退出", "", "leave; so does Ctrl-D"),
)
_BY_NAME = {name: each for each in COMMANDS for name in (each.name, each.chinese)}

KEYS = (
    ("//...", "ask something that begins with a slash"),
    ("Ctrl-C", "stop an answer, or drop the line; it never leaves"),
    ("Up, Down", "earlier lines"),
    ("Tab", "complete a command, a setting or a file"),
)


@dataclass(frozen=True, slots=True)
class Typed:
    """A command as it was typed."""

    command: Command
    argument: str


def parse(line: str) -> Typed | str:
    """The command that a line is, or the question.

    Args:
        line: Without blanks around it.

    Raises:
        SettingsError: It begins like a command, and there is no such command.
    """
    if not line.startswith(_SLASHES):
        return line
    if line[1:].startswith(_SLASHES):
        return line[1:]
    typed, *rest = line[1:].split(maxsplit=1) or [""]  # the wide blank U+3000 splits too
    name = unicodedata.normalize("NFKC", typed).lower()
    if name not in _BY_NAME:
        raise SettingsError(f"no command /{typed}", hint=_nearest(name))
    return Typed(_BY_NAME[name], "".join(rest).strip())


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.5)
    if close:
        return f"did you mean /{close[0]}?"
    return "/help lists the commands; // begins a question with a slash"


def name_and_value(argument: str) -> tuple[str, str]:
    """What `/set` was given.

    Raises:
        SettingsError: It is not the name of a setting and a value.
    """
    words = unicodedata.normalize("NFKC", argument).replace("=", " ").split()
    key = words[0].lower().replace("-", "_") if words else ""
    if len(words) != 2 or key not in SETTINGS:
        close = difflib.get_close_matches(key, SETTINGS, n=1, cutoff=0.5)
        value = words[1] if len(words) > 1 else "VALUE"
        known = f"/set {close[0]} {value}" if close else f"the names are {', '.join(SETTINGS)}"
        raise SettingsError(
            f"/set takes the name of a setting and a value, got {argument!r}", hint=known
        )
    return key, words[1]


def path_argument(argument: str) -> Path:
    """The path that a command was given, as a shell would read it."""
    if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "'\"":
        argument = argument[1:-1]
    return Path(argument).expanduser()


def help_lines() -> Iterator[str]:
    """Every command and key, in two columns."""
    rows = [(f"/{each.name} {each.argument}".rstrip(), each.chinese) for each in COMMANDS]
    width = max(len(left) for left, _ in rows)
    wide = max(cell_len(chinese) for _, chinese in rows) + 1
    for (left, chinese), each in zip(rows, COMMANDS, strict=True):
        slashed = f"/{chinese}" + " " * (wide - cell_len(f"/{chinese}"))
        yield f"  {left:{width}}  {slashed}  {each.meaning}"
    for left, meaning in KEYS:
        yield f"  {left:{width}}  {' ' * wide}  {meaning}"


def completions(line: str) -> list[str]:
    """The last word of a line, continued in every way that makes sense; sorted.

    Args:
        line: What stands before the cursor.
    """
    if not line.startswith(_SLASHES):
        return []
    head, blank, last = line.rpartition(" ")
    if not blank:
        named = ((each.chinese if _is_chinese(line[1:]) else each.name, each) for each in COMMANDS)
        begun = ((name, each) for name, each in named if name.startswith(line[1:]))
        return sorted(line[0] + name + (" " if each.argument else "") for name, each in begun)
    command = _BY_NAME.get(head.split()[0][1:])
    if command is None:
        return []
    if command.takes == "setting":
        is_name = len(head.split()) == 1  # what follows it is a value
        return sorted(f"{key} " for key in SETTINGS if is_name and key.startswith(last))
    return _files(last) if command.takes == "file" else []


def _is_chinese(text: str) -> bool:
    return any(ord(character) > 0x2E7F for character in text)


def _files(begun: str) -> list[str]:
    folder, name = os.path.split(begun)
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            found = [entry.name + ("/" if entry.is_dir() else "") for entry in entries]
    except OSError:
        return []
    wanted = [each for each in found if each.startswith(name) and (name or each[0] != ".")]
    return sorted(os.path.join(folder, each) for each in wanted)
