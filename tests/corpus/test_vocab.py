import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import (
    PAD,
    PAD_ID,
    SEP,
    SEP_ID,
    SPECIAL_TOKENS,
    UNK,
    UNK_ID,
    Vocab,
    build_vocab,
    load_vocab,
)
from minigpt.errors import SettingsError, VocabError
from tests.corpus.examples import few_examples, pairs

PAIRS = [QAPair("天气好吗？", "天气很好！"), QAPair("a<sep>", "\N{GRINNING FACE}b")]


@few_examples
@given(given=st.lists(pairs, min_size=1, max_size=5))
def test_ids_are_special_tokens_then_characters_in_code_point_order(given: list[QAPair]) -> None:
    text = "".join(pair.question + pair.answer for pair in given)
    expected = ["<pad>", "<unk>", "<sep>", *sorted(set(text))]
    assert build_vocab(given).ids == {token: index for index, token in enumerate(expected)}


def test_special_ids_are_those_of_the_tokens() -> None:
    vocab = build_vocab(PAIRS)
    assert [vocab.ids[token] for token in (PAD, UNK, SEP)] == [PAD_ID, UNK_ID, SEP_ID] == [0, 1, 2]


@few_examples
@given(given=st.lists(pairs, min_size=1, max_size=5))
def test_saved_vocabulary_is_loaded_back(given: list[QAPair]) -> None:
    vocab = build_vocab(given)
    loaded = Vocab.from_json(vocab.to_bytes())
    assert loaded == vocab
    assert loaded.sha256 == vocab.sha256
    assert Vocab.from_json(vocab.to_bytes().decode()) == vocab


def test_file_has_the_tutorials_form(tmp_path: Path) -> None:
    vocab = build_vocab(PAIRS)
    path = tmp_path / "plain.json"
    word2id = {token: index for index, token in enumerate(vocab.tokens)}
    id2word = {index: token for token, index in word2id.items()}
    with path.open("w", encoding="utf-8") as file:
        json.dump({"word2id": word2id, "id2word": id2word}, file, ensure_ascii=False, indent=4)
    assert path.read_bytes() == vocab.to_bytes()
    assert load_vocab(path) == vocab


def test_rare_characters_are_left_out() -> None:
    vocab = build_vocab([QAPair("aab", "ccc")], min_count=2)
    assert vocab.tokens == (*SPECIAL_TOKENS, "a", "c")


def test_largest_size_keeps_the_most_frequent_characters() -> None:
    vocab = build_vocab([QAPair("zzzab", "bcc")], max_size=5)
    assert vocab.tokens == (*SPECIAL_TOKENS, "b", "z")


def test_largest_size_above_the_number_of_characters_keeps_all() -> None:
    assert build_vocab(PAIRS, max_size=1000) == build_vocab(PAIRS)


def test_count_that_no_character_reaches_is_refused() -> None:
    with pytest.raises(SettingsError, match="no character occurs that often"):
        build_vocab([QAPair("a", "b")], min_count=2)


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        ("<unk>", "<pad>", "<sep>"),
        (*SPECIAL_TOKENS, "ab"),
        (*SPECIAL_TOKENS, ""),
        (*SPECIAL_TOKENS, "\ud800"),
        (*SPECIAL_TOKENS, "a", "a"),
        (*SPECIAL_TOKENS, "<sep>"),
    ],
)
def test_tokens_that_are_no_vocabulary_are_refused(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="token"):
        Vocab(tokens)


def tables() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(build_vocab([QAPair("ab", "c")]).to_bytes())
    return loaded


def damaged(**changes: Any) -> bytes:
    return json.dumps(tables() | changes).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 10_000,
        b"{}",
        damaged(word2id=None),
        damaged(id2word=["<pad>", "<unk>", "<sep>"]),
        damaged(word2id={}, id2word={}),
        damaged(id2word=tables()["id2word"] | {"9": "d"}),
        damaged(id2word=tables()["id2word"] | {"3": "d"}),
        damaged(id2word=tables()["id2word"] | {"3": 7}),
        damaged(id2word={key: token for key, token in tables()["id2word"].items() if key != "1"}),
        damaged(word2id=tables()["word2id"] | {"d": 6}),
        damaged(word2id=tables()["word2id"] | {"a": 4}),
        damaged(word2id=tables()["word2id"] | {"a": 3.0}),
        damaged(word2id=tables()["word2id"] | {"<unk>": True}),
        damaged(
            word2id={"<unk>": 0, "<pad>": 1, "<sep>": 2},
            id2word={"0": "<unk>", "1": "<pad>", "2": "<sep>"},
        ),
        damaged(word2id=tables()["word2id"] | {"de": 6}, id2word=tables()["id2word"] | {"6": "de"}),
    ],
)
def test_damaged_vocabulary_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "vocab.json"
    path.write_bytes(data)
    with pytest.raises(VocabError, match=r"vocab\.json: not a vocabulary") as caught:
        load_vocab(path)
    assert "minigpt vocab" in caught.value.hint


@few_examples
@given(data=st.binary(max_size=60))
def test_no_bytes_crash_the_loader(data: bytes) -> None:
    with pytest.raises(VocabError):
        Vocab.from_json(data)


def test_missing_vocabulary_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(VocabError) as caught:
        load_vocab(tmp_path / "vocab.json")
    assert "minigpt vocab" in caught.value.hint
