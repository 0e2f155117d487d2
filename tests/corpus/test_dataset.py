import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus import dataset as module
from minigpt.corpus.dataset import TokenizedDataset, tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SPECIAL_TOKENS, UNK_ID, Vocab, build_vocab
from tests.corpus.examples import few_examples, pairs

PAIRS = [QAPair("你好吗？", "好。"), QAPair("a", "b"), QAPair("天气怎么样", "今天天气很好")]


def rows(dataset: TokenizedDataset) -> list[list[int]]:
    return [dataset.pair(index).tolist() for index in range(dataset.n_pairs)]


@few_examples
@given(given=st.lists(pairs, max_size=6), max_length=st.integers(0, 20), data=st.data())
def test_each_kept_pair_is_encoded_as_alone(
    given: list[QAPair], max_length: int, data: st.DataObject
) -> None:
    known = data.draw(st.lists(st.sampled_from(given), max_size=3)) if given else []
    tokenizer = Tokenizer(build_vocab(known))
    expected = [tokenizer.encode_pair(pair.question, pair.answer) for pair in given]
    fits = [index for index, ids in enumerate(expected) if not max_length or len(ids) <= max_length]

    dataset = tokenize(given, tokenizer, max_length=max_length)

    assert rows(dataset) == [expected[index] for index in fits]
    assert dataset.kept.tolist() == fits
    assert dataset.too_long == len(given) - len(fits)
    assert dataset.prompt_lengths.tolist() == [len(given[i].question) + 1 for i in fits]
    assert dataset.lengths.tolist() == [len(expected[i]) for i in fits]
    assert dataset.n_tokens == sum(len(expected[i]) for i in fits)
    assert dataset.unknown_tokens == sum(expected[i].count(UNK_ID) for i in fits)


def test_arrays_have_the_promised_types() -> None:
    dataset = tokenize(PAIRS, Tokenizer(build_vocab(PAIRS)))
    types = [dataset.ids, dataset.offsets, dataset.prompt_lengths, dataset.kept, dataset.lengths]
    assert [array.dtype for array in types] == [np.uint16, np.int64, np.int32, np.int64, np.int64]
    assert dataset.offsets[0] == 0
    assert dataset.offsets[-1] == dataset.n_tokens


@pytest.mark.parametrize(("size", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_large_vocabulary_takes_wider_ids(size: int, dtype: type[np.unsignedinteger]) -> None:
    characters = [chr(point) for point in range(0x10000, 0x10000 + size - 3)]
    pair = QAPair(characters[0], characters[-1])
    dataset = tokenize([pair], Tokenizer(Vocab((*SPECIAL_TOKENS, *characters))))
    assert dataset.ids.dtype == dtype
    assert dataset.ids.tolist() == [3, 2, size - 1, 2]


def test_no_pair_within_the_length_gives_an_empty_dataset() -> None:
    dataset = tokenize(PAIRS, Tokenizer(build_vocab(PAIRS)), max_length=3)
    assert (dataset.n_pairs, dataset.n_tokens, dataset.too_long) == (0, 0, 3)
    assert dataset.offsets.tolist() == [0]


def test_hash_follows_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(build_vocab(PAIRS))
    whole = tokenize(PAIRS, tokenizer).sha256
    assert whole == tokenize(list(PAIRS), tokenizer).sha256
    monkeypatch.setattr(module, "_CHUNK", 5)  # ids, of 29
    assert whole == tokenize(PAIRS, tokenizer).sha256
    assert whole != tokenize(PAIRS[::-1], tokenizer).sha256
    assert whole != tokenize(PAIRS, tokenizer, max_length=8).sha256
