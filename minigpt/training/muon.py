"""Muon: momentum whose every update is made orthogonal, all matrices of a shape at once.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon/; momentum and scale as in `torch.optim.Muon`, which
takes one matrix after the other. What makes an update orthogonal are three polynomials in place of
five, as a bound near the largest singular value is known.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from minigpt.training.base_optimizer import Optimizer

MOMENTUM = 0.95
MOMENTUM_BUFFER = "momentum_buffer"  # what torch.optim.Muon calls it too
# a x + b x^3 + c x^5, one after the other, bring singular values between 0.01 and 1 to 1, within
# 0.27. No other three do it better (Amsel et al. 2025, "The Polar Express", arXiv:2505.16932);
# each is eased a little, p(x / 1.02), since rounding brings some values above 1.
COEFFICIENTS = (
    (7.9347, -22.2581, 15.8015),
    (3.5653, -2.5649, 0.4860),
    (2.6091, -1.8631, 0.4099),
)
ROOM = 1.01  # for rounding, around the largest singular value


class Muon(Optimizer):
    """Keeps one `momentum_buffer` a matrix; the learning rate may be a tensor on the device."""

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float | Tensor, weight_decay: float
    ) -> None:
        super().__init__([{"params": list(params), "lr": lr, "weight_decay": weight_decay}])
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
    updates = orthogonal(torch.stack([update.bfloat16() for update in looked_ahead]))
    rows, columns = matrices[0].shape
    scale = lr * math.sqrt(max(1, rows / columns))
    torch._foreach_mul_(matrices, 1 - lr * weight_decay)
    torch._foreach_sub_(matrices, list((updates.float() * scale).unbind()))


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrix of each: singular values near 1, between 0.7 and 1.3.

    Those that were less than a hundredth of the largest stay less.

    Args:
        matrices: [n, rows, columns], bfloat16.

    Returns:
        [n, rows, columns] bfloat16, by products in that format.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x: Tensor = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    largest: Tensor | float = 1.0
    for number, (a, b, c) in enumerate(COEFFICIENTS):
        gram = x @ x.mT
        square = gram @ gram
        if not number:
            # The root of the sum of the eighth powers of all singular values: hardly more than the
            # largest, which their plain norm may be many times.
            eighth = square.float().square().sum(dim=(1, 2), keepdim=True)
            largest = ROOM * eighth.clamp(min=1e-30) ** (1 / 8)
        polynomial = a / largest * eye + b / largest**3 * gram + c / largest**5 * square
        x = polynomial.to(x.dtype) @ x
        largest = 1.0
    return x if wide else x.mT
