import pytest
from hypothesis import given

from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer, pad
from minigpt.corpus.vocab import PAD_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID, Vocab, build_vocab
from tests.corpus.examples import few_examples, pairs, texts


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(Vocab((*SPECIAL_TOKENS, *sorted("<sep>ab你\N{GRINNING FACE}"))))


@few_examples
@given(pair=pairs)
def test_decoding_undoes_encoding_of_known_characters(pair: QAPair) -> None:
    tokenizer = Tokenizer(build_vocab([pair]))
    assert tokenizer.decode(tokenizer.encode(pair.question)) == pair.question
    assert (
        tokenizer.decode(tokenizer.encode_pair(pair.question, pair.answer))
        == f"{pair.question}<sep>{pair.answer}<sep>"
    )


@few_examples
@given(pair=pairs, text=texts)
def test_each_character_is_one_token(pair: QAPair, text: str) -> None:
    tokenizer = Tokenizer(build_vocab([pair]))
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    unknown = {char for char, index in zip(text, ids, strict=True) if index == UNK_ID}
    assert unknown == set(tokenizer.unknown(text))


@few_examples
@given(pair=pairs, text=texts)
def test_encoding_of_long_text_is_the_same(pair: QAPair, text: str) -> None:
    tokenizer = Tokenizer(build_vocab([pair]))
    mixed = pair.answer + text
    assert tokenizer.encode_long(mixed).tolist() == tokenizer.encode(mixed)


def test_text_that_looks_like_a_special_token_is_characters(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("<sep>")) == 5
    assert not {0, 1, 2} & set(tokenizer.encode("<sep>"))
    assert tokenizer.encode_long("<sep>").tolist() == tokenizer.encode("<sep>")


def test_pair_begins_with_its_prompt_and_ends_with_a_separator(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_pair("你", "ab")
    prompt = tokenizer.encode_prompt("你")
    assert prompt == [*tokenizer.encode("你"), SEP_ID]
    assert ids == [*prompt, *tokenizer.encode("ab"), SEP_ID]


def test_unknown_characters_are_named_once_in_order(tokenizer: Tokenizer) -> None:
    assert tokenizer.unknown("好a天好") == ["好", "天"]


def test_decoding_skips_pads_and_names_the_others(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode_pair("a?", "b"), PAD_ID, PAD_ID]
    assert tokenizer.decode(ids) == "a<unk><sep>b<sep>"


@pytest.mark.parametrize("index", [-1, 12])
def test_decoding_refuses_an_id_outside_the_vocabulary(tokenizer: Tokenizer, index: int) -> None:
    assert tokenizer.vocab.size == 12
    with pytest.raises(ValueError, match="is not in a vocabulary of 12 tokens"):
        tokenizer.decode([index])


def test_tutorials_example_has_18_ids_and_14_pads() -> None:
    pair = QAPair("你好，最近怎么样？", "我很好，谢谢！")
    ids = Tokenizer(build_vocab([pair])).encode_pair(pair.question, pair.answer)
    padded, mask = pad(ids, 32)
    assert padded == ids + [PAD_ID] * 14
    assert mask == [1] * 18 + [0] * 14


@pytest.mark.parametrize("max_length", [0, 1, 3, 4, 9])
def test_padded_ids_keep_the_beginning_at_one_length(max_length: int) -> None:
    padded, mask = pad([5, 6, 7], max_length)
    kept = [index for index, real in zip(padded, mask, strict=True) if real]
    assert len(padded) == len(mask) == max_length
    assert kept == [5, 6, 7][:max_length]
