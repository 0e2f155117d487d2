import pytest

from tests.reliability import targets
from tests.reliability.fuzz import fuzz, mutations


@pytest.mark.parametrize(
    ("target", "executions"), [("jsonl", 3_000), ("checkpoint", 400), ("vocabulary", 2_000)]
)
def test_no_bytes_bring_a_reader_down(target: str, executions: int) -> None:
    counts = fuzz(target, executions=executions, seed=9)
    assert sum(counts.values()) == executions
    assert counts["accepted"] > 0
    assert counts["refused"] > 0


def test_the_small_checkpoint_that_is_changed_is_one() -> None:
    target_base = targets.base()
    assert targets.safetensors(b"\0" + target_base)
    assert not targets.safetensors(b"\0" + target_base[:-1])


def test_the_same_seed_gives_the_same_row() -> None:
    first, second = (mutations([b"abc", b"{}"], seed=4) for _ in range(2))
    rows = [next(first) for _ in range(50)]
    assert rows == [next(second) for _ in range(50)]
    assert len(set(rows)) > 20
