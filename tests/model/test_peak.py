import math

import pytest
import torch

from minigpt.model.peak import matmul_peak
from minigpt.model.runtime import Runtime


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_is_that_of_a_computer(dtype: torch.dtype) -> None:
    peak = matmul_peak(Runtime(torch.device("cpu"), dtype))
    assert math.isfinite(peak)
    assert 1e6 < peak < 1e18
