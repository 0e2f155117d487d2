"""Lines of JSON read many at a time, by a parser that is faster than json and is asked less."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from pydantic_core import from_json

from minigpt.corpus.qa import MAX_LINE_BYTES, accepted_answers

_AT_ONCE = 64  # lines; when they cannot be read together, each is read again
_VALUES = {str, int, float, bool, type(None)}  # those without a part of their own

Texts = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """Takes question and answer from objects of plain values and lists of strings.

    Of other lines it says nothing: valid or not, they are for `parse_fields`.
    """

    question_key: str
    answer_key: str

    def read(self, lines: Sequence[bytes]) -> list[Texts | None]:
        """The question and the answer of each line, as `parse_fields` finds them, or None."""
        found: list[Texts | None] = []
        for first in range(0, len(lines), _AT_ONCE):
            some = lines[first : first + _AT_ONCE]
            together = self._together(some)
            found += map(self._alone, some) if together is None else together
        return found

    def _alone(self, line: bytes) -> Texts | None:
        found = self._together([line])
        return found[0] if found else None

    def _together(self, lines: Sequence[bytes]) -> Sequence[Texts] | None:
        raw = b",\n".join(lines)
        if len(raw) > MAX_LINE_BYTES or (b"\n" + raw).count(b"\n{") != len(lines):
            return None
        try:
            fields = from_json(b"[%b]" % raw, cache_strings="keys")
            if len(fields) != len(lines) or not _are_all_there(fields, raw):
                return None
            texts = [*map(self._texts, fields)]
            return texts if all(map(str.strip, chain.from_iterable(texts))) else None
        except (ValueError, LookupError, TypeError):
            return None

    def _texts(self, fields: Mapping[str, Any]) -> Texts:
        if self.answer_key in fields:
            return fields[self.question_key], fields[self.answer_key]
        return fields[self.question_key], accepted_answers(fields.get("answers"))[0]


def _are_all_there(fields: Sequence[dict[str, Any]], raw: bytes) -> bool:
    """Whether these are the objects of the lines, one of each, and no key stands there twice.

    A comma before a newline is in no string, and, before a brace, in no object. If it is in no
    list either, since lists hold strings alone, it parts two objects of the array. A key that
    stands there twice leaves quotes that belong to nothing.
    """
    kinds = Counter(map(type, chain.from_iterable(map(dict.values, fields))))
    strings = kinds.total() + kinds[str]
    if kinds.pop(list, 0):
        lists = (value for each in fields for value in each.values() if type(value) is list)
        inner = Counter(map(type, chain.from_iterable(lists)))
        if inner.keys() - {str}:
            return False
        strings += inner[str]
    return kinds.keys() <= _VALUES and _quotes(raw) == 2 * strings


def _quotes(raw: bytes) -> int:
    """Number of quotes that are not escaped."""
    points = np.frombuffer(raw, dtype=np.uint8)
    slashes = points == ord("\\")
    if (slashes[1:] & slashes[:-1]).any():
        return _quotes(raw.replace(rb"\\", b""))
    quotes = points == ord('"')
    escaped = quotes[1:] & slashes[:-1]
    return int(np.count_nonzero(quotes)) - int(np.count_nonzero(escaped))
