import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus import arrange, worker
from minigpt.corpus.arrange import write_arranged
from minigpt.corpus.places import Lines, find_lines
from minigpt.corpus.qa import read_file
from minigpt.corpus.scan import DataFile
from minigpt.errors import DataError
from minigpt.events import Event, Progress
from tests.corpus.examples import few_examples, files, numbered_pairs, write_pairs


@few_examples
@given(content=files(), data=st.data())
def test_lines_are_written_in_any_order_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("arrange")
    path = folder / "data.jsonl"
    path.write_bytes(content)
    try:
        expected = [line.raw for line in read_file(path).lines]
    except DataError:
        with pytest.raises(DataError):
            find_lines(DataFile(path))
        return
    order = np.array(data.draw(st.permutations(range(len(expected)))), dtype=np.uint32)
    cut = data.draw(st.integers(0, len(expected)))
    orders = {folder / "first": order[:cut], folder / "second": order[cut:]}
    lines = find_lines(DataFile(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrange, "REGION_BYTES", data.draw(st.integers(1, 300)))
        patch.setattr(arrange, "MOST_REGIONS", data.draw(st.integers(1, 20)))
        patch.setattr(arrange, "READ_BYTES", data.draw(st.integers(1, 300)))
        patch.setattr(arrange, "HELD_BYTES", data.draw(st.sampled_from([0, 1 << 30])))
        patch.setattr(arrange, "_LINES_AT_ONCE", data.draw(st.integers(1, 20)))
        helpers = data.draw(st.sampled_from([0, 0, 1, 2]))
        patch.setattr(arrange, "helpers_for", lambda _: helpers)
        write_arranged(lines, orders)
    for file, part in orders.items():
        assert file.read_bytes() == b"".join(expected[number] + b"\n" for number in part)
        assert file.stat().st_size == lines.bytes_of(part)


@pytest.mark.skipif(not worker.FORKS, reason="no copies of a process here")
@pytest.mark.parametrize("call", ["fork", "setsid"])
def test_copies_that_cannot_work_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse() -> int:
        raise BlockingIOError

    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(50))
    lines, order = find_lines(DataFile(path)), np.arange(50, dtype=np.uint32)
    monkeypatch.setattr(arrange, "helpers_for", lambda _: 3)
    monkeypatch.setattr(arrange, "REGION_BYTES", 500)
    monkeypatch.setattr(os, call, refuse)
    write_arranged(lines, {tmp_path / "new": order})
    assert (tmp_path / "new").read_bytes() == path.read_bytes()


@pytest.mark.skipif(not worker.FORKS, reason="no copies of a process here")
def test_an_interrupt_ends_the_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(50))
    lines, order = find_lines(DataFile(path)), np.arange(50, dtype=np.uint32)
    monkeypatch.setattr(arrange, "helpers_for", lambda _: 3)
    monkeypatch.setattr("minigpt.corpus.pace.QUIET_S", -1.0)
    with pytest.raises(KeyboardInterrupt):
        write_arranged(lines, {tmp_path / "new": order}, report=interrupt)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def found_then_changed(tmp_path: Path, content: bytes) -> Lines:
    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(20))
    lines = find_lines(DataFile(path))
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    return lines


@pytest.mark.parametrize("held_bytes", [0, arrange.HELD_BYTES])
@pytest.mark.parametrize("content", [b"", b"{}\n", b"\n" * 2_000, b"x" * 2_000])
def test_a_source_that_changes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, held_bytes: int
) -> None:
    monkeypatch.setattr(arrange, "HELD_BYTES", held_bytes)
    lines = found_then_changed(tmp_path, content)
    order = np.arange(20, dtype=np.uint32)
    with pytest.raises(DataError, match=r"data\.jsonl: has changed while it was read"):
        write_arranged(lines, {tmp_path / "new": order})


def test_a_source_that_changes_a_letter_is_refused(tmp_path: Path) -> None:
    changed = write_pairs(tmp_path / "other.jsonl", numbered_pairs(20)).read_bytes()
    lines = found_then_changed(tmp_path, changed.replace("问题".encode(), "文题".encode(), 1))
    order = np.arange(20, dtype=np.uint32)
    with pytest.raises(DataError, match="has changed"):
        write_arranged(lines, {tmp_path / "new": order})


@pytest.mark.parametrize(("held_bytes", "times"), [(0, 2), (arrange.HELD_BYTES, 1)])
def test_progress_is_told_when_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_bytes: int, times: int
) -> None:
    monkeypatch.setattr(arrange, "HELD_BYTES", held_bytes)
    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(50))
    lines, order = find_lines(DataFile(path)), np.arange(50, dtype=np.uint32)
    monkeypatch.setattr("minigpt.corpus.pace.QUIET_S", -1.0)
    monkeypatch.setattr("minigpt.corpus.pace._MB", 1)
    for name in ("REGION_BYTES", "READ_BYTES"):
        monkeypatch.setattr(arrange, name, 1_000)
    events: list[Event] = []
    write_arranged(lines, {tmp_path / "new": order}, report=events.append)
    done = [event.done for event in events if isinstance(event, Progress)]
    size = path.stat().st_size
    assert done == sorted(done)
    assert done[-1] == times * size
    assert size in done  # all is read
    assert {event.total for event in events if isinstance(event, Progress)} == {times * size}
