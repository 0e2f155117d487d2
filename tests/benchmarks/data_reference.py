"""The data path in the tutorial's manner: a line at a time, with Python's own dicts and lists.

    python -m tests.benchmarks.data_reference vocab|stats|split|encode FILE FOLDER

`tests.benchmarks.data` measures minigpt against it; both must come to the same results.
"""

import json
import random
import sys
from collections import Counter
from pathlib import Path

SPECIAL = ("<pad>", "<unk>", "<sep>")
UNK_ID, SEP_ID = 1, 2


def vocab(source: Path, folder: Path) -> None:
    """Count the characters and write the vocabulary."""
    counts: Counter[str] = Counter()
    with source.open(encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            counts.update(pair["question"])
            counts.update(pair["answer"])
    tokens = [*SPECIAL, *sorted(counts)]
    tables = {
        "word2id": {token: index for index, token in enumerate(tokens)},
        "id2word": dict(enumerate(tokens)),
    }
    text = json.dumps(tables, ensure_ascii=False, indent=4)
    (folder / "vocab.json").write_text(text, encoding="utf-8")


def encode(source: Path, folder: Path) -> list[list[int]]:
    """The ids of all pairs."""
    word2id = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["word2id"]
    rows = []
    with source.open(encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            ids = [word2id.get(character, UNK_ID) for character in pair["question"]]
            ids.append(SEP_ID)
            ids += [word2id.get(character, UNK_ID) for character in pair["answer"]]
            ids.append(SEP_ID)
            rows.append(ids)
    return rows


def stats(source: Path, folder: Path) -> None:
    """Count the tokens of each pair, and the pairs by length."""
    lengths = [len(ids) for ids in encode(source, folder)]
    by_length = Counter(length // 20 for length in lengths)
    figures = {"tokens": sum(lengths), "longest": max(lengths), "histogram": by_length}
    (folder / "stats.json").write_text(json.dumps(figures), encoding="utf-8")


def split(source: Path, folder: Path) -> None:
    """Shuffle the valid lines and cut them."""
    lines = []
    with source.open(encoding="utf-8") as file:
        for line in file:
            text = line.strip()
            json.loads(text)
            lines.append(text)
    random.seed(42)
    random.shuffle(lines)
    cut = int(len(lines) * 0.9)
    for name, part in (("train", lines[:cut]), ("val", lines[cut:])):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for text in part:
                file.write(text + "\n")


TASKS = {"vocab": vocab, "stats": stats, "split": split, "encode": encode}

if __name__ == "__main__":
    TASKS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
