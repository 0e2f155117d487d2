import os
import stat
from pathlib import Path

import pytest

from minigpt.errors import CheckpointError, OutputError
from minigpt.files import (
    append_line,
    atomic_path,
    check_input,
    check_output,
    holds_other,
    is_there,
    same_file,
    write_file,
)
from tests.tiny import largest_file

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
NOT_ROOT = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    return path


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_new_file_is_written_and_its_directories_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert write_file(path, b"data") == "written"
    assert path.read_bytes() == b"data"
    assert names(path.parent) == ["file"]


def test_same_content_is_left_untouched(path: Path) -> None:
    before = path.stat()
    assert write_file(path, b"before") == "unchanged"
    assert write_file(path, b"before", force=True) == "unchanged"
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_other_content_is_replaced_only_by_force(path: Path) -> None:
    for call in (write_file, check_output):
        with pytest.raises(OutputError, match="exists with other content") as caught:
            call(path, b"after")
        assert "--force" in caught.value.hint
    assert path.read_bytes() == b"before"
    assert write_file(path, b"after", force=True) == "written"
    assert path.read_bytes() == b"after"
    assert names(path.parent) == ["file"]


def test_check_output_says_what_write_file_would_do_and_writes_nothing(path: Path) -> None:
    new = path.parent / "new"
    assert check_output(new, b"") == "written"
    assert check_output(path, b"before") == "unchanged"
    assert check_output(path, b"after", force=True) == "written"
    assert names(path.parent) == ["file"]
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("data", "expected"), [(b"before", False), (b"BEFORE", True), (b"", True), (b"before!", True)]
)
def test_holds_other_compares_every_byte(data: bytes, expected: bool, path: Path) -> None:
    assert holds_other(path, data) is expected
    other = path.with_name("other")
    other.write_bytes(data)
    assert holds_other(path, other) is expected


def test_nothing_holds_nothing_else(tmp_path: Path) -> None:
    assert holds_other(tmp_path / "none", b"data") is False


def test_what_a_library_writes_beside_the_new_file_goes_with_it(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.with_name(".tmpVmrdtH").write_bytes(b"half")
        temporary.write_bytes(b"after")
    assert path.read_bytes() == b"after"
    assert names(path.parent) == ["file"]


def test_a_block_that_writes_nothing_changes_nothing(path: Path) -> None:
    with atomic_path(path):
        pass
    assert path.read_bytes() == b"before"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ValueError])
def test_error_while_writing_leaves_the_previous_file_and_no_other(
    error: type[BaseException], path: Path
) -> None:
    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"before"
    assert names(path.parent) == ["file"]


def test_file_is_the_old_one_until_the_block_ends(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"after")
        assert path.read_bytes() == b"before"
        assert temporary.parent.parent == path.parent
    assert path.read_bytes() == b"after"


@POSIX
def test_full_disk_is_an_output_error(path: Path) -> None:
    with (
        largest_file(100_000),
        pytest.raises(OutputError, match="file: cannot be written: File too large"),
    ):
        write_file(path, b"x" * 200_000, force=True)
    assert path.read_bytes() == b"before"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("force", [False, True])
def test_directory_is_no_output_file(tmp_path: Path, force: bool) -> None:
    with pytest.raises(OutputError, match="not a regular file"):
        write_file(tmp_path, b"", force=force)
    with pytest.raises(OutputError, match="not a regular file"), atomic_path(tmp_path):
        pass


