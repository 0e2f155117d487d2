"""What optimizers have in common, without torch.optim's base class.

That one imports PyTorch's compiler as soon as it is used: 3.5 s on a machine with an H200, for
runs that compile nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class Optimizer(ABC):
    """Parameters in groups that share their settings, and what is kept for each parameter.

    Attributes:
        param_groups: As torch.optim has them: each with `params` and settings.
        state: What is kept for each parameter, by name.
        found_inf: [] on the device: at 1 the step changes nothing.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self.param_groups: list[dict[str, Any]] = [dict(group) for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.found_inf: Tensor | None = None

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @abstractmethod
    def step(self) -> None:
        """Update every parameter that has a gradient."""
