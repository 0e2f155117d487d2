import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from minigpt.corpus.hashing import hash_parts
from tests.corpus.examples import few_examples, texts


def hashes(parts: list[str]) -> list[int]:
    text = "".join(part + "\n" for part in parts)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lengths = np.array([len(part) + 1 for part in parts], dtype=np.int64)
    found: list[int] = hash_parts(points, lengths).tolist()
    return found


@example(parts=["", "\0", "\0\0", "ab", "ba", "a", "b"])
@example(parts=["一二", "二一", "一" * 70_000, "一" * 70_001, "\N{GRINNING FACE}"])
@few_examples
@given(parts=st.lists(texts, min_size=1))
def test_a_hash_is_that_of_the_text_alone(parts: list[str]) -> None:
    together = hashes(parts)
    assert together == [hashes([part])[0] for part in parts]
    assert together[::-1] == hashes(parts[::-1])
    assert len(set(together)) == len(set(parts))


def test_hashes_of_many_like_texts_spread_over_all_bits() -> None:
    found = np.array(hashes([f"第{number}个" for number in range(20_000)]), dtype=np.uint64)
    for bit in range(64):
        share = ((found >> np.uint64(bit)) & np.uint64(1)).mean()
        assert 0.47 < share < 0.53
