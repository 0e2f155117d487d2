"""The CPU: what it is fast at, and how many of its threads work."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

REPEATS = 5
_SIZE = 768  # of the product that is timed, some milliseconds each
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
    matrix = torch.ones(_SIZE, _SIZE)
    return seconds_of_square(matrix) / seconds_of_square(matrix.bfloat16())


def seconds_of_square(matrix: Tensor, *, wait: Callable[[], None] = lambda: None) -> float:
    """How long it takes at best to multiply a square matrix by itself.

    Args:
        matrix: [N, N].
        wait: Waits for the matrix's device.
    """
    seconds = []
    for _ in range(REPEATS):  # the first gets ready
        wait()
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        wait()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@contextlib.contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """A context in which a CPU works alone, if that is wanted, where others would be waited for."""
    threads = torch.get_num_threads()
    if not wanted or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
