import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.model.cache import KVCache, cache_dtype
from tests.tiny import BLOCK_SIZE, random_ids, sharpen, tiny_model

MODEL = sharpen(tiny_model())
V = MODEL.config.vocab_size


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.integers(1, 8), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_tokens_in_parts_get_the_logits_of_all_at_once(parts: list[int], seed: int) -> None:
    ids = random_ids(2, sum(parts), vocab_size=V, seed=seed)
    cache = KVCache(MODEL.config, batch_size=2, capacity=BLOCK_SIZE)
    with torch.no_grad():
        expected = MODEL(ids)
        found = torch.cat([MODEL(p, cache=cache) for p in torch.split(ids, parts, 1)], dim=1)
    torch.testing.assert_close(found, expected)
    assert cache.length == sum(parts)


def test_rows_that_are_kept_go_on_as_before() -> None:
    ids = random_ids(4, 10, vocab_size=V)
    cache = KVCache(MODEL.config, batch_size=4, capacity=10)
    rows = torch.tensor([3, 1])
    with torch.no_grad():
        MODEL(ids[:, :9], cache=cache)
        cache.keep(rows)
        found = MODEL(ids[rows, 9:], cache=cache)
        expected = MODEL(ids)[rows, 9:]
    torch.testing.assert_close(found, expected)


def test_cache_takes_two_numbers_per_layer_token_and_width() -> None:
    cache = KVCache(MODEL.config, batch_size=3, capacity=5)
    config = MODEL.config
    assert cache.capacity == 5
    assert cache.keys.numel() + cache.values.numel() == 2 * config.n_layer * 3 * 5 * config.n_embd


def test_tokens_past_the_positions_are_refused() -> None:
    cache = KVCache(MODEL.config, batch_size=1, capacity=BLOCK_SIZE + 1)
    with torch.no_grad():
        MODEL(random_ids(1, BLOCK_SIZE, vocab_size=V), cache=cache)
        with pytest.raises(ValueError, match="do not fit the block_size"):
            MODEL(random_ids(1, 1, vocab_size=V), cache=cache)


def test_cache_in_bfloat16_is_close() -> None:
    ids = random_ids(2, 12, vocab_size=V)
    cache = KVCache(MODEL.config, batch_size=2, capacity=12, dtype=torch.bfloat16)
    with torch.no_grad():
        MODEL(ids[:, :8], cache=cache)
        found = MODEL(ids[:, 8:], cache=cache)
        expected = MODEL(ids)[:, 8:]
    assert found.dtype is torch.float32
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize(
    ("dtype", "rows", "tiles", "expected"),
    [
        (torch.bfloat16, 1, True, torch.float32),
        (torch.bfloat16, 2, False, torch.float32),
        (torch.bfloat16, 2, True, torch.bfloat16),
        (torch.float32, 2, True, torch.float32),
    ],
)
def test_a_cpu_keeps_keys_in_the_format_that_it_attends_in_fastest(
    dtype: torch.dtype,
    rows: int,
    tiles: bool,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert cache_dtype(torch.zeros(1, dtype=dtype), rows=rows) is expected
