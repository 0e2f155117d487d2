import signal
from pathlib import Path

import pytest
import torch

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.corpus.vocab import Vocab
from minigpt.model.checkpoint import CheckpointInfo, save_checkpoint
from minigpt.model.gpt import GPT
from tests import tiny

# Two threads on a tensor of a few kilobytes mostly wait for each other, above all on busy cores.
torch.set_num_threads(1)

# A shell's background job ignores Ctrl-C, and so would every program that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def vocab() -> Vocab:
    return tiny.tiny_vocab()


@pytest.fixture
def dataset() -> TokenizedDataset:
    return tiny.tiny_set()


@pytest.fixture
def tiny_gpt() -> GPT:
    """Untrained, but far from uniform; in evaluation mode."""
    return tiny.sharpen(tiny.tiny_model())


@pytest.fixture
def checkpoint_path(tmp_path: Path, tiny_gpt: GPT, vocab: Vocab) -> Path:
    """A checkpoint with training state."""
    path = tmp_path / "last.safetensors"
    save_checkpoint(
        path,
        tiny_gpt,
        vocab,
        CheckpointInfo(step=3, epoch=1, max_length=20),
        training={"optimizer.0.0.step": torch.tensor(3.0)},
        state={"step": 3},
    )
    return path
