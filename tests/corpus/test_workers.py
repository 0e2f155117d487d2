import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigpt.corpus import worker
from minigpt.corpus import workers as module
from minigpt.corpus.parts import Job, Part
from minigpt.corpus.workers import Workers, helpers_for, read_parts
from tests.corpus.examples import numbered_pairs, to_line, write_pairs

SOON_S = 60.0  # a machine may be busy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(200))
    with path.open("ab") as file:
        file.write(b"\xff\n\n{\n" + to_line({"question": "好", "answer": "好\n"}))
    return path


@pytest.fixture(autouse=True, params=["forked", "spawned"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "forked" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    monkeypatch.setattr(worker, "FORKS", request.param == "forked")
    return str(request.param)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def job_for(path: Path) -> Job:
    return Job(str(path), "question", "answer", "characters", {})


def ranges_of(path: Path) -> list[tuple[int, int]]:
    return [(start, start + 1_000) for start in range(0, path.stat().st_size, 1_000)]


def plain(part: Part) -> Any:
    arrays = {name: array.tolist() for name, array in part.arrays.items()}
    return part.lines, part.pairs, part.bad, part.by_reason, arrays


def collected(workers: Workers, waiting: deque[int], count: int) -> dict[int, Part]:
    parts: dict[int, Part] = {}
    end = time.monotonic() + SOON_S
    while len(parts) < count and time.monotonic() < end:
        workers.feed(waiting)
        parts |= workers.collect(waiting)
        time.sleep(0.01)
    return parts


def test_another_process_reads_the_same(path: Path) -> None:
    job, ranges = job_for(path), ranges_of(path)
    waiting = deque(range(len(ranges)))
    with Workers(job, ranges, 2) as workers:
        parts = collected(workers, waiting, len(ranges))
    assert [plain(parts[i]) for i in range(len(ranges))] == [plain(job.run(*r)) for r in ranges]
    assert sum(part.pairs for part in parts.values()) == 201


@pytest.mark.parametrize("helpers", [0, 1, 3])
def test_parts_come_in_order_however_many_read(path: Path, helpers: int, scratch: Path) -> None:
    job, ranges = job_for(path), ranges_of(path)
    parts = list(read_parts(job, ranges, helpers=helpers))
    assert [plain(part) for part in parts] == [plain(job.run(*place)) for place in ranges]
    assert list(scratch.iterdir()) == []


def test_what_a_dead_process_had_to_do_waits_again(path: Path, tmp_path: Path) -> None:
    ranges = ranges_of(path)
    waiting = deque(range(len(ranges)))
    with Workers(job_for(tmp_path / "absent"), ranges, 1) as workers:
        workers.feed(waiting)
        assert list(waiting) == list(range(2, len(ranges)))
        end = time.monotonic() + SOON_S
        while len(waiting) < len(ranges) and time.monotonic() < end:
            assert workers.collect(waiting) == {}
        workers.feed(waiting)
        assert list(waiting) == list(range(len(ranges)))


def test_processes_that_cannot_start_are_not_needed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ranges = job_for(path), ranges_of(path)
    expected = [plain(job.run(*place)) for place in ranges]
    monkeypatch.setattr(worker, "FORKS", False)
    for command in (["/nowhere/python"], [sys.executable, "-c", "raise SystemExit(1)"]):
        monkeypatch.setattr(worker, "start_command", lambda command=command: command)
        assert [plain(part) for part in read_parts(job, ranges, helpers=2)] == expected


@pytest.mark.parametrize("call", ["fork", "setsid"])
def test_a_copy_that_cannot_work_is_not_needed(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse() -> int:
        raise BlockingIOError

    job, ranges = job_for(path), ranges_of(path)
    expected = [plain(job.run(*place)) for place in ranges]
    monkeypatch.setattr(worker, "FORKS", True)
    monkeypatch.setattr(os, call, refuse)
    assert [plain(part) for part in read_parts(job, ranges, helpers=2)] == expected


def test_interrupted_reading_leaves_no_process_and_no_file(path: Path, scratch: Path) -> None:
    parts = read_parts(job_for(path), ranges_of(path), helpers=2)
    next(parts)
    with pytest.raises(KeyboardInterrupt):
        parts.throw(KeyboardInterrupt())
    assert list(scratch.iterdir()) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_vanished_file_is_an_error_of_this_process(path: Path) -> None:
    job, ranges = job_for(path), ranges_of(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        list(read_parts(job, ranges, helpers=1))


def test_processes_are_as_many_as_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cores", lambda: 4)
    sizes = [0, 1, 2, 3, 4, 100]
    assert [helpers_for(size * module.BYTES_PER_PROCESS) for size in sizes] == [0, 0, 1, 2, 3, 3]
    monkeypatch.setattr(module, "_cores", lambda: 1)
    assert helpers_for(10**12) == 0


def test_a_script_without_a_main_guard_is_not_run_again(
    path: Path, tmp_path: Path, kind: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from minigpt.corpus import scan, worker, workers\n"
        "print('started')\n"
        "workers.BYTES_PER_PROCESS = scan.RANGE_BYTES = 1_000\n"
        f"worker.FORKS = {kind == 'forked'}\n"
        "workers._cores = lambda: 3\n"
        f"counts, made = scan.count_characters_in(scan.DataFile(Path({str(path)!r})))\n"
        "print(made.pairs)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n201\n", "")


def test_a_part_is_sent_whole(tmp_path: Path, path: Path) -> None:
    part = job_for(path).run(0, path.stat().st_size)
    with (tmp_path / "part").open("wb") as file:
        part.write(file)
    with (tmp_path / "part").open("rb") as file:
        received = Part.read(file)
        assert file.read() == b""
    assert plain(received) == plain(part)
    assert [row.reason for row in received.bad] == ["not UTF-8", "not JSON"]
    assert received.arrays["points"].dtype == np.uint32
