"""Start a model from another one that knows other characters."""

import torch
from torch import Tensor, nn

from minigpt.corpus.vocab import Vocab
from minigpt.errors import CheckpointError
from minigpt.model.checkpoint import Checkpoint
from minigpt.model.gpt import GPT
from minigpt.settings import SIZES

TOKENS, POSITIONS = "transformer.wte.weight", "transformer.wpe.weight"


@torch.no_grad()
def transplant(checkpoint: Checkpoint, model: GPT, vocab: Vocab) -> int:
    """Give `model`, which speaks `vocab`, all that a checkpoint knows.

    A character that both know keeps its embedding wherever it stands, and so does a position; those
    that only `model` has keep what chance gave them.

    Returns:
        How many tokens of `vocab` the checkpoint knows.

    Raises:
        CheckpointError: The sizes of the blocks differ.
    """
    _check_sizes(checkpoint, model)
    weights = dict(checkpoint.weights)
    own = dict(model.named_parameters())
    known = [
        (i, checkpoint.vocab.ids[t]) for t, i in vocab.ids.items() if t in checkpoint.vocab.ids
    ]
    here, there = torch.tensor(known).unbind(1)
    _put(own[TOKENS], weights.pop(TOKENS)[there], here)
    positions = weights.pop(POSITIONS)[: model.config.block_size]
    _put(own[POSITIONS], positions, torch.arange(len(positions)))
    for name, weight in weights.items():
        own[name].copy_(weight)
    return len(known)


def _put(parameter: nn.Parameter, rows: Tensor, places: Tensor) -> None:
    parameter[places.to(parameter.device)] = rows.to(parameter)


def _check_sizes(checkpoint: Checkpoint, model: GPT) -> None:
    names = ("n_layer", "n_head", "n_embd")
    found = tuple(getattr(checkpoint.config, name) for name in names)
    wanted = tuple(getattr(model.config, name) for name in names)
    if found == wanted:
        return
    size = next((name for name, shape in SIZES.items() if shape == found), "")
    numbers = " ".join(f"--{n.replace('_', '-')} {v}" for n, v in zip(names, found, strict=True))
    raise CheckpointError(
        f"{checkpoint.path}: has {found[0]} layers, {found[1]} heads and width {found[2]}; "
        f"asked for are {wanted[0]}, {wanted[1]} and {wanted[2]}",
        hint=f"give {f'--size {size}' if size else numbers}",
    )
