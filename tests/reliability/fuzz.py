"""Feeds a target with bytes that nobody would write.

`python -m tests.reliability.fuzz jsonl 100000` does so as often.

With atheris installed (`pip install atheris`) the coverage of the package guides what comes next;
without it the seeds are changed at random. The first input that the target cannot take ends it.
"""

import argparse
import importlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

TOKENS = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\\", b"\\u", b"\\ud800", b"\0"),
    *(b'"question"', b'"answer"', b'"answers"', b"null", b"true", b"1e999", b"-", b"NaN"),
    *(b"9" * 5_000, b"[" * 2_000, b"\xef\xbb\xbf", b"\xff\xfe", b"\x80", "好".encode(), b" " * 99),
]


def mutations(seeds: Sequence[bytes], *, seed: int) -> Iterator[bytes]:
    """Without end: seeds, changed in a few places. The same seed gives the same row."""
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(6)):
            place = rng.randrange(len(data) + 1)
            match rng.randrange(6):
                case 0:
                    data[place:place] = rng.choice(TOKENS)
                case 1:
                    del data[place : place + rng.randrange(1, 9)]
                case 2:
                    data[place : place + 1] = bytes([rng.randrange(256)])
                case 3:
                    data[place:place] = rng.randbytes(rng.randrange(1, 9))
                case 4:
                    data[place:place] = data[: rng.randrange(len(data) + 1)]
                case _:
                    data += rng.choice(seeds)[rng.randrange(8) :]
        yield bytes(data)


def fuzz(name: str, *, executions: int, seed: int) -> dict[str, int]:
    """Feed a target; return how many inputs were accepted and refused.

    Raises:
        Exception: What the target could not take; its input is a note on it.
    """
    from tests.reliability.targets import TARGETS

    target, seeds = TARGETS[name]
    counts = {"accepted": 0, "refused": 0}
    for data in islice(mutations(seeds, seed=seed), executions):
        try:
            counts["accepted" if target(data) else "refused"] += 1
        except Exception as error:
            error.add_note(f"{name}: {data!r}")
            raise
    return counts


def guided(name: str, *, executions: int, seed: int) -> None:
    """The same with atheris, which ends the process itself."""
    atheris = importlib.import_module("atheris")  # by hand only, with no types

    with atheris.instrument_imports(include=["minigpt"]):
        from tests.reliability.targets import TARGETS

    target, seeds = TARGETS[name]
    corpus = Path(tempfile.mkdtemp())
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)
    options = [f"-runs={executions}", f"-seed={seed}", "-max_len=4096", "-timeout=60", str(corpus)]
    atheris.Setup([sys.argv[0], *options], lambda data: target(bytes(data)) and None)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=["jsonl", "checkpoint", "vocabulary"])
    parser.add_argument("executions", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unguided", action="store_true")
    given = parser.parse_args()
    if not given.unguided:
        guided(given.target, executions=given.executions, seed=given.seed)
    started = time.monotonic()
    counts = fuzz(given.target, executions=given.executions, seed=given.seed)
    sys.stdout.write(f"{given.target}: {counts} in {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
