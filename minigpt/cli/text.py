"""Values made into text that is safe to show: no control characters, or one line of JSON."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

SCHEMA = 1

# C0, DEL and C1; Arabic letter mark and the other bidi controls; line and paragraph separator;
# lone surrogates, which no encoding can write.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def safe(text: str, *, keep: str = "") -> str:
    r"""`text` with what could steer a terminal spelled out, like `\x1b`; `keep` stays as it is."""

    def spelled(match: re.Match[str]) -> str:
        character = match.group()
        return character if character in keep else _spell(character)

    return _CONTROLS.sub(spelled, text)


def _spell(character: str) -> str:
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    code = ord(character)
    return named.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def to_json(value: Mapping[str, Any]) -> str:
    """One line of JSON that begins with the schema; equal to `value` when parsed, safe to show."""
    return json_line({"schema": SCHEMA, **value})


def json_line(value: Mapping[str, Any]) -> str:
    """One line of JSON, equal to `value` when parsed, safe to show."""
    text = json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def to_plain(value: Any) -> Any:  # noqa: ANN401 - any result goes in, any JSON value comes out
    """`value` in the types that JSON has: dataclasses by field, paths as text, no NaN."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Set):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value) if isinstance(value, PurePath) else repr(value)


def number(value: float) -> str:
    """A number as people read it: 46,403,328, 0.9, 3.1416, 1.2e-05."""
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def counted(count: int, noun: str) -> str:
    """So many of a thing: 1 epoch, 15 epochs."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
