import importlib.util

import pytest
import torch
from torch import nn

from minigpt.errors import DeviceError
from minigpt.model.runtime import (
    TOKENS_WORTH_COMPILING,
    Runtime,
    runs_kernels,
)
from minigpt.settings import RuntimeSettings
from tests.tiny import snapshot, tiny_model

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def resolve(*, training: bool = True, **wishes: str) -> Runtime:
    return Runtime.resolve(RuntimeSettings.model_validate(wishes), training=training)


def test_the_cpu_is_always_there() -> None:
    runtime = resolve(device="cpu", dtype="float32")
    assert (runtime.device, runtime.dtype) == (CPU, torch.float32)
    assert (runtime.is_main, runtime.world_size, runtime.dtype_name) == (True, 1, "float32")
    assert runtime.device_name.startswith("cpu (")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_answers_are_computed_in_float32_unless_wished_otherwise(device: str) -> None:
    assert resolve(device=device, training=False).dtype is torch.float32
    assert resolve(device=device, dtype="bfloat16", training=False).dtype is torch.bfloat16


@pytest.mark.parametrize(("has_it", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_trains_in_bfloat16_where_the_processor_has_it(
    has_it: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: has_it)
    assert resolve(device="cpu").dtype is dtype


@pytest.mark.parametrize(
    ("form", "has_it", "dtype"),
    [
        ("int8", True, torch.float32),
        ("int8", False, torch.float32),
        ("int4", True, torch.bfloat16),
        ("int4", False, torch.float32),
    ],
)
def test_quantized_weights_answer_in_the_number_format_that_suits_them(
    form: str, has_it: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: has_it)
    runtime = resolve(device="cpu", quantize=form, training=False)
    assert (runtime.quantize, runtime.dtype) == (form, dtype)
    assert resolve(device="cpu", quantize=form, training=True).quantize == "none"


@pytest.mark.gpu
def test_quantized_weights_are_refused_on_a_gpu() -> None:
    with pytest.raises(DeviceError, match="int8 weights answer faster on a CPU alone") as caught:
        resolve(device="cuda", quantize="int8", training=False)
    assert "--device cpu" in caught.value.hint


@pytest.mark.parametrize("quantize", ["none", "int8", "int4"])
def test_a_model_answers_in_the_number_format_of_the_runtime(quantize: str) -> None:
    runtime = resolve(device="cpu", dtype="bfloat16", quantize=quantize, training=False)
    model = runtime.answering(tiny_model().eval())
    assert model(torch.tensor([[3, 4, 5]])).dtype is torch.bfloat16


@NO_GPU
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_wish_for_a_missing_gpu_is_an_error(device: str) -> None:
    with pytest.raises(DeviceError, match="no CUDA device") as caught:
        resolve(device=device)
    assert "--device auto" in caught.value.hint


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a Metal device")
def test_wish_for_a_missing_metal_device_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no Metal device"):
        resolve(device="mps")


@NO_GPU
def test_auto_falls_back_to_what_is_there() -> None:
    assert resolve().device.type in {"cpu", "mps"}


def test_rank_comes_from_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    runtime = resolve(device="cpu")
    assert (runtime.rank, runtime.world_size, runtime.is_main) == (1, 4, False)


def test_alone_nothing_is_exchanged() -> None:
    runtime, tensor = Runtime(CPU), torch.ones(2)
    with runtime.distributed():
        runtime.sum_over_ranks(tensor)
        runtime.barrier()
    assert tensor.tolist() == [1, 1]
    assert [runtime.any_rank(claim) for claim in (True, False)] == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_sets_the_number_format_of_products(dtype: torch.dtype) -> None:
    layer = nn.Linear(4, 4)
    with Runtime(CPU, dtype).autocast():
        assert layer(torch.ones(1, 4)).dtype is dtype
    assert layer.weight.dtype is torch.float32


@pytest.mark.parametrize(
    ("wish", "device", "tokens", "expected"),
    [
        ("on", "cpu", 1, True),
        ("off", "cuda", 10**9, False),
        ("auto", "cpu", 10**9, False),
        ("auto", "cuda", TOKENS_WORTH_COMPILING - 1, False),
        ("auto", "cuda", TOKENS_WORTH_COMPILING, True),
    ],
)
def test_compiling_pays_on_a_gpu_in_a_long_run(
    wish: str, device: str, tokens: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch, (9, 0))
    runtime = Runtime(torch.device(device), compile=wish)  # type: ignore[arg-type] # a literal
    assert runtime.compiles(tokens) is expected


def pretend_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], *, triton: bool = True
) -> None:
    """A CUDA GPU of this compute capability, with or without Triton, as far as one asks for it."""
    find_spec = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> object:
        if name == "triton":
            return object() if triton else None
        return find_spec(name, package)

    monkeypatch.setattr("importlib.util.find_spec", found)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)


@pytest.mark.parametrize(
    ("device", "capability", "triton", "expected"),
    [
        ("cuda", (9, 0), True, True),
        ("cuda", (8, 0), True, True),
        ("cuda", (9, 0), False, False),
        ("cuda", (7, 5), True, False),
        ("cpu", (9, 0), True, False),
    ],
)
def test_kernels_run_on_gpus_that_triton_supports(
    device: str,
    capability: tuple[int, int],
    triton: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_gpu(monkeypatch, capability, triton=triton)
    assert runs_kernels(torch.device(device)) is expected
    long = Runtime(torch.device(device), compile="auto").compiles(10 * TOKENS_WORTH_COMPILING)
    assert long is expected


# Importing torch's compiler warns about torch's own use of torch.jit.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_compiled_blocks_keep_their_names_and_uncompiled_runs_as_written() -> None:
    model = tiny_model().eval()
    names, ids = list(snapshot(model)), torch.tensor([[3, 4, 5]])
    expected = model(ids)
    runtime = Runtime(CPU, compile="on")
    runtime.compile_blocks(model.transformer.blocks, dynamic=True)
    assert list(snapshot(model)) == names
    with runtime.uncompiled():
        assert torch.equal(model(ids), expected)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
)
def test_memory_guard_names_the_way_out(error: Exception) -> None:
    with (
        pytest.raises(DeviceError, match="out of memory") as caught,
        Runtime(CPU).memory_guard("lower --batch-size"),
    ):
        raise error
    assert caught.value.hint == "lower --batch-size"


def test_memory_guard_recognises_a_real_allocation_failure() -> None:
    with pytest.raises(DeviceError, match="out of memory"), Runtime(CPU).memory_guard(""):
        torch.empty(1 << 60)


def test_memory_guard_leaves_other_errors_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes"), Runtime(CPU).memory_guard(""):
        raise RuntimeError("shapes do not match")


@pytest.mark.gpu
def test_auto_takes_the_gpu() -> None:
    runtime = resolve()
    assert runtime.device.type == "cuda"
    assert str(runtime.device) in runtime.device_name
    runtime.synchronize()


@pytest.mark.gpu
def test_number_of_a_missing_gpu_is_an_error() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=f"has {count} CUDA device"):
        resolve(device=f"cuda:{count}")
