import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minigpt.model.checkpoint import load_checkpoint, load_training_state
from tests.reliability.faults import (
    COMMANDS,
    ERRORS,
    Record,
    call,
    inject,
    losses,
    prepare,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("faults") / "home")


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.cli.main.prepare_signals", lambda: None)
    for name in list(os.environ):
        if name.startswith("MINIGPT_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_step_of_writing_that_fails_loses_nothing(home: Path, command: str) -> None:
    record = Record()
    inject(home, record, command, ERRORS, 2 if "train" in command else 1)
    assert record.lost == []
    assert record.faults.total() >= 12
    assert len(record.by_error) == len(ERRORS)


@contextlib.contextmanager
def tiny_disk(place: Path, *, kib: int) -> Iterator[Path]:
    """A file system of its own with room for so much and no more."""
    place.mkdir()
    size = f"size={kib}k"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=False)
    if made.returncode:
        pytest.skip("may not mount a file system")
    try:
        yield place
    finally:
        # Lazily: the weights of a run that failed are mapped until its error is forgotten.
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a file system"
)
@pytest.mark.parametrize("room_kib", [0, 8, 60])
@pytest.mark.parametrize("command", ["vocab", "split", "stats", "train", "train on", "chat"])
def test_a_disk_that_is_full_loses_nothing(
    home: Path, tmp_path: Path, command: str, room_kib: int
) -> None:
    with tiny_disk(tmp_path / "disk", kib=4_000) as disk:
        root = disk / "root"
        shutil.copytree(home, root)
        filled = os.statvfs(disk)
        free = filled.f_bavail * filled.f_frsize - room_kib * 1024
        (disk / "ballast").write_bytes(b"x" * free)
        code, said = call(root, COMMANDS[command])
        if code == 0:  # there was room enough for this one
            assert command in {"vocab", "split", "stats", "chat"}
            return
        assert os.strerror(errno.ENOSPC) in said
        assert list(losses(home, root, code, said)) == []
        load_checkpoint(root / "output")
        load_training_state(root / "output" / "last.safetensors")


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a file system"
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_may_only_be_read_is_left_as_it_is(
    home: Path, tmp_path: Path, command: str
) -> None:
    with tiny_disk(tmp_path / "disk", kib=4_000) as disk:
        root = disk / "root"
        shutil.copytree(home, root)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        code, said = call(root, COMMANDS[command])
        assert os.strerror(errno.EROFS) in said
        assert list(losses(home, root, code, said)) == []
