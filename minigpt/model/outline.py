"""A model as a tree of named parts, with the shape and the number of its weights."""

from dataclasses import dataclass
from math import prod

from torch import nn

from minigpt.model.config import GPTConfig
from minigpt.model.gpt import shapes_of


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that is learnt.

    Attributes:
        name: "weight" or "bias".
        shape: Its shape.
        shared_with: The part that already has it and counts it; empty where it is the part's own.
    """

    name: str
    shape: tuple[int, ...]
    shared_with: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A module that has weights, or parts that have some.

    Attributes:
        name: Its name in the state dict; that of several alike parts is a range, like "0-5".
        kind: Its class.
        alike: How many such parts stand one after the other.
        parameters: Numbers in the weights of all of them together, shared ones left out.
        weights: Those of one of them, without those of its parts.
        parts: What one of them is made of, in order.
    """

    name: str
    kind: str
    alike: int
    parameters: int
    weights: tuple[Weight, ...]
    parts: "tuple[Part, ...]"


def outline(config: GPTConfig) -> Part:
    """The parts of a GPT of these sizes, read off the model itself; no weight is allocated."""
    return _part("model", shapes_of(config), owners={})


def _part(name: str, module: nn.Module, *, owners: dict[int, str]) -> Part:
    weights = tuple(
        Weight(own, tuple(tensor.shape), owners.get(id(tensor), ""))
        for own, tensor in module.named_parameters(recurse=False)
    )
    owners |= {
        id(tensor): name for tensor in module.parameters(recurse=False) if id(tensor) not in owners
    }
    inner = [_part(own, child, owners=owners) for own, child in module.named_children()]
    parts = _joined([part for part in inner if part.weights or part.parts])
    own_numbers = sum(prod(weight.shape) for weight in weights if not weight.shared_with)
    parameters = own_numbers + sum(part.parameters for part in parts)
    return Part(name, type(module).__name__, 1, parameters, weights, parts)


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbours of one kind and the same weights, made one part."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last and _form(last) == _form(part) and part.name.isdigit():
            alike = last.alike + 1
            joined[-1] = Part(
                f"{last.name.partition('-')[0]}-{part.name}",
                part.kind,
                alike,
                alike * part.parameters,
                part.weights,
                part.parts,
            )
        else:
            joined.append(part)
    return tuple(joined)


def _form(part: Part) -> tuple[object, ...]:
    return part.kind, part.weights, part.parts
