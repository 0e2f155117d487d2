"""How much arithmetic a device can do: the measure of how well training uses it."""

import torch

from minigpt.model.processor import seconds_of_square
from minigpt.model.runtime import Runtime

FLOPS_PER_PARAMETER = 6  # for each token: 2 forward, 4 backward; Kaplan et al. 2020, section 2.1
SIZES = {"cpu": 1_536, "mps": 4_096, "cuda": 8_192}  # large enough, and over in a moment


def matmul_peak(runtime: Runtime) -> float:
    """Floating point operations a second of a large product in the runtime's format, now."""
    size = SIZES[runtime.device.type]
    matrix = torch.randn(size, size, device=runtime.device).to(runtime.dtype)
    return 2 * size**3 / seconds_of_square(matrix, wait=runtime.synchronize)
