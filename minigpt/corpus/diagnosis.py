"""Why a data file holds not one valid pair, in words that lead to one that does."""

import codecs
import json
import shlex
from pathlib import Path

from minigpt.errors import DataError
from minigpt.events import BadLine

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_PACKED = {  # how a file begins: by what it was made, and what undoes that
    b"\x1f\x8b": ("gzip", "gzip -dc <"),
    b"BZh": ("bzip2", "bzip2 -dc <"),
    b"\xfd7zXZ\0": ("xz", "xz -dc <"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc <"),
    b"PK\x03\x04": ("zip", "unzip -p"),
}


def explain_no_pair(
    path: Path, first: BadLine | None, raw: bytes, *, keys: tuple[str, str]
) -> DataError:
    """The error for a file without a valid pair: its encoding, form or field names.

    Args:
        path: The file.
        first: Its first bad line; None when it has nothing but blank lines.
        raw: The bytes of that line.
        keys: The fields expected for the question and the answer.
    """
    example = f'each line is one object such as {{"{keys[0]}": "…", "{keys[1]}": "…"}}'
    if first is None:
        return DataError(f"{path}: no valid pair: the file is empty", hint=example)
    name = shlex.quote(str(path))
    for mark, (packer, unpack) in _PACKED.items():
        if first.line == 1 and raw.startswith(mark):
            return DataError(
                f"{path}: is compressed by {packer}",
                hint=f"unpack it: {unpack} {name} > lines.jsonl",
            )
    encoding = foreign_encoding(raw)
    if encoding:
        return DataError(
            f"{path}: looks like {encoding}, expected UTF-8",
            hint=f"convert it: iconv -f {encoding} -t UTF-8 {name} > utf8.jsonl",
        )
    if raw.lstrip().startswith(b"["):
        return DataError(
            f"{path}: is one JSON array, expected one object a line",
            hint=f"rewrite it: jq -c '.[]' {name} > lines.jsonl",
        )
    begin, separator, _ = raw.partition(b"\r")
    if separator and _is_json(begin, "utf-8"):
        return DataError(
            f"{path}: its lines end in CR alone, expected LF or CRLF",
            hint=f"rewrite it: tr '\\r' '\\n' < {name} > lines.jsonl",
        )
    found = _field_names(raw)
    if first.reason.endswith("missing") and found:
        example = (
            f"its fields are {', '.join(found)}: "
            "set [data] question_key and answer_key in minigpt.toml"
        )
    return DataError(
        f"{path}: no valid pair; the first bad line is line {first.line}: {first.reason}",
        hint=example,
    )


def foreign_encoding(raw: bytes) -> str:
    """The encoding other than UTF-8 that the first line of a file is in; empty when unknown."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name
    if raw[:1] and raw[1:2] == b"\0":
        return "UTF-16LE"
    if raw[:1] == b"\0" and raw[1:2]:
        return "UTF-16BE"
    return "GB18030" if is_gb18030(raw) else ""


def is_gb18030(raw: bytes) -> bool:
    """Whether a line is JSON in GB18030, and not in UTF-8."""
    return _is_json(raw, "gb18030") and not _is_json(raw, "utf-8")


def _is_json(raw: bytes, encoding: str) -> bool:
    try:
        json.loads(raw.decode(encoding))
    except (ValueError, RecursionError):
        return False
    return True


def _field_names(raw: bytes) -> list[str]:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    return [repr(name) for name in fields][:8] if isinstance(fields, dict) else []
