"""Which parameters are updated how, and the learning rate over time."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.model.runtime import fastest_dtype
from minigpt.settings import TrainSettings
from minigpt.training.adamw import AdamW
from minigpt.training.base_optimizer import Optimizer
from minigpt.training.muon import MOMENTUM_BUFFER, Muon


def build_optimizers(model: GPT, settings: TrainSettings) -> list[Optimizer]:
    """The optimizers that together hold every parameter once.

    Matrices decay, biases and norms do not. With Muon the blocks' matrices are its own, and AdamW
    has the embeddings, biases and norms.
    """
    device = model.lm_head.weight.device

    def rate(value: float) -> float | Tensor:  # on a GPU read there, not by the CPU
        return torch.tensor(value, device=device) if device.type == "cuda" else value

    matrices = _block_matrices(model) if settings.optimizer == "muon" else []
    taken = {id(parameter) for parameter in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    lr, decay = settings.learning_rate, settings.weight_decay
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "lr": rate(lr), "weight_decay": decay},
        {"params": [p for p in rest if p.dim() < 2], "lr": rate(lr), "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = [AdamW(groups)]
    if matrices:
        lr = settings.muon_learning_rate
        dtype = fastest_dtype(device)
        optimizers.append(Muon(matrices, lr=rate(lr), weight_decay=decay, dtype=dtype))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = float(group["lr"])
    return optimizers


def _block_matrices(model: GPT) -> list[nn.Parameter]:
    return [p for p in model.transformer.blocks.parameters() if p.dim() == 2]


def moment_numbers(config: GPTConfig, optimizer: str) -> int:
    """How many numbers the optimizers keep: AdamW two for a parameter, Muon one for a matrix."""
    matrices = config.block_matrix_parameters if optimizer == "muon" else 0
    return 2 * config.parameters - matrices


def learning_rate_factor(step: int, *, steps: int, settings: TrainSettings) -> float:
    """What the highest learning rate is multiplied by at `step` (from 1) of `steps`."""
    warmup = min(settings.warmup_steps, steps)
    if step <= warmup:
        return step / warmup
    if settings.schedule == "constant":
        return 1.0
    left = (steps + 1 - step) / (steps + 1 - warmup)  # never quite 0: the last step counts too
    if settings.schedule == "linear":
        return left
    return 0.5 * (1 - math.cos(math.pi * left))


def set_learning_rate(optimizers: list[Optimizer], factor: float) -> None:
    """Set every group to its highest learning rate times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(group["peak_lr"] * factor)
            else:
                group["lr"] = group["peak_lr"] * factor


def optimizer_tensors(optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """All moments and counters, by a name that says optimizer, parameter and kind."""
    return dict(_named_state(optimizers))


def _named_state(optimizers: list[Optimizer]) -> Iterator[tuple[str, Tensor]]:
    for number, optimizer in enumerate(optimizers):
        for index, parameter in enumerate(_parameters(optimizer)):
            for kind, value in optimizer.state.get(parameter, {}).items():
                yield f"optimizer.{number}.{index}.{kind}", value


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def load_optimizer_tensors(optimizers: list[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` gave.

    Raises:
        ValueError: The tensors belong to another model or other optimizers.
    """
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, tensor in tensors.items():
        what, number, place, kind = name.split(".")
        if what != "optimizer" or not 0 <= int(number) < len(optimizers):
            raise ValueError(f"unexpected optimizer state {name}")
        states[int(number)].setdefault(int(place), {})[kind] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        parameters = _parameters(optimizer)
        if state.keys() != set(range(len(parameters))):
            raise ValueError("the optimizer state does not fit the model")
        for index, parameter in enumerate(parameters):
            _check_fit(state[index], parameter, kinds=_kinds(optimizer))
        for index, parameter in enumerate(parameters):
            moved = {kind: tensor.to(parameter.device) for kind, tensor in state[index].items()}
            optimizer.state[parameter] = moved


def _kinds(optimizer: Optimizer) -> set[str]:
    return {*AdamW.KINDS} if isinstance(optimizer, AdamW) else {MOMENTUM_BUFFER}


def _check_fit(state: Mapping[str, Tensor], parameter: Tensor, *, kinds: set[str]) -> None:
    if state.keys() != kinds:
        raise ValueError(f"optimizer state of the kinds {sorted(state)}, expected {sorted(kinds)}")
    for kind, tensor in state.items():
        shape = torch.Size() if kind == "step" else parameter.shape
        if tensor.shape != shape or tensor.dtype is not torch.float32:
            raise ValueError(
                f"{kind} is {tensor.dtype} {list(tensor.shape)}, "
                f"expected torch.float32 {list(shape)}"
            )
