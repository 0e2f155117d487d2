"""The machine: device, number format, compilation and rank, decided once and in one place."""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from minigpt.errors import DeviceError
from minigpt.memory import keep_freed_memory
from minigpt.model import processor
from minigpt.model.gpt import GPT
from minigpt.model.quantize import quantize
from minigpt.settings import RuntimeSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Measured on an H200 with `base` (RESULTS.md): with a filled cache the compiler takes 12 s, most of
# them its own import, and saves 0.56 µs a token. On slower GPUs it saves more.
TOKENS_WORTH_COMPILING = 20_000_000
ROWS, GPU_ROWS = 64, 1024  # texts at once: more are no faster, on two cores and on an H200


@dataclass(frozen=True)
class Runtime:
    """Where and how a model runs.

    Attributes:
        device: The device of this process.
        dtype: Number format of matrix products; weights stay float32 while training.
        compile: "on", "off", or "auto" to decide by the length of the run.
        quantize: "none", "int8" or "int4": how weights are kept while answering.
        rank: Index of this process among `world_size` that train together.
        world_size: Number of processes that train together.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    compile: Literal["auto", "on", "off"] = "off"
    quantize: Literal["none", "int8", "int4"] = "none"
    rank: int = 0
    world_size: int = 1
    _graphs: list[torch.cuda.CUDAGraph] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def resolve(cls, settings: RuntimeSettings, *, training: bool) -> Self:
        """Turn the wishes of `[runtime]` into what this machine has.

        Raises:
            DeviceError: An explicit wish cannot be met.
        """
        device = _resolve_device(settings.device)
        form = "none" if training else settings.quantize
        if form != "none" and device.type != "cpu":
            raise DeviceError(
                f"{device}: {form} weights answer faster on a CPU alone",
                hint="use --quantize none, or --device cpu",
            )
        if training and device.type == "cpu":
            keep_freed_memory()
        return cls(
            device=device,
            dtype=_resolve_dtype(settings.dtype, device, exact=not training and form != "int4"),
            compile=settings.compile,
            quantize=form,
            rank=int(os.environ.get("RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
        )

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    @property
    def dtype_name(self) -> str:
        """`float32` or `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def device_name(self) -> str:
        """The device as a person knows it."""
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        if self.device.type == "cpu":
            return f"cpu ({torch.get_num_threads()} threads)"
        return str(self.device)

    def answering(self, model: GPT) -> GPT:
        """The model as it answers here: on the device, in its number format, quantised if wished.

        Raises:
            DeviceError: It cannot be quantised.
        """
        if self.quantize != "none":
            model = quantize(model, self.quantize)
        return model.to(self.device, self.dtype)

    def rows_at_once(self, bytes_each: int) -> int:
        """How many texts are written together: on a GPU as many as a part of its memory holds."""
        if self.device.type != "cuda":
            return ROWS
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(ROWS, min(GPU_ROWS, free // (4 * bytes_each)))

    @contextlib.contextmanager
    def autocast(self, *, enabled: bool = True) -> Iterator[None]:
        """A context in which matrix products run in `dtype`, and attention as is fastest here.

        Inside it weights are copied to that format once. A backward pass inside it goes into one
        that is not enabled: it runs in the formats of the forward pass anyway. On a CPU the fused
        attention is made for long sequences; over pairs of a few dozen tokens the plain products
        are faster.
        """
        with contextlib.ExitStack() as stack:
            if self.dtype is not torch.float32:
                kind = self.device.type
                stack.enter_context(torch.autocast(kind, dtype=self.dtype, enabled=enabled))
            if self.device.type == "cpu":
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield

    def compiles(self, tokens: int) -> bool:
        """Whether a training run over so many tokens compiles its blocks."""
        if self.compile == "auto":
            return tokens >= TOKENS_WORTH_COMPILING and runs_kernels(self.device)
        return self.compile == "on"

    def compile_blocks(self, blocks: nn.ModuleList, *, dynamic: bool) -> None:
        """Compile each block in place, for any shape or for one; parameter names stay."""
        for block in blocks:
            block.compile(dynamic=dynamic)

    def graphed(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record what `work` gives a CUDA device to do, to be given in one go from then on.

        Args:
            work: Has run before, reads and writes the same tensors each time and waits for none.

        Returns:
            A function that does the same work; its result is overwritten by the next call.
        """
        graph = torch.cuda.CUDAGraph()
        # Others' threads may use CUDA meanwhile: NCCL's watchdog does.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()
        self._graphs.append(graph)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def uncompiled(self) -> contextlib.AbstractContextManager[object]:
        """A context in which compiled blocks run as written: not worth compiling another shape."""
        if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes 0.9 s
            return contextlib.nullcontext()
        stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return stance

    @contextlib.contextmanager
    def distributed(self) -> Iterator[None]:
        """Join the other processes of a `torchrun`, if there are any, and leave them at the end."""
        if self.world_size == 1:
            yield
            return
        is_gpu = self.device.type == "cuda"
        dist.init_process_group(
            "nccl" if is_gpu else "gloo", device_id=self.device if is_gpu else None
        )
        try:
            yield
        finally:
            for graph in self._graphs:  # NCCL waits for those that still hold its work
                graph.reset()
            dist.destroy_process_group()

    def sum_over_ranks(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all processes, in place; all are sent as one."""
        if self.world_size == 1:
            return
        together = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(together)
        parts = torch.split(together, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any_rank(self, claim: bool) -> bool:
        """Whether the claim holds in at least one process; the same answer in all."""
        if self.world_size == 1:
            return claim
        tensor = torch.tensor([int(claim)], device=self.device)
        dist.all_reduce(tensor)
        return bool(tensor.item())

    def barrier(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            dist.barrier()

    def free_memory(self) -> None:
        """Give back what PyTorch keeps of the device's memory without using it."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def peak_memory(self) -> int:
        """Most bytes that were in use at a time: of the GPU, or of this process; 0 if unknown."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        if self.device.type == "mps" or importlib.util.find_spec("resource") is None:
            return 0
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1_024 * most  # getrusage(2): kilobytes

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def gpu_bytes(self) -> int:
        """Memory of the CUDA GPU, free or not."""
        return int(torch.cuda.get_device_properties(self.device).total_memory)

    @contextlib.contextmanager
    def memory_guard(self, hint: str) -> Iterator[None]:
        """Turn running out of memory into a `DeviceError` with this hint."""
        try:
            yield
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(f"{self.device}: out of memory", hint=hint) from error


def runs_kernels(device: torch.device) -> bool:
    """Whether kernels written in Triton run there.

    It comes with PyTorch's CUDA builds for Linux, and supports NVIDIA's GPUs from compute
    capability 8.0 (Ampere) on; on a T4 or V100 it "may work at times"
    (https://github.com/triton-lang/triton/issues/10918).
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def fastest_dtype(device: torch.device) -> torch.dtype:
    """The faster number format for products of matrices that need no more than bfloat16."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and processor.has_fast_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that a device or the machine has no memory left."""
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
    )


def _resolve_device(wish: str) -> torch.device:
    if wish == "auto":
        if torch.cuda.is_available():
            return _cuda(int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = wish.partition(":")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                "cuda: this machine or this PyTorch has no CUDA device",
                hint="use --device auto, or install a PyTorch build with CUDA",
            )
        return _cuda(int(index or os.environ.get("LOCAL_RANK", "0")))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps: this machine has no Metal device", hint="use --device auto")
    return torch.device(kind)


def _cuda(index: int) -> torch.device:
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"cuda:{index}: this machine has {count} CUDA device(s), numbered from 0",
            hint=f"use --device cuda:{count - 1}, or start no more processes than devices",
        )
    torch.cuda.set_device(index)
    # cuDNN's attention is not sound on Hopper GPUs (pytorch/pytorch issues 196678, 193893); with it
    # three of thirteen trainings ended in a launch failure, and nothing here is slower without it.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda", index)


def _resolve_dtype(wish: str, device: torch.device, *, exact: bool) -> torch.dtype:
    if wish != "auto":
        return DTYPES[wish]
    # Answers and measurements do not depend on the batch size in float32.
    return torch.float32 if exact else fastest_dtype(device)
