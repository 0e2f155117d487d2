"""Dropout that is fast on a CPU too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BYTES = 256  # values of a byte, all equally likely


class Dropout(nn.Module):
    """While training, sets a share `p` of the numbers to zero and makes up for it in the others."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        return dropout(x, self.p) if self.training else x


def dropout(x: Tensor, p: float) -> Tensor:
    """Set a share `p` of `x` to zero, on a CPU to the nearest 1/256.

    PyTorch draws a number for each element there, on one core; here one draw serves eight.
    """
    if not p:
        return x
    if x.device.type != "cpu":
        return hashed_dropout(x, p) if torch.compiler.is_compiling() else F.dropout(x, p)
    dropped = min(BYTES - 1, round(BYTES * p))
    drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), 2**63 - 1)
    kept = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * kept.to(x.dtype).mul_(BYTES / (BYTES - dropped))


def hashed_dropout(x: Tensor, p: float) -> Tensor:
    """Dropout whose number for each place is a hash of it and of two that are drawn.

    Compiled, it takes a few instructions of a kernel that waits for memory, where PyTorch's
    generator takes more time than the memory. The hash is lowbias32, https://nullprogram.com/blog/2018/07/31/,
    with the second number between its rounds.
    """
    first, second = (torch.rand(2, device=x.device) * 2**31).int().unbind()
    place = torch.arange(x.numel(), device=x.device).int().view(x.shape)
    drawn = place ^ first
    drawn = (drawn ^ ((drawn >> 16) & 0xFFFF)) * 0x7FEB352D + second
    drawn = (drawn ^ ((drawn >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    kept = drawn >= round(p * 2**32) - 2**31
    return torch.where(kept, x / (1 - p), 0)
