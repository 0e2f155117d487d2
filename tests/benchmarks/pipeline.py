"""Run all six commands on a JSONL file and print a row of figures for RESULTS.md.

    python -m tests.benchmarks.pipeline FILE.jsonl --lines 20000 -- --size tiny --epochs 2

What follows `--` goes to `minigpt train`. With `--exam FILE` the model also sits that exam.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any


def minigpt(*arguments: str | Path) -> tuple[dict[str, Any], float]:
    """The JSON that a command gives, and the seconds that its whole process took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "minigpt", *map(str, arguments), "--json", "-q"],
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result, time.perf_counter() - started


def run(
    source: Path, folder: Path, train: Sequence[str], *, limit: int, exam: Path | None
) -> dict[str, Any]:
    """Figures of one pass through the pipeline, everything written under `folder`."""
    vocab, train_data, val = folder / "vocab.json", folder / "train.jsonl", folder / "val.jsonl"
    output = folder / "output"
    built, vocab_s = minigpt("vocab", source, "--output", vocab)
    cut, split_s = minigpt("split", source, "--train-output", train_data, "--val-output", val)
    _, stats_s = minigpt("stats", train_data, "--vocab", vocab)
    files: list[str | Path] = ["--train-data", train_data, "--val-data", val, "--vocab", vocab]
    trained, train_s = minigpt("train", *files, "--run-dir", output, *train)
    sample = ["--limit", str(limit)] if limit else []
    measured, eval_s = minigpt("eval", val, "--checkpoint", output, *sample)
    _, chat_s = minigpt("chat", "你好", "--checkpoint", output)
    figures = {
        "pairs": built["pairs"],
        "tokens in the vocabulary": built["size"],
        "validation pairs": cut["val_pairs"],
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        "vocab s": vocab_s,
        "split s": split_s,
        "stats s": stats_s,
        "train process s": train_s,
        "training s": trained["seconds"],
        "targets/s": trained["tokens"] / trained["seconds"],
        "val loss all": measured["metrics"]["loss_all"],
        "val loss answers": measured["metrics"]["loss_answer"],
        "unigram loss answers": measured["baselines"]["frequency"]["metrics"]["loss_answer"],
        "character F1": measured["metrics"]["character_f1"],
        "exact match": measured["metrics"]["exact_match"],
        "eval process s": eval_s,
        "chat one answer, process s": chat_s,
    }
    if exam:
        sat, _ = minigpt("eval", exam, "--checkpoint", output)
        figures["exam accuracy"] = sat["metrics"]["accuracy"]
        topics = sat["breakdowns"]["topic"]["buckets"]
        figures |= {f"exam {each['label']}": each["metrics"]["accuracy"] for each in topics}
    return figures


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description="Run the pipeline and print its figures.",
        epilog="What follows -- are options of minigpt train.",
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--lines", type=int, default=0, help="use only the first N lines")
    parser.add_argument("--limit", type=int, default=0, help="measure a sample of N pairs")
    parser.add_argument("--exam", type=Path)
    arguments, train = sys.argv[1:], []
    if "--" in arguments:
        place = arguments.index("--")
        arguments, train = arguments[:place], arguments[place + 1 :]
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        source = given.source
        if given.lines:
            source = Path(name, "source.jsonl")
            with given.source.open(encoding="utf-8") as file:
                source.write_text("".join(islice(file, given.lines)), encoding="utf-8")
        figures = run(source, Path(name), train, limit=given.limit, exam=given.exam)
    for label, value in figures.items():
        number = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
        sys.stdout.write(f"| {label} | {number} |\n")


if __name__ == "__main__":
    main()
