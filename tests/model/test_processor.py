import pytest
import torch

from minigpt.model import processor

TILES, INSTRUCTIONS = "_is_amx_tile_supported", "_is_avx512_bf16_supported"


@pytest.mark.parametrize(
    ("has", "gain", "expected"),
    [
        ({TILES, INSTRUCTIONS}, None, True),
        ({INSTRUCTIONS}, 1.7, True),
        ({INSTRUCTIONS}, 0.6, False),
        (set(), None, False),
    ],
)
def test_bfloat16_is_fast_with_tiles_or_where_it_is_seen_to_be_faster(
    has: set[str], gain: float | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed() -> float:
        assert gain is not None, "nothing to find out"
        return gain

    for probe in (TILES, INSTRUCTIONS):
        monkeypatch.setattr(torch.cpu, probe, lambda probe=probe: probe in has)
    monkeypatch.setattr(processor, "_bfloat16_gain", timed)
    assert processor.has_fast_bfloat16() is expected


def test_the_gain_is_found_once_by_multiplying(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = []
    multiply = torch.mm

    def seen(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        formats.append(first.dtype)
        return multiply(first, second)

    processor._bfloat16_gain.cache_clear()
    monkeypatch.setattr(torch, "mm", seen)
    try:
        gain = processor._bfloat16_gain()
        assert gain > 0
        assert processor._bfloat16_gain() == gain
        assert formats == [torch.float32] * processor.REPEATS + [torch.bfloat16] * processor.REPEATS
    finally:
        processor._bfloat16_gain.cache_clear()


@pytest.mark.parametrize("wanted", [True, False])
def test_one_thread_is_for_a_while(wanted: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with processor.one_thread(wanted):
            assert torch.get_num_threads() == (1 if wanted else 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
