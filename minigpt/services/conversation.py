"""The questions and answers of a conversation as a data file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt.errors import OutputError
from minigpt.files import check_input, is_there, output_error, write_file
from minigpt.services.chat import Answer
from minigpt.settings import DataSettings

HINT = "name a new file, or a data file of one JSON object a line"


@dataclass(frozen=True, slots=True)
class SavedPairs:
    """What became of a conversation's pairs.

    Attributes:
        path: The data file.
        added: Pairs that are new in it.
        known: Pairs that it held already.
        unfinished: Answers that did not end by themselves, or are empty: not worth learning from.
        lines: Lines that the file had before.
    """

    path: Path
    added: int
    known: int
    unfinished: int
    lines: int


def save_pairs(path: Path, answers: Sequence[Answer], data: DataSettings) -> SavedPairs:
    """Add the pairs to a JSONL file, which keeps every line that it has.

    Args:
        path: A new file or a data file.
        answers: Those that ended by themselves are saved.
        data: Its field names are used.

    Raises:
        OutputError: The file is something else than JSONL, or cannot be written.
    """
    before = _read(path)
    held = _lines(before)
    finished = [answer for answer in answers if answer.stop_reason == "stop" and answer.text]
    pairs = dict.fromkeys(_line(answer, data) for answer in finished)
    new = [line for line in pairs if line not in held]
    if new:
        end = b"" if before.endswith(b"\n") or not before else b"\n"
        added = "".join(line + "\n" for line in new).encode("utf-8")
        write_file(path, before + end + added, force=True)
    return SavedPairs(
        path=path,
        added=len(new),
        known=len(pairs) - len(new),
        unfinished=len(answers) - len(finished),
        lines=len(held),
    )


def _line(answer: Answer, data: DataSettings) -> str:
    pair = {data.question_key: answer.question, data.answer_key: answer.text}
    return json.dumps(pair, ensure_ascii=False)


def _read(path: Path) -> bytes:
    """What the file holds, if it is JSONL; nothing where there is none."""
    if not is_there(path):
        return b""
    try:
        check_input(path, error=OutputError, what="the data file", hint=HINT)
        content = path.read_bytes()
        objects = [json.loads(line) for line in _lines(content)]
    except OSError as error:
        raise output_error(path, error) from error
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{path}: holds something else than JSON lines", hint=HINT) from error
    if not all(isinstance(each, dict) for each in objects):
        raise OutputError(f"{path}: holds something else than JSON objects", hint=HINT)
    return content


def _lines(content: bytes) -> list[str]:
    lines = (line.strip() for line in content.decode("utf-8-sig").split("\n"))
    return [line for line in lines if line]
