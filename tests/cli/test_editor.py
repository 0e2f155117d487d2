import io
import os
import signal
import threading

import pytest

from minigpt.cli import editor
from minigpt.cli.commands import completions
from minigpt.cli.editor import PROMPT, PlainEditor, ReadlineEditor, open_editor


@pytest.fixture
def readline_editor() -> ReadlineEditor:
    readline = pytest.importorskip("readline")
    return ReadlineEditor(readline, ["一", "二"], completions)


def test_the_prompts_colour_takes_no_room_on_the_line(
    readline_editor: ReadlineEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editor, "wants_colour", lambda _: True)
    monkeypatch.setattr(editor, "is_terminal", lambda _: True)
    marked = readline_editor.prompt()
    outside = "".join(part.partition("\x02")[2] for part in f"\x02{marked}".split("\x01"))
    assert outside == PROMPT
    assert "\x1b" in marked


@pytest.mark.parametrize("kind", [PlainEditor, ReadlineEditor])
def test_the_prompt_is_plain_where_no_colour_is_wanted(
    readline_editor: ReadlineEditor, monkeypatch: pytest.MonkeyPatch, kind: type[PlainEditor]
) -> None:
    monkeypatch.setattr(editor, "wants_colour", lambda _: False)
    plain = readline_editor if kind is ReadlineEditor else PlainEditor()
    assert plain.prompt() == PROMPT


def test_earlier_lines_and_new_ones_can_be_gone_back_to(readline_editor: ReadlineEditor) -> None:
    import readline

    readline_editor.remember("三")
    count = readline.get_current_history_length()
    assert [readline.get_history_item(n + 1) for n in range(count)] == ["一", "二", "三"]


def test_without_a_terminal_nothing_moves_a_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("你好\n"))
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(open_editor([], completions), PlainEditor)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_a_signal_that_interrupts_no_waiting_is_heeded_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()

    def waiting(_: str) -> str:
        # As when a signal comes just before readline waits: the system has handed it over, and
        # nothing interrupts the main thread.
        signal.pthread_kill(other.ident or 0, signal.SIGINT)
        os.read(read_end, 1)
        return "never"

    late = threading.Timer(20, lambda: os.write(write_end, b"a key"))
    late.start()
    monkeypatch.setattr("builtins.input", waiting)
    handler = signal.getsignal(signal.SIGALRM)
    try:
        with pytest.raises(KeyboardInterrupt):
            PlainEditor().read()
        assert late.is_alive()  # no key was needed
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        late.cancel()
        leave.set()
        other.join()
        os.close(read_end)
        os.close(write_end)
