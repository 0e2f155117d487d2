import os
import stat
from pathlib import Path

import pytest

from minigpt.cli.history import LIMIT, History, history_path
from minigpt.errors import OutputError

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
AS_USER = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)


def loaded(path: Path | None) -> History:
    history = History(path)
    history.load()
    return history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "minigpt" / "chat_history"


def test_lines_are_there_the_next_time_in_order(path: Path) -> None:
    first = loaded(path)
    for line in ("你好", "/set top_k 5", "最近怎么样？"):
        assert first.add(line)
    assert loaded(path).lines == first.lines == ["你好", "/set top_k 5", "最近怎么样？"]


def test_blanks_and_repetitions_are_not_kept(path: Path) -> None:
    history = loaded(path)
    assert [history.add(line) for line in ("a", "a", "", "  ", "b", "a")] == [
        *(True, False, False, False, True, True)
    ]
    assert loaded(path).lines == ["a", "b", "a"]


@POSIX
def test_only_its_author_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        loaded(path).add("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@POSIX
def test_a_file_that_others_could_read_is_made_private(path: Path) -> None:
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text("a\n")
    path.chmod(0o644)
    loaded(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_only_the_newest_lines_are_kept(path: Path) -> None:
    history = loaded(path)
    for number in range(LIMIT + 5):
        history.add(str(number))
    expected = [str(number) for number in range(5, LIMIT + 5)]
    assert loaded(path).lines == expected
    assert path.read_text().splitlines() == expected


def test_conversations_at_the_same_time_lose_nothing_of_each_other(path: Path) -> None:
    first, second = loaded(path), loaded(path)
    first.add("a")
    second.add("b")
    first.add("c")
    assert loaded(path).lines == ["a", "b", "c"]


def test_a_damaged_file_still_gives_its_lines(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a\n\xff\xfe\n\x1b[31mb\n\n")
    lines = loaded(path).lines
    assert (lines[0], lines[-1], len(lines)) == ("a", "\\x1b[31mb", 3)


def test_without_a_file_lines_are_held_in_memory() -> None:
    history = loaded(None)
    assert history.add("a")
    assert history.lines == ["a"]


def test_what_is_no_file_is_refused_and_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    history = History(path)
    with pytest.raises(OutputError, match="regular file"):
        history.load()
    assert history.add("a")
    assert list(path.iterdir()) == []


def test_a_file_that_goes_away_is_told_once(path: Path) -> None:
    history = loaded(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError):
        history.add("a")
    assert history.add("b")
    assert history.lines == ["a", "b"]


@AS_USER
def test_a_place_that_cannot_be_written_is_refused(path: Path) -> None:
    path.parent.parent.mkdir(mode=0o500)
    with pytest.raises(OutputError):
        loaded(path)


@POSIX
def test_the_place_is_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    expected = Path("/home/someone/.local/state/minigpt/chat_history")
    assert history_path() == expected
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_path() == Path("/state/minigpt/chat_history")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the specification says to ignore
    assert history_path() == expected


def test_nobodys_history_is_refused() -> None:
    with pytest.raises(OutputError, match="home"):
        loaded(Path("~/.local/state/minigpt/chat_history"))
