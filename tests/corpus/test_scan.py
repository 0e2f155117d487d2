from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus import pace
from minigpt.corpus import scan as module
from minigpt.corpus.qa import read_file
from minigpt.corpus.scan import DataFile, count_characters_in
from minigpt.corpus.vocab import count_characters
from minigpt.errors import DataError
from minigpt.events import Event, Progress
from tests.corpus.examples import few_examples, files, numbered_pairs, to_line, write_pairs

Outcome = tuple[list[Event], str, tuple[Counter[str], int, int] | None]


def line_by_line(path: Path, *, strict: bool) -> Outcome:
    events: list[Event] = []
    try:
        file = read_file(path, strict=strict, report=events.append)
    except DataError as error:
        return events, str(error), None
    return events, "", (count_characters(file.pairs), len(file.lines), file.skipped)


def by_scan(path: Path, *, strict: bool) -> Outcome:
    events: list[Event] = []
    try:
        counts, scan = count_characters_in(DataFile(path, strict=strict), events.append)
    except DataError as error:
        return events, str(error), None
    return events, "", (counts, scan.pairs, scan.skipped)


@few_examples
@given(content=files(), ranges=st.integers(1, 50), strict=st.booleans())
def test_a_scan_says_what_reading_line_by_line_says(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ranges: int, strict: bool
) -> None:
    path = tmp_path_factory.mktemp("scan") / "data.jsonl"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RANGE_BYTES", len(content) // ranges + 1)
        patch.setattr(pace, "QUIET_S", 3_600.0)
        assert by_scan(path, strict=strict) == line_by_line(path, strict=strict)


def test_the_first_bad_lines_of_all_parts_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RANGE_BYTES", 64)
    path = tmp_path / "data.jsonl"
    good = to_line({"question": "a", "answer": "b"})
    path.write_bytes(b"\n".join([good, b"{", b"[]", b"", b"{"] * 20))
    events, message, result = by_scan(path, strict=False)
    assert (events, message, result) == line_by_line(path, strict=False)
    assert len(events) == 6


@pytest.mark.parametrize("content", [b"", b"\n \n", "{'a'}\n".encode("utf-16"), b"[1,\n2]"])
def test_a_file_without_a_pair_is_explained_alike(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    assert by_scan(path, strict=False) == line_by_line(path, strict=False)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot read the data"):
        count_characters_in(DataFile(tmp_path / "absent.jsonl"))


def test_progress_is_told_when_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(50))
    events: list[Event] = []
    count_characters_in(DataFile(path), events.append)
    assert events == []
    monkeypatch.setattr(module, "RANGE_BYTES", 1_000)
    monkeypatch.setattr(pace, "QUIET_S", -1.0)
    monkeypatch.setattr(pace, "_MB", 1)
    count_characters_in(DataFile(path), events.append)
    size = path.stat().st_size
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == [*range(1_000, size, 1_000), size]
    assert {event.total for event in events if isinstance(event, Progress)} == {size}
