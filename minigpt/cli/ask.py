"""One question on the command line, one answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt.cli.answer import Remarks, as_json, stream

if TYPE_CHECKING:
    from minigpt.cli.console import Console
    from minigpt.services.chat import ChatSession


def answer_one(
    session: "ChatSession",
    console: "Console",
    question: str,
    *,
    force: bool,
    apart_from: Sequence[Path],
) -> None:
    """Stream the answer to stdout, or write it as JSON; draw its attention where that is wanted."""
    if session.settings.attention:
        from minigpt.services.attention import check_drawing

        check_drawing()
    if console.json:
        for _ in session.ask(question):
            pass
        drawn = _draw(session, force=force, apart_from=apart_from)
        console.write_json(as_json(session.last) | ({"attention": drawn} if drawn else {}))
        return
    stream(session, question)
    Remarks(console).after(session.last, settings=session.settings)
    if drawn := _draw(session, force=force, apart_from=apart_from):
        console.note(f"drew {drawn}")


def _draw(session: "ChatSession", *, force: bool, apart_from: Sequence[Path]) -> Path | None:
    if not session.settings.attention:
        return None
    from minigpt.services.attention import draw_attention

    picture = Path(session.settings.attention)
    draw_attention(session, session.last, picture, apart_from=apart_from, force=force)
    return picture
