"""Characters that stand in one place on a screen: a letter and its marks, a joined emoji."""

import unicodedata
from collections.abc import Iterable

JOINER = "\u200d"  # zero width joiner: the next character belongs to this one
_SKIN_TONES = range(0x1F3FB, 0x1F400)  # emoji modifiers, Unicode Technical Standard 51


def extends(character: str) -> bool:
    """Whether the character belongs to the one before: combining mark, selector, joiner."""
    return (
        unicodedata.category(character) in {"Mn", "Mc", "Me"}  # variation selectors are Mn
        or character == JOINER
        or ord(character) in _SKIN_TONES
    )


class Clusters:
    """Gathers single characters into what can be shown at once.

    A character is held back only while one that belongs to it may still follow: never where
    `known`, all that can come, has none of that kind.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._may_follow = any(len(token) == 1 and extends(token) for token in known)
        self._held = ""

    def add(self, character: str) -> str:
        """What can be shown now that the character has come; may be empty."""
        if not self._may_follow:
            return character
        if self._held and (extends(character) or self._held.endswith(JOINER)):
            self._held += character
            return ""
        shown, self._held = self._held, character
        return shown

    def end(self) -> str:
        """What is still held back, as nothing follows."""
        shown, self._held = self._held, ""
        return shown