def test_file_in_the_place_of_a_directory_is_an_output_error(path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_file(path / "below", b"")


def test_name_too_long_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_file(tmp_path / ("n" * 300), b"")
    assert names(tmp_path) == []


@POSIX
@NOT_ROOT
def test_read_only_directory_is_an_output_error(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write_file(path, b"after", force=True)
    finally:
        path.parent.chmod(0o700)


@POSIX
def test_link_is_written_through(path: Path) -> None:
    link = path.parent / "link"
    link.symlink_to("file")
    write_file(link, b"after", force=True)
    assert link.is_symlink()
    assert path.read_bytes() == b"after"


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_new_file_has_the_usual_permissions(mask: int, tmp_path: Path) -> None:
    previous = os.umask(mask)
    try:
        write_file(tmp_path / "file", b"")
        assert os.umask(mask) == mask
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


@POSIX
def test_replaced_file_keeps_its_permissions(path: Path) -> None:
    path.chmod(0o640)
    write_file(path, b"after", force=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_cannot_be_looked_up_is_there_for_its_reader_to_refuse(path: Path) -> None:
    assert is_there(path)
    assert not is_there(path.with_name("missing"))
    assert not is_there(path / "below a file")
    assert is_there(path.with_name("n" * 300))


def test_same_file_sees_through_links_and_dots(path: Path) -> None:
    assert same_file(path, path.parent / "." / path.name)
    assert same_file(path.parent / "none", path.parent / "." / "none")
    assert not same_file(path, path.parent / "none")
    if os.name == "posix":
        (path.parent / "link").symlink_to("file")
        (path.parent / "hard").hardlink_to(path)
        assert same_file(path, path.parent / "link")
        assert same_file(path, path.parent / "hard")


def check(path: Path) -> None:
    check_input(path, error=CheckpointError, what="the thing", hint="make one")


def test_readable_file_passes(path: Path) -> None:
    check(path)


def test_missing_input_says_what_and_how(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the thing: No such file") as caught:
        check(tmp_path / "none")
    assert caught.value.hint == "make one"


def test_directory_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it is a directory"):
        check(tmp_path)


@POSIX
def test_pipe_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="it is not a regular file"):
        check(tmp_path / "pipe")


@POSIX
@NOT_ROOT
def test_input_without_permission_is_refused(path: Path) -> None:
    path.chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        check(path)


@POSIX
def test_link_to_a_file_is_an_input(path: Path) -> None:
    (path.parent / "link").symlink_to("file")
    check(path.parent / "link")


@POSIX
def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(
    path: Path,
) -> None:
    left = path.parent / ".file.abc_1234.unfinished"
    left.mkdir()
    (left / "file").write_bytes(b"half")
    (left / ".tmpVmrdtH").write_bytes(b"of a library that writes elsewhere first")
    others = [".file.original", ".file.a b.unfinished", ".file2.abc.unfinished"]
    for name in others:
        (path.parent / name).mkdir()
    others += [".file.aaa.unfinished", ".file.bbb.unfinished", "elsewhere"]
    (path.parent / others[-3]).write_bytes(b"of somebody else")
    (path.parent / others[-1]).mkdir()
    (path.parent / others[-2]).symlink_to(path.parent / others[-1])
    with atomic_path(path) as first:
        first.write_bytes(b"first")
        with atomic_path(path) as second:
            second.write_bytes(b"second")
            assert first.exists()
    assert path.read_bytes() == b"first"
    assert names(path.parent) == sorted(["file", *others])


def test_a_line_is_added_whole(path: Path) -> None:
    append_line(path, " 你好")
    append_line(path, "again")
    assert path.read_bytes() == "before 你好\nagain\n".encode()


@POSIX
def test_a_line_for_which_there_is_no_room_is_not_begun(path: Path) -> None:
    with largest_file(100), pytest.raises(OutputError, match="cannot be written"):
        append_line(path, "x" * 200)
    assert path.read_bytes() == b"before"


@POSIX
def test_a_line_is_added_to_files_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OutputError, match="not a regular file"):
            append_line(place, "line")


def test_every_step_of_a_write_is_announced_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr("minigpt.files.before_step", lambda step, path: steps.append(step))
    write_file(tmp_path / "new" / "file", b"data")
    append_line(tmp_path / "new" / "file", "more")
    assert steps == [
        *("make directory", "create", "write", "flush", "permit", "replace", "flush directory"),
        "append",
    ]
