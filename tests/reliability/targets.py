"""What the fuzzers feed: bytes of any kind go in, and only errors of minigpt may come out."""

import functools
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load

from minigpt.corpus.qa import read_pairs
from minigpt.corpus.vocab import Vocab
from minigpt.errors import CheckpointError, DataError, VocabError
from minigpt.model import checkpoint
from minigpt.model.checkpoint import (
    TRAINING,
    CheckpointInfo,
    load_checkpoint,
    load_training_state,
    save_checkpoint,
)
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from tests.tiny import tiny_vocab

SEEDS_JSONL = [
    '{"question": "你好", "answer": "你好！", "topic": "t", "answers": ["a", "b"]}\n'.encode(),
    b'\xef\xbb\xbf{"question": "a", "answer": "b"}\r\n\n[1, 2]\n{"question": null}\n',
    b'{"question": "\\ud83d\\ude00", "answer": "\\ud800"}\n{"question": 1e999}',
    '{"question": "中", "answer": "文"}'.encode("gb18030"),
    '{"question": "中", "answer": "文"}'.encode("utf-16"),
    b'{"a": {"a": [' + b"[" * 50,
]


@functools.cache
def _folder() -> Path:
    fast = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=fast if os.access(fast, os.W_OK) else None))


def jsonl(data: bytes) -> bool:
    """Read `data` as a data file; return whether it has pairs."""
    path = _folder() / "data.jsonl"
    path.write_bytes(data)
    try:
        pairs = read_pairs(path)
    except DataError:
        return False
    for pair in pairs:
        (pair.question + pair.answer).encode("utf-8")
        assert pair.question.strip()
        assert pair.answer.strip()
    return True


@functools.cache
def base() -> bytes:
    """A small checkpoint with training state."""
    path = _folder() / "base.safetensors"
    sizes = GPTConfig(vocab_size=tiny_vocab().size, block_size=32, n_layer=1, n_head=1, n_embd=4)
    model, info = GPT(sizes), CheckpointInfo(step=3, epoch=1, max_length=20)
    save_checkpoint(
        path, model, tiny_vocab(), info, training={"odd": torch.ones(2)}, state={"step": 3}
    )
    return path.read_bytes()


@functools.cache
def _tensors() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    tensors = load(base())
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(TRAINING)}
    return {name: tensor for name, tensor in tensors.items() if name not in own}, own


FIELDS = ("format", "config", "vocab", "info", "state", "sha256", "training_sha256")
SEEDS_CHECKPOINT = [
    b"\x00" + b"PK\x03\x04",
    b"\x00" + b"\x80\x04\x95",
    b"\x01\x00\x00\x01\xff",
    b"\x01\x00\x20\x01{",
    b'\x02\x01{"vocab_size": 9, "n_layer": 1000}',
    b'\x02\x02["<pad>", "<unk>", "<sep>", "a"]',
    b'\x02\x03{"step": 1, "epoch": 1, "max_length": 4}',
    b'\x03{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}',
]


def checkpoint_bytes(data: bytes) -> bytes:
    """The file that `data` describes: itself, or the small checkpoint with something changed.

    The first byte chooses: 0 the rest is the file; 1 the rest overwrites bytes, in groups of a
    place (2), a length (1) and values; 2 a field of the metadata becomes the rest, with hashes
    made to fit; 3 the rest is the whole header.
    """
    mode, rest = (data[0] % 4, data[1:]) if data else (0, b"")
    if mode == 0:
        return rest
    if mode == 1:
        content = bytearray(base())
        while len(rest) > 3:
            place, length = int.from_bytes(rest[:2], "little") % len(content), rest[2] % 16
            content[place : place + length] = rest[3 : 3 + length]
            rest = rest[3 + length :]
        return bytes(content)
    whole = base()
    end = 8 + int.from_bytes(whole[:8], "little")
    if mode == 3:
        return len(rest).to_bytes(8, "little") + rest + whole[end:]
    header = json.loads(whole[8:end])
    name = FIELDS[(rest[0] if rest else 0) % len(FIELDS)]
    metadata = header["__metadata__"]
    metadata[name] = rest[1:].decode("utf-8", "replace")
    if name not in {"sha256", "training_sha256"}:  # who makes a file can make its hashes fit
        weights, training = _tensors()
        metadata["sha256"] = checkpoint._digest(weights, metadata)
        metadata["training_sha256"] = checkpoint._digest(training, metadata)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[end:]


def safetensors(data: bytes) -> bool:
    """Load what `data` describes; return whether that is a checkpoint."""
    path = _folder() / "last.safetensors"
    path.write_bytes(checkpoint_bytes(data))
    try:
        found = load_checkpoint(path)
        found.build()
        load_training_state(path)
    except CheckpointError:
        return False
    return True


def vocabulary(data: bytes) -> bool:
    """Read `data` as a vocabulary; return whether it is one."""
    try:
        vocab = Vocab.from_json(data)
    except VocabError:
        return False
    assert Vocab.from_json(vocab.to_bytes()) == vocab
    return True


TARGETS = {
    "jsonl": (jsonl, SEEDS_JSONL),
    "checkpoint": (safetensors, SEEDS_CHECKPOINT),
    "vocabulary": (vocabulary, [tiny_vocab().to_bytes(), b"[]"]),
}
