"""Measure the data path against the tutorial's manner; print tables for RESULTS.md.

    python -m tests.benchmarks.data SAMPLE.jsonl --lines 1000000 10000000

The lines of the sample are repeated, each time with other questions, until there are enough. Every
figure is that of a whole process, the best of some; both manners take turns. Peak memory is that
of the process that needs most. The last table is of long answers full of escapes. Ten million lines
take about 4 GB of the disk while it runs; all is removed.
"""

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

REFERENCE = "tests.benchmarks.data_reference"
MYSELF = ("-m", "tests.benchmarks.data")
TASKS = ("vocab", "stats", "split", "encode")
WAYS = {
    "vocab": "vocab",
    "stats": "stats",
    "split, as the tutorial": "split",
    "split": "split",
    "encode, 1 process": "encode",
    "encode, 2 processes": "encode",
    "encoded before": "encode",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process came to."""

    seconds: float
    peak_mb: float


def measure(*command: str | Path) -> Cost:
    """Run Python, whole process."""
    started = time.perf_counter()
    arguments = [sys.executable, *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}")
    return Cost(seconds, usage.ru_maxrss / 1000)


def run_reference(task: str, source: Path, folder: Path) -> Cost:
    """A task in the tutorial's manner."""
    return measure("-m", REFERENCE, task, source, folder)


def run_minigpt(way: str, source: Path, folder: Path) -> Cost:
    """The same by minigpt; nothing is there yet but what the task needs."""
    cache = source.with_name(f"{source.name}.cache")
    vocab, parts = folder / "vocab.json", [folder / "train.jsonl", folder / "val.jsonl"]
    outputs = {"vocab": [vocab], "split": parts}.get(WAYS[way], [])
    if way != "encoded before":
        outputs.append(cache)
    for path in outputs:
        path.unlink(missing_ok=True)
    if WAYS[way] == "vocab":
        return measure("-m", "minigpt", "vocab", source, "--output", vocab, "-q")
    if WAYS[way] == "stats":
        return measure("-m", "minigpt", "stats", source, "--vocab", vocab, "-q")
    if WAYS[way] == "split":
        named = ["--train-output", parts[0], "--val-output", parts[1]]
        leak = "--leak-free" if way == "split" else "--no-leak-free"
        return measure("-m", "minigpt", "split", source, *map(str, named), leak, "-q")
    processes = "1" if way == "encode, 1 process" else "2"
    return measure(*MYSELF, "--encode", processes, source, folder)


def encode(processes: int, source: Path, folder: Path, *, check: bool = False) -> None:
    """Encode a file in this process and its helpers."""
    from minigpt.corpus import workers
    from minigpt.corpus.encoded import encode_file
    from minigpt.corpus.scan import DataFile
    from minigpt.corpus.vocab import load_vocab

    workers.MOST_PROCESSES = processes
    dataset = encode_file(DataFile(source), load_vocab(folder / "vocab.json"))
    if check:
        from tests.benchmarks.data_reference import encode as plainly

        rows = plainly(source, folder)
        if [dataset.pair(index).tolist() for index in range(dataset.n_pairs)] != rows:
            raise SystemExit("the ids differ from the reference's")


def check_alike(source: Path, folder: Path) -> None:
    """Both manners give the same vocabulary, the same split and the same ids."""
    plain = folder / "plain"
    plain.mkdir()
    for task in ("vocab", "split"):
        run_reference(task, source, plain)
        run_minigpt("split, as the tutorial" if task == "split" else task, source, folder)
    names = ["vocab.json", "train.jsonl", "val.jsonl"]
    if filecmp.cmpfiles(plain, folder, names, shallow=False)[0] != names:
        raise SystemExit("the vocabulary or the split differs from the reference's")
    measure(*MYSELF, "--encode", "2", source, folder, "--check")


def repeated(sample: Path) -> Iterator[bytes]:
    """The lines of the sample again and again, each time with other questions."""
    with sample.open(encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    lines = [_with_mark(pair["question"], pair["answer"]) for pair in pairs]
    for turn in count():
        number = f"{turn}".encode() if turn else b""
        for head, tail in lines:
            yield head + number + tail


def full_of_escapes(sample: Path) -> Iterator[bytes]:
    """The same with long answers that have newlines and quotes."""
    with sample.open(encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    answers = [pair["answer"] for pair in pairs]
    for turn in count():
        for index, pair in enumerate(pairs):
            others = [answers[(index + step) % len(answers)] for step in range(8)]
            answer = "\n".join(f'{step}. "{text}"' for step, text in enumerate(others))
            yield b"%d".join(_with_mark(pair["question"], answer)).replace(b"%d", b"%d" % turn)


def _with_mark(question: str, answer: str) -> tuple[bytes, bytes]:
    line = json.dumps({"question": f"{question}\ue000", "answer": answer}, ensure_ascii=False)
    head, _, tail = f"{line}\n".partition("\ue000")
    return head.encode("utf-8"), tail.encode("utf-8")


KINDS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "usual": repeated,
    "escapes": full_of_escapes,
}


def write(kind: str, sample: Path, number: int, path: Path) -> Path:
    """So many lines as a file, by another process: a large one starts others with its peak."""
    measure(*MYSELF, sample, path, "--write", kind, "--lines", str(number))
    return path


def best(costs: list[Cost]) -> Cost:
    """The shortest time and the highest peak."""
    return Cost(min(cost.seconds for cost in costs), max(cost.peak_mb for cost in costs))


def compare(source: Path, folder: Path, *, turns: int, reference: bool) -> dict[str, float]:
    """Print a table; return the seconds of each way."""
    costs: dict[str, list[Cost]] = {name: [] for name in (*TASKS, *WAYS)}
    plain: dict[str, list[Cost]] = {task: [] for task in TASKS}
    for _ in range(turns):
        for task in TASKS:
            if reference:
                plain[task].append(run_reference(task, source, folder))
            for way in (way for way, done in WAYS.items() if done == task):
                costs[way].append(run_minigpt(way, source, folder))
    size = source.stat().st_size / 1e6
    say("| | seconds | MB/s | peak MB | reference s | its peak MB | ratio |")
    say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for way, task in WAYS.items():
        ours = best(costs[way])
        row = f"| {way} | {ours.seconds:.2f} | {size / ours.seconds:,.0f} | {ours.peak_mb:,.0f} "
        if reference:
            theirs = best(plain[task])
            ratio = theirs.seconds / ours.seconds
            row += f"| {theirs.seconds:.2f} | {theirs.peak_mb:,.0f} | {ratio:.1f} "
        say(row + "|")
    return {way: best(costs[way]).seconds for way in WAYS}


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description="Measure the data path.")
    parser.add_argument("sample", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--turns", type=int, default=3, help="of which the best counts")
    parser.add_argument(
        "--reference-lines", type=int, default=1_000_000, help="measure it on so many at most"
    )
    parser.add_argument("--escaped-lines", type=int, default=100_000)
    parser.add_argument("--encode", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.encode:
        encode(given.encode, given.sample, given.folder, check=given.check)
        return
    if given.write:
        with given.folder.open("wb") as file:
            file.writelines(islice(KINDS[given.write](given.sample), given.lines[0]))
        return
    with tempfile.TemporaryDirectory(prefix="data-", dir=Path.cwd()) as name:
        folder = Path(name)
        check_alike(write("usual", given.sample, 300_000, folder / "check.jsonl"), folder)
        say(f"python alone: {measure('-c', 'pass').peak_mb:.0f} MB at its peak")
        fewer: dict[str, float] = {}
        for number in given.lines:
            source = write("usual", given.sample, number, folder / "data.jsonl")
            say(f"\n{number:,} lines, {source.stat().st_size / 1e6:,.0f} MB\n")
            reference = number <= given.reference_lines
            seconds = compare(source, folder, turns=given.turns, reference=reference)
            for way, before in fewer.items():
                say(f"{way}: {seconds[way] / before:.2f} times the time")
            fewer = seconds
        if given.escaped_lines:
            source = folder / "escaped.jsonl"
            write("escapes", given.sample, given.escaped_lines, source)
            size = source.stat().st_size / 1e6
            say(f"\n{given.escaped_lines:,} lines full of escapes, {size:,.0f} MB\n")
            compare(source, folder, turns=given.turns, reference=True)


if __name__ == "__main__":
    main()
