"""A conversation at a terminal: questions and commands, line by line."""

import sys
from typing import TYPE_CHECKING

from minigpt.cli.actions import ACTIONS
from minigpt.cli.answer import Remarks, stream
from minigpt.cli.commands import completions, parse
from minigpt.cli.conversation import Conversation
from minigpt.cli.editor import Editor, open_editor
from minigpt.cli.history import History, history_path
from minigpt.cli.loading import Loading
from minigpt.cli.process import Terminated, unechoed
from minigpt.errors import MiniGPTError, OutputError, SettingsError
from minigpt.settings import Settings

if TYPE_CHECKING:
    from minigpt.cli.console import Console
    from minigpt.services.chat import ChatSession

HOW_TO_LEAVE = "Ctrl-D or /exit leaves"


def talk(settings: Settings, console: "Console", *, force: bool) -> None:
    """Read questions and commands from the terminal until the person leaves.

    The model is loaded while the first line is typed.

    Raises:
        CheckpointError: There is no model, or it is damaged.
        DeviceError: The device is not there, or out of memory.
    """
    from minigpt.model.location import resolve_checkpoint

    resolve_checkpoint(settings.chat.checkpoint)  # told before anything is typed
    history = _history(console, kept=settings.chat.history)
    editor = open_editor(history.lines, completions)
    console.remark(f"/help lists the commands, Ctrl-C stops an answer, {HOW_TO_LEAVE}")
    conversation = Conversation(settings, Loading(lambda: _load(settings)), force=force)
    with unechoed(sys.stdin):
        Talk(conversation, console, editor, history).run()


def _load(settings: Settings) -> "ChatSession":
    from minigpt.services.chat import ChatSession

    session = ChatSession.open(settings)
    session.warm_up()
    return session


def _history(console: "Console", *, kept: bool) -> History:
    history = History(history_path() if kept else None)
    try:
        history.load()
    except OutputError as error:
        console.say("warning", error.message, hint="--no-history does without")
    return history


class Talk:
    """The loop of a conversation."""

    def __init__(
        self, conversation: Conversation, console: "Console", editor: Editor, history: History
    ) -> None:
        self.conversation = conversation
        self.console = console
        self.editor = editor
        self.history = history
        self.remarks = Remarks(console, in_talk=True)

    def run(self) -> None:
        """Read lines until the person leaves."""
        while True:
            try:
                with self.conversation.loading.interrupting():
                    typed = self.editor.read()
            except EOFError:
                return
            except Terminated:
                raise
            except KeyboardInterrupt:
                self.console.remark(HOW_TO_LEAVE)
                continue
            try:
                for line in typed.splitlines():  # several when they were pasted
                    if not self.handle(line.strip()):
                        return
            except Terminated:
                raise
            except KeyboardInterrupt:
                self.console.remark(f"stopped; {HOW_TO_LEAVE}")

    def handle(self, line: str) -> bool:
        """Do what a line says; what cannot be done is told, and the conversation goes on.

        Returns:
            Whether it goes on.

        Raises:
            MiniGPTError: There is no model to talk with.
        """
        self._keep(line)
        try:
            typed = parse(line)
            if isinstance(typed, str):
                self._ask(typed)
            elif typed.command.name == "retry":
                self._retry()
            elif typed.command.name == "exit":
                return False
            else:
                ACTIONS[typed.command.name](self.conversation, self.console, typed.argument)
        except MiniGPTError as error:
            self.conversation.loading.check()
            self.console.say("error", error.message, hint=error.hint)
        return True

    def _ask(self, question: str, *, again: bool = False) -> None:
        if not question:
            return
        session = self.conversation.session
        self.conversation.question, before = question, session.last
        try:
            stream(session, question)
        finally:
            if session.last is not before:  # it was not refused
                self.conversation.heard(session.last, again=again)
        self.remarks.after(session.last, settings=session.settings)

    def _retry(self) -> None:
        conversation = self.conversation
        if not conversation.question:
            raise SettingsError("there is no question to answer again", hint="ask one")
        if conversation.is_settled:
            self.console.remark(
                "the answer would be the same: the likeliest characters are taken; "
                "/set temperature 0.8 draws"
            )
            return
        self._ask(conversation.question, again=True)

    def _keep(self, line: str) -> None:
        try:
            if self.history.add(line):
                self.editor.remember(line)
        except OutputError as error:
            self.console.say("warning", error.message, hint="--no-history does without")
