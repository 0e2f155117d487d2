"""What the commands of a conversation do, questions aside."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from minigpt.cli.commands import SETTINGS, help_lines, name_and_value, path_argument
from minigpt.cli.conversation import Conversation
from minigpt.cli.render import show
from minigpt.cli.text import safe
from minigpt.errors import SettingsError
from minigpt.layers import changed

if TYPE_CHECKING:
    from minigpt.cli.console import Console
    from minigpt.services.chat import Answer

Action = Callable[[Conversation, "Console", str], None]


def _help(conversation: Conversation, console: "Console", argument: str) -> None:
    for line in help_lines():
        console.err_line(Text(line))


def _set(conversation: Conversation, console: "Console", argument: str) -> None:
    key, value = name_and_value(argument)
    chat = changed(conversation.settings.chat, key, value)
    conversation.change(chat, reseed=key == "seed")
    console.remark(f"{key} = {getattr(conversation.settings.chat, key)}")


def _show(conversation: Conversation, console: "Console", argument: str) -> None:
    session, chat = conversation.session, conversation.settings.chat
    show(
        console.err,
        {
            "checkpoint": session.path,
            "parameters": session.parameters,
            "longest": f"{session.context_length} tokens, question and answer together",
            "device": session.runtime.device_name,
            **{key: getattr(chat, key) for key in SETTINGS},
            "seed": chat.seed if chat.seed >= 0 else "a fresh one",
            "next seed": str(session.next_seed),
        },
    )


def _why(conversation: Conversation, console: "Console", argument: str) -> None:
    from minigpt.cli.why import explanation
    from minigpt.services.explain import explain

    for line in explanation(explain(conversation.session, _last(conversation))):
        console.err_line(line)


def _attention(conversation: Conversation, console: "Console", argument: str) -> None:
    from minigpt.services.attention import draw_attention

    answer = _last(conversation)
    chat = conversation.settings.chat
    if argument:
        picture = Path(changed(chat, "attention", str(path_argument(argument))).attention)
    else:
        picture = _free(Path(chat.attention or "attention.png"))
    draw_attention(
        conversation.session,
        answer,
        picture,
        apart_from=conversation.settings.files,
        force=conversation.force,
    )
    console.remark(f"drew {picture}")


def _free(picture: Path) -> Path:
    """A name like that one which nothing has yet."""
    numbered = (picture.with_stem(f"{picture.stem}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([picture], numbered) if not os.path.lexists(path))


def _save(conversation: Conversation, console: "Console", argument: str) -> None:
    if not argument:
        raise SettingsError("/save takes the name of a file", hint="/save pairs.jsonl")
    from minigpt.services.conversation import save_pairs

    saved = save_pairs(path_argument(argument), conversation.answers, conversation.settings.data)
    parts = [f"{saved.added:,} of {len(conversation.answers):,} pairs added to {saved.path}"]
    if saved.lines:
        parts[0] += f", which keeps its {saved.lines:,} lines"
    if saved.known:
        parts.append(f"{saved.known:,} stood there already")
    if saved.unfinished:
        parts.append(f"{saved.unfinished:,} left out: empty, or cut before the end")
    console.remark("; ".join(parts))


def _model(conversation: Conversation, console: "Console", argument: str) -> None:
    if not argument:
        raise SettingsError("/model takes a checkpoint file or a run directory")
    conversation.loading.get()
    from minigpt.services.chat import ChatSession

    chat = changed(conversation.settings.chat, "checkpoint", str(path_argument(argument)))
    session = ChatSession.open(conversation.settings.model_copy(update={"chat": chat}))
    conversation.switch(session)
    console.remark(f"{session.path}: {session.parameters:,} parameters")


def _clear(conversation: Conversation, console: "Console", argument: str) -> None:
    count = len(conversation.answers)
    conversation.answers.clear()
    conversation.last = None
    conversation.question = ""
    console.remark(f"forgot {count:,} answers")


def _last(conversation: Conversation) -> "Answer":
    answer = conversation.last
    if answer is None:
        raise SettingsError("there is no answer of this model yet", hint="ask it something")
    if not answer.text:
        raise SettingsError(f"the answer to {safe(answer.question)} is empty", hint="/retry")
    return answer


ACTIONS: dict[str, Action] = {
    "help": _help,
    "set": _set,
    "show": _show,
    "why": _why,
    "attention": _attention,
    "save": _save,
    "model": _model,
    "clear": _clear,
}
