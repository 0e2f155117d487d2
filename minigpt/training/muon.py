"""Muon: momentum whose every update is made orthogonal, all matrices of a shape at once.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon/; momentum and scale as in `torch.optim.Muon`, which
takes one matrix after the other.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from minigpt.training.base_optimizer import Optimizer

MOMENTUM = 0.95
MOMENTUM_BUFFER = "momentum_buffer"  # what torch.optim.Muon calls it too
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic; steepest at 0
# Five Newton-Schulz steps; three that start from a closer bound reach the same loss, but know fewer
# facts (RESULTS.md). Between the two stages a wide matrix is multiplied out: bfloat16 would not
# keep its small singular values through five steps of its Gram matrix alone.
STAGES = (3, 2)


class Muon(Optimizer):
    """Keeps one `momentum_buffer` a matrix.

    Args:
        params: Matrices.
        lr: The learning rate; may be a tensor on the device.
        weight_decay: How much of a matrix an update at a rate of 1 takes away.
        dtype: The number format of the Newton-Schulz steps: bfloat16 suffices.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float | Tensor,
        weight_decay: float,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__([{"params": list(params), "lr": lr, "weight_decay": weight_decay}])
        self._dtype = dtype
        self._update = update_matrices

    def compile(self) -> None:
        """Compile the update for the shapes that the matrices have."""
        self._update = torch.compile(update_matrices, dynamic=False)

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for matrices in by_shape.values():
                gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
                buffers = [self._buffer(matrix) for matrix in matrices]
                self._update(
                    matrices,
                    gradients,
                    buffers,
                    lr=group["lr"],
                    weight_decay=group["weight_decay"],
                    dtype=self._dtype,
                    found_inf=self.found_inf,
                )

    def _buffer(self, matrix: Tensor) -> Tensor:
        if matrix not in self.state:
            self.state[matrix] = {MOMENTUM_BUFFER: torch.zeros_like(matrix)}
        return self.state[matrix][MOMENTUM_BUFFER]


def update_matrices(
    matrices: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    *,
    lr: float | Tensor,
    weight_decay: float,
    dtype: torch.dtype,
    found_inf: Tensor | None = None,
) -> None:
    """Update matrices of one shape [rows, columns] and their momentum in place."""
    if found_inf is not None:  # a buffer moved towards itself stays as it is
        left_out = found_inf > 0
        pairs = zip(buffers, gradients, strict=True)
        gradients = [torch.where(left_out, b, g) for b, g in pairs]
        lr = torch.where(left_out, 0.0, lr)
    torch._foreach_lerp_(buffers, gradients, 1 - MOMENTUM)
    looked_ahead = torch._foreach_lerp(gradients, buffers, MOMENTUM)  # Nesterov's form
    updates = orthogonal(torch.stack([update.to(dtype) for update in looked_ahead]))
    rows, columns = matrices[0].shape
    scale = lr * math.sqrt(max(1, rows / columns))
    torch._foreach_mul_(matrices, 1 - lr * weight_decay)
    torch._foreach_sub_(matrices, list(updates.float().mul_(scale).unbind()))


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrix of each: singular values near 1, between 0.7 and 1.2.

    Args:
        matrices: [n, rows, columns], bfloat16 or float32.

    Returns:
        [n, rows, columns], by five Newton-Schulz steps in the same format.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x: Tensor = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    takes_steps = _by_gram if x.shape[2] >= 2 * x.shape[1] else _one_by_one
    for steps in STAGES:
        x = takes_steps(x, steps)
    return x if wide else x.mT


def _one_by_one(x: Tensor, steps: int) -> Tensor:
    """So many steps, each X <- aX + (bG + cG²)X with G = XXᵀ."""
    for _ in range(steps):
        x = torch.baddbmm(x, _added(x @ x.mT), x, beta=COEFFICIENTS[0])
    return x


def _by_gram(x: Tensor, steps: int) -> Tensor:
    """The same with smaller products: only G takes the steps, and X is multiplied once.

    A step multiplies X by F = aI + bG + cG², so G becomes FGF, and X ends as the product of all F
    and itself. All of these are polynomials of the first G and commute.
    """
    a, _, _ = COEFFICIENTS
    gram = x @ x.mT
    added = _added(gram)
    factor = added.clone()
    factor.diagonal(dim1=1, dim2=2).add_(a)
    for _ in range(steps - 1):
        half = torch.baddbmm(gram, added, gram, beta=a)
        gram = torch.baddbmm(half, half, added, beta=a)
        added = _added(gram)
        factor = torch.baddbmm(factor, factor, added, beta=a)
    return factor @ x


def _added(gram: Tensor) -> Tensor:
    """What a step adds to a times X, as a factor of X: bG + cG²."""
    _, b, c = COEFFICIENTS
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
