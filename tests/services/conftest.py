import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minigpt.events import Event
from minigpt.services.train import train
from tests.services.tiny import Finished, tiny_settings, write_pairs


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Tiny products are fastest on one core, and other work on the machine disturbs them less."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MINIGPT_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="package", autouse=True)
def _no_clock() -> Iterator[None]:
    """Which single steps a run records depends on how fast the machine is; here none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minigpt.training.clock.REPORT_EVERY_S", math.inf)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run, trained from a source alone; not to be changed, `copy_to` gives a copy."""
    root: Path = tmp_path_factory.mktemp("finished")
    write_pairs(root / "data.jsonl")
    events: list[Event] = []
    settings = tiny_settings(root)
    with one_thread():
        result = train(settings, report=events.append)
    return Finished(root, settings, result, tuple(events))


@pytest.fixture
def root(finished: Finished, tmp_path: Path) -> Path:
    """A directory with the data, the vocabulary and the split, and no run."""
    for name in ("data.jsonl", "vocab.json", "train.jsonl", "val.jsonl"):
        (tmp_path / name).write_bytes((finished.root / name).read_bytes())
    return tmp_path


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """A directory with everything that the finished run left."""
    return finished.copy_to(tmp_path)
