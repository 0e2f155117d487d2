"""The line editor of the extra `chat`: prompt_toolkit, which is right for wide characters."""

import sys
from collections.abc import Iterator, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.output import ColorDepth, Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from minigpt.cli.editor import PROMPT, Complete
from minigpt.cli.process import wants_colour


class ToolkitEditor:
    """Reads lines with prompt_toolkit, on a terminal that can move its cursor."""

    def __init__(self, earlier: Sequence[str], complete: Complete) -> None:
        self._session: PromptSession[str] = PromptSession(
            FormattedText([("bold ansicyan", PROMPT)]),
            history=InMemoryHistory(earlier),
            completer=_LastWord(complete),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            enable_suspend=True,
            color_depth=None if wants_colour(sys.stderr) else ColorDepth.MONOCHROME,
            output=_stderr(),
        )

    def read(self) -> str:
        """A line."""
        sys.stdout.flush()
        return self._session.prompt()

    def remember(self, line: str) -> None:
        """prompt_toolkit has remembered it already."""


class _LastWord(Completer):
    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        line = document.text_before_cursor
        word = line.rpartition(" ")[2]
        for candidate in self._complete(line):
            yield Completion(candidate, start_position=-len(word))


def _stderr() -> Output:
    output = create_output(stdout=sys.stderr)
    if isinstance(output, Vt100_Output):
        # Asked for with no menu to place, the cursor's position would only be noise to a terminal
        # that cannot tell it.
        output.enable_cpr = False
    return output
