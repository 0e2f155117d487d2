"""minigpt.toml as the settings say it; `python -m tests.reference` writes the file anew."""

import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from minigpt.settings import Settings

REFERENCE = Path(__file__).parents[1] / "minigpt.toml"

PREAMBLE = """\
# Every setting of minigpt, with its default. An option of a command wins over a variable
# MINIGPT_<TABLE>__<KEY> of the environment, the variable over this file, the file over the default.
"""


def reference_toml() -> str:
    """The whole file: each table, each key with its default, and what they mean."""
    tables = [_table(name, getattr(Settings(), name)) for name in Settings.model_fields]
    return PREAMBLE + "\n" + "\n".join(tables)


def _table(name: str, section: BaseModel) -> str:
    keys = [
        f"{_comment(field.description or '')}{key} = {_value(getattr(section, key))}\n"
        for key, field in type(section).model_fields.items()
    ]
    return f"{_comment(type(section).__doc__ or '')}[{name}]\n" + "".join(keys)


def _comment(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), 96)
    return "".join(f"# {line}\n" for line in lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return f'"{value}"'


if __name__ == "__main__":
    REFERENCE.write_text(reference_toml(), encoding="utf-8")
