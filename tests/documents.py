"""The documents under docs/, their code run; `python -m tests.documents` writes what it prints."""

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

DOCS = Path(__file__).parents[1] / "docs"
ENGLISH, CHINESE = DOCS / "understanding.md", DOCS / "understanding.zh-CN.md"

CHAPTER = re.compile(r"^## (?=\d)", re.MULTILINE)
# A block of Python, and below it the block of what it prints, if it prints.
EXAMPLE = re.compile(
    r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL
)


@dataclass(frozen=True)
class Example:
    """A block of code and what stands below it as its output."""

    code: str
    output: str


def chapters(text: str) -> list[str]:
    """The chapters of a document, each with its heading; what stands before them is left out."""
    return CHAPTER.split(text)[1:]


def examples(chapter: str) -> list[Example]:
    """The code of a chapter in order."""
    return [Example(found["code"], found["output"] or "") for found in EXAMPLE.finditer(chapter)]


def run(chapter: str, *, name: str) -> list[Example]:
    """The same examples with what they print now; one after the other, in one namespace.

    Args:
        chapter: Its text.
        name: For tracebacks.
    """
    namespace: dict[str, object] = {"__name__": name}
    ran = []
    with as_it_was():
        for number, example in enumerate(examples(chapter), start=1):
            code = compile(example.code, f"{name}, block {number}", "exec")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, namespace)
            ran.append(replace(example, output=printed.getvalue()))
    return ran


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Undo what a chapter sets for all of PyTorch."""
    dtype, state = torch.get_default_dtype(), torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)


def filled(text: str) -> str:
    """The document with each output as it is now."""
    head, *rest = CHAPTER.split(text)
    for number, chapter in enumerate(rest):
        ran = iter(run(chapter, name=f"chapter {number + 1}"))
        rest[number] = EXAMPLE.sub(lambda _, ran=ran: _block(next(ran)), chapter)
    return "## ".join([head, *rest])


def _block(example: Example) -> str:
    output = f"\n```text\n{example.output}```\n" if example.output else ""
    return f"```python\n{example.code}```\n{output}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for path in (ENGLISH, CHINESE):
        path.write_text(filled(path.read_text("utf-8")), encoding="utf-8")
