"""The one checkpoint format: a safetensors file that holds weights, sizes and vocabulary.

Nothing in it can execute code, and no size that it states is believed before it is checked.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from minigpt.corpus.vocab import Vocab
from minigpt.errors import CheckpointError, VocabError
from minigpt.files import atomic_path, output_error
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT, shapes_of
from minigpt.model.location import LAST, TRAIN_HINT, resolve_checkpoint
from minigpt.settings import Length

FORMAT = 1
MOST_HEADER_BYTES = 100_000_000  # as safetensors has it
TRAINING = "training/"  # prefix of the tensors that only a resumed run needs
TIED = "lm_head.weight"  # not stored: it is transformer.wte.weight

_MAGIC = {b"\x1f\x8b": "compressed by gzip", b"BZh": "compressed by bzip2", b"GGUF": "a GGUF file"}
DAMAGED_HINT = "use another checkpoint of the run, or train again"


Count = Annotated[int, Field(ge=0, lt=2**62)]


class CheckpointInfo(BaseModel):
    """Where a checkpoint comes from.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epoch in which it was saved, from 1.
        max_length: Longest sequence, in tokens, that the model was trained on.
        loss_on: Which tokens the model learnt to predict.
        val_loss: Validation loss over all tokens, in nats per token; None before a validation.
        val_loss_answer: The same over the answers with their stop.
        data_sha256: Hash of the encoded training pairs.
        unigram: How often each token is a target in training, by id, for the unigram baseline.

    Example:
        >>> from minigpt import CheckpointInfo
        >>> CheckpointInfo(step=100, epoch=2, max_length=140).loss_on
        'all'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    step: Count
    epoch: Count
    max_length: Length
    loss_on: Literal["all", "answer"] = "all"
    val_loss: float | None = None
    val_loss_answer: float | None = None
    data_sha256: str = ""
    unigram: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A model as it stands in a file.

    Attributes:
        path: The file.
        config: Sizes of the model.
        vocab: The characters it knows.
        weights: State dict without the tied output layer, float32.
        info: Where it comes from.
        sha256: Hash of all of this, as the file states it; empty for a model that is in no file.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import Checkpoint, load_checkpoint
        >>> checkpoint: Checkpoint = load_checkpoint(Path("output"))
        >>> model = checkpoint.build()
        >>> model.config == checkpoint.config, model.training, checkpoint.info.max_length
        (True, False, 32)
    """

    path: Path
    config: GPTConfig
    vocab: Vocab
    weights: Mapping[str, Tensor]
    info: CheckpointInfo
    sha256: str = ""

    def build(self, device: torch.device | str = "cpu") -> GPT:
        """The model with these weights, in evaluation mode."""
        model = shapes_of(self.config)
        weights = dict(self.weights)
        weights[TIED] = weights["transformer.wte.weight"]
        model.load_state_dict(weights, assign=True)
        model.tie_weights()
        return model.to(device).eval()


def save_checkpoint(
    path: Path,
    model: GPT,
    vocab: Vocab,
    info: CheckpointInfo,
    *,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint atomically: a kill at any moment leaves the previous one or this one.

    Args:
        path: Where; its directory is made if needed.
        model: Its weights are stored in float32.
        vocab: Stored beside the weights.
        info: Stored beside the weights.
        training: Tensors that only a resumed run needs.
        state: Plain values that only a resumed run needs.

    Raises:
        OutputError: The file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import GPT, CheckpointInfo, GPTConfig, QAPair, build_vocab
        >>> from minigpt import load_checkpoint, save_checkpoint
        >>> vocab = build_vocab([QAPair("你好", "你好！")])
        >>> model = GPT(GPTConfig(vocab_size=vocab.size, n_layer=1, n_head=1, n_embd=4))
        >>> info = CheckpointInfo(step=0, epoch=0, max_length=140)
        >>> save_checkpoint(Path("mine.safetensors"), model, vocab, info)
        >>> load_checkpoint(Path("mine.safetensors")).vocab == vocab
        True
    """
    weights = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in model.state_dict().items()
        if name != TIED
    }
    extra = {
        TRAINING + name: tensor.detach().cpu().contiguous()
        for name, tensor in (training or {}).items()
    }
    metadata = {
        "format": str(FORMAT),
        "config": model.config.model_dump_json(),
        "vocab": json.dumps(vocab.tokens, ensure_ascii=False),
        "info": info.model_dump_json(),
        "state": json.dumps(state or {}),
    }
    metadata["sha256"] = _digest(weights, metadata)
    metadata["training_sha256"] = _digest(extra, metadata)
    with atomic_path(path) as temporary:
        try:
            save_file({**weights, **extra}, temporary, metadata=metadata)
        except SafetensorError as error:  # its writer wraps the system's errors
            raise output_error(path, OSError(str(error))) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read weights, sizes and vocabulary; training state in the file is not read.

    Args:
        path: A checkpoint file, or a run directory (its best).

    Raises:
        CheckpointError: It is missing, damaged, of a newer format, or does not fit together.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import load_checkpoint
        >>> load_checkpoint(Path("output")).path.name
        'best.safetensors'
    """
    path = resolve_checkpoint(path)
    with _opened(path) as file:
        metadata = _metadata(path, file)
        config, vocab, info = _parse(path, metadata)
        _check_shapes(path, config, file)  # before anything as large as they say is read
        weights = _tensors(file, training=False)
    if _digest(weights, metadata) != metadata["sha256"]:
        raise CheckpointError(f"{path}: damaged: its sha256 does not match", hint=DAMAGED_HINT)
    _check_numbers(path, weights)
    return Checkpoint(path, config, vocab, weights, info, metadata["sha256"])


def load_training_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` was given as `training` and `state`.

    Raises:
        CheckpointError: The file is missing or damaged, or holds no training state.
    """
    path = resolve_checkpoint(path)
    with _opened(path) as file:
        metadata = _metadata(path, file)
        tensors = _tensors(file, training=True)
    if not tensors:
        raise CheckpointError(
            f"{path}: holds no training state", hint=f"only {LAST} can be resumed from"
        )
    if _digest(tensors, metadata) != metadata["training_sha256"]:
        raise CheckpointError(f"{path}: damaged: its sha256 does not match", hint=DAMAGED_HINT)
    _check_numbers(path, tensors)
    plain = {name.removeprefix(TRAINING): tensor for name, tensor in tensors.items()}
    try:
        state: dict[str, Any] = dict(json.loads(metadata["state"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: {error}", hint=DAMAGED_HINT) from error
    return plain, state


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, opened once: a run that replaces it meanwhile does not mix two checkpoints."""
    try:
        _check_header_length(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _check_header_length(path: Path) -> None:
    """Look at the one length that stands first, before the whole file is mapped to memory."""
    with path.open("rb") as file:
        stated = int.from_bytes(file.read(8), "little")
    if not 0 < stated <= min(MOST_HEADER_BYTES, path.stat().st_size - 8):
        raise ValueError(f"a header of {stated:,} bytes")


def _metadata(path: Path, file: Any) -> dict[str, str]:  # noqa: ANN401 - has no public type
    metadata: dict[str, str] = file.metadata() or {}
    _check_metadata(path, metadata)
    return metadata


def _tensors(file: Any, *, training: bool) -> dict[str, Tensor]:  # noqa: ANN401 - as above
    names = (name for name in file.keys() if name.startswith(TRAINING) == training)  # noqa: SIM118 - not a dict
    return {name: file.get_tensor(name) for name in names}


def _check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: {name} holds values that are not numbers", hint=DAMAGED_HINT
            )


def _check_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    found = metadata.get("format", "")
    if re.fullmatch("[0-9]{1,9}", found) and int(found) > FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {found}, this minigpt reads {FORMAT}",
            hint="upgrade minigpt",
        )
    keys = {"format", "config", "vocab", "info", "state", "sha256", "training_sha256"}
    if found != str(FORMAT) or not keys <= metadata.keys():
        raise CheckpointError(f"{path}: not a minigpt checkpoint", hint=TRAIN_HINT)


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        head = b""
    own = "minigpt reads its own .safetensors checkpoints only"
    if head.startswith((b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))):
        return CheckpointError(
            f"{path}: looks like a pickle, which could run code and is never loaded", hint=own
        )
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return CheckpointError(f"{path}: is {kind}, not a checkpoint", hint=own)
    return CheckpointError(f"{path}: damaged or not a checkpoint: {error}", hint=DAMAGED_HINT)


def _parse(path: Path, metadata: Mapping[str, str]) -> tuple[GPTConfig, Vocab, CheckpointInfo]:
    try:
        config = GPTConfig.model_validate_json(metadata["config"])
        info = CheckpointInfo.model_validate_json(metadata["info"])
        vocab = Vocab(tuple(json.loads(metadata["vocab"])))
    except (ValidationError, ValueError, TypeError, VocabError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: damaged: {reason}", hint=DAMAGED_HINT) from error
    if vocab.size != config.vocab_size:
        raise CheckpointError(
            f"{path}: {vocab.size} tokens in the vocabulary, {config.vocab_size} in the model",
            hint=DAMAGED_HINT,
        )
    if info.max_length > config.block_size:
        raise CheckpointError(
            f"{path}: damaged: trained on {info.max_length} tokens, {config.block_size} positions",
            hint=DAMAGED_HINT,
        )
    if len(info.unigram) not in {0, vocab.size}:
        raise CheckpointError(
            f"{path}: damaged: counts of {len(info.unigram)} tokens for {vocab.size}",
            hint=DAMAGED_HINT,
        )
    return config, vocab, info


def _check_shapes(path: Path, config: GPTConfig, file: Any) -> None:  # noqa: ANN401 - as above
    names = {name for name in file.keys() if not name.startswith(TRAINING)}  # noqa: SIM118 - not a dict
    if config.n_layer > len(names):  # before a model of that many layers is even outlined
        raise CheckpointError(f"{path}: damaged: weights are missing", hint=DAMAGED_HINT)
    outline = shapes_of(config).state_dict()
    expected = {key: list(value.shape) for key, value in outline.items() if key != TIED}
    if names != expected.keys():
        name = sorted(names ^ expected.keys())[0]
        raise CheckpointError(
            f"{path}: damaged: {name} is missing or not expected", hint=DAMAGED_HINT
        )
    for name, shape in expected.items():
        found = file.get_slice(name)
        if found.get_shape() != shape or found.get_dtype() != "F32":
            raise CheckpointError(
                f"{path}: damaged: {name} is {found.get_dtype()} {found.get_shape()}, "
                f"expected F32 {shape}",
                hint=DAMAGED_HINT,
            )


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash names, types, shapes and data of the tensors, and the metadata that stands beside."""
    digest = hashlib.sha256()
    for key in ("format", "config", "vocab", "info", "state"):
        digest.update(metadata[key].encode("utf-8", "surrogatepass") + b"\0")
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
