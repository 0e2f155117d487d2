"""What the CPU is fast at."""

import functools
import time

import torch

_SIZE, _REPEATS = 768, 3  # of the product that is timed, some milliseconds each
_WORTH_IT = 1.2  # times as fast


def has_tiles() -> bool:
    """Whether it multiplies small matrices in one instruction (AMX)."""
    return _has("_is_amx_tile_supported")


def has_fast_bfloat16() -> bool:
    """Whether products of matrices are faster in bfloat16 than in float32.

    With tiles they are, by far. AVX-512's instructions for bfloat16 are half as fast as float32 on
    one processor and should be twice as fast on another, so there one product of each is timed.
    Without any, PyTorch multiplies number by number, fifty times as slowly.
    """
    return has_tiles() or (_has("_is_avx512_bf16_supported") and _bfloat16_gain() > _WORTH_IT)


def _has(probe: str) -> bool:
    """What PyTorch says; one that cannot tell has no use for it."""
    return bool(getattr(torch.cpu, probe, bool)())


@functools.cache
def _bfloat16_gain() -> float:
    """How many times as fast as in float32 a product is in bfloat16."""
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(_SIZE, _SIZE, dtype=dtype)
    seconds = []
    for _ in range(1 + _REPEATS):  # the first gets ready
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
