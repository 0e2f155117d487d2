"""Train a small conversational model from your own questions and answers.

The public names are those of `__all__`; each is imported when it is first used, so that
`import minigpt` is quick and loads no torch. `help(minigpt.GPT)` says what a name is for and shows
an example of its use. The examples that read files are run where `minigpt train` has learnt ten
pairs like "天空是什么颜色？" and "蓝色。" by heart.

Example:
    >>> import minigpt
    >>> minigpt.__version__
    '0.1.0'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minigpt.corpus.dataset import TokenizedDataset, tokenize
    from minigpt.corpus.qa import QAPair, read_pairs
    from minigpt.corpus.tokenizer import Tokenizer
    from minigpt.corpus.vocab import Vocab, build_vocab, load_vocab
    from minigpt.errors import MiniGPTError
    from minigpt.layers import load_settings
    from minigpt.model.cache import KVCache
    from minigpt.model.checkpoint import (
        Checkpoint,
        CheckpointInfo,
        load_checkpoint,
        save_checkpoint,
    )
    from minigpt.model.config import GPTConfig
    from minigpt.model.generation import complete, generate, stream
    from minigpt.model.gpt import GPT
    from minigpt.model.sampling import Sampler
    from minigpt.services.chat import ChatSession
    from minigpt.services.evaluate import evaluate
    from minigpt.services.split import split_data
    from minigpt.services.stats import show_stats
    from minigpt.services.train import train
    from minigpt.services.vocab import build_vocabulary
    from minigpt.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "GPT": "model.gpt",
    "ChatSession": "services.chat",
    "Checkpoint": "model.checkpoint",
    "CheckpointInfo": "model.checkpoint",
    "GPTConfig": "model.config",
    "KVCache": "model.cache",
    "MiniGPTError": "errors",
    "QAPair": "corpus.qa",
    "Sampler": "model.sampling",
    "Settings": "settings",
    "TokenizedDataset": "corpus.dataset",
    "Tokenizer": "corpus.tokenizer",
    "Vocab": "corpus.vocab",
    "build_vocab": "corpus.vocab",
    "build_vocabulary": "services.vocab",
    "complete": "model.generation",
    "evaluate": "services.evaluate",
    "generate": "model.generation",
    "load_checkpoint": "model.checkpoint",
    "load_settings": "layers",
    "load_vocab": "corpus.vocab",
    "read_pairs": "corpus.qa",
    "save_checkpoint": "model.checkpoint",
    "show_stats": "services.stats",
    "split_data": "services.split",
    "stream": "model.generation",
    "tokenize": "corpus.dataset",
    "train": "services.train",
}

__all__ = [
    "GPT",
    "ChatSession",
    "Checkpoint",
    "CheckpointInfo",
    "GPTConfig",
    "KVCache",
    "MiniGPTError",
    "QAPair",
    "Sampler",
    "Settings",
    "TokenizedDataset",
    "Tokenizer",
    "Vocab",
    "__version__",
    "build_vocab",
    "build_vocabulary",
    "complete",
    "evaluate",
    "generate",
    "load_checkpoint",
    "load_settings",
    "load_vocab",
    "read_pairs",
    "save_checkpoint",
    "show_stats",
    "split_data",
    "stream",
    "tokenize",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import the module in which a public name is at home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'minigpt' has no attribute {name!r}")
    value = getattr(import_module(f"minigpt.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
