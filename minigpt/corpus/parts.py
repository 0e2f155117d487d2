"""A part of a data file: what it holds, in a form that another process can send."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from minigpt.corpus.blocks import read_blocks
from minigpt.corpus.columns import ColumnReader
from minigpt.corpus.left_out import SHOWN_BAD_LINES, BadRow
from minigpt.corpus.takings import TAKERS, Arrays


@dataclass(frozen=True)
class Job:
    """What is to be taken from which file.

    Attributes:
        path: The data file.
        question_key: Field that holds the question.
        answer_key: Field that holds the answer.
        taker: One of TAKERS.
        options: Its options, all of them JSON.
    """

    path: str
    question_key: str
    answer_key: str
    taker: str
    options: Mapping[str, Any]

    def run(self, start: int, end: int) -> "Part":
        """Read the lines that begin in the bytes from `start` up to `end`.

        Raises:
            OSError: The file cannot be read.
        """
        reader = ColumnReader(question_key=self.question_key, answer_key=self.answer_key)
        taker = TAKERS[self.taker](**self.options)
        lines = pairs = 0
        shown: list[BadRow] = []
        by_reason: Counter[str] = Counter()
        with Path(self.path).open("rb") as file:
            for block in read_blocks(file, start, end):
                columns = reader.read(block)
                if columns.pairs:
                    taker.take(columns)
                for row in columns.bad:
                    if len(shown) < SHOWN_BAD_LINES:
                        shown.append(BadRow(lines + row.number, row.raw, row.reason))
                    by_reason[row.reason] += 1
                lines += columns.lines
                pairs += columns.pairs
        return Part(lines, pairs, tuple(shown), dict(by_reason), taker.arrays())

    def to_json(self) -> str:
        """The job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The job that `to_json` gave."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Part:
    """What the lines of a part of a file hold.

    Attributes:
        lines: Number of lines, blank and bad ones included.
        pairs: Number of pairs.
        bad: The first of its bad lines, with their numbers in the part, from 0.
        by_reason: How many bad lines there are.
        arrays: What was taken from the pairs.
    """

    lines: int
    pairs: int
    bad: tuple[BadRow, ...]
    by_reason: Mapping[str, int]
    arrays: Arrays

    def write(self, file: BinaryIO) -> None:
        """Write the part; plain numbers and text, nothing that could run."""
        bad = [(row.number, row.raw.decode("latin-1"), row.reason) for row in self.bad]
        head = [self.lines, self.pairs, bad, dict(self.by_reason), list(self.arrays)]
        file.write(json.dumps(head).encode() + b"\n")
        for array in self.arrays.values():
            np.save(file, array, allow_pickle=False)

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """The part that `write` wrote."""
        lines, pairs, bad, by_reason, names = json.loads(file.readline())
        rows = tuple(BadRow(number, raw.encode("latin-1"), reason) for number, raw, reason in bad)
        arrays = {name: np.load(file, allow_pickle=False) for name in names}
        return cls(lines, pairs, rows, by_reason, arrays)
