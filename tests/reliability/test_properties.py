"""What holds for any text, any vocabulary, any settings: and hypothesis to look for holes."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.cli.text import json_line, safe
from minigpt.corpus.qa import QAPair, read_pairs
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SPECIAL_TOKENS, Vocab, build_vocab
from minigpt.errors import CheckpointError, DataError, SettingsError, VocabError
from minigpt.layers import load_settings
from minigpt.model.checkpoint import (
    CheckpointInfo,
    load_checkpoint,
    load_training_state,
    save_checkpoint,
)
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from tests.reliability.targets import base, safetensors

FEW = settings(max_examples=60, deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
AWKWARD = [
    "👨‍👩‍👧‍👦 家",
    "e\u0301\u0323 a\u20dd",
    "\u202eעברית\u202c ‏العربية",
    "𠀀𝔘😀",
    "<sep><pad><unk>",
    "\u2028\u2029\x85\x0b\x0c.",
    "\ufeff\ufffe\uffff",
    "\x1b[2J\x07",
    "\\u0000\\",
]
PAIR = st.builds(QAPair, TEXT | st.sampled_from(AWKWARD), TEXT)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=9,
)


def read(data: bytes) -> list[QAPair]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "data.jsonl"
        path.write_bytes(data)
        return read_pairs(path)


@FEW
@given(st.lists(PAIR, min_size=1, max_size=9), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_pair_that_is_written_is_read(pairs: list[QAPair], end: str, escaped: bool) -> None:
    lines = (
        json.dumps({"question": p.question, "answer": p.answer}, ensure_ascii=escaped)
        for p in pairs
    )
    assert read("".join(line + end for line in lines).encode()) == pairs


@FEW
@given(st.lists(st.binary(max_size=60).filter(lambda b: b"\n" not in b), max_size=9))
def test_bad_lines_take_no_good_one_with_them(rows: list[bytes]) -> None:
    good = b'{"question": "a", "answer": "b"}'
    found = read(b"".join(row + b"\n" + good + b"\n" for row in [b"", *rows]))
    assert found.count(QAPair("a", "b")) >= 1 + len(rows)


@FEW
@given(JSON)
def test_any_json_is_a_pair_or_an_error(value: Any) -> None:
    for each in (value, {"question": value, "answer": value}):
        try:
            pairs = read(json.dumps(each).encode("utf-8", "surrogatepass"))
        except DataError:
            continue
        assert pairs == [QAPair(value, value)]


@FEW
@given(st.lists(PAIR, min_size=1, max_size=9))
def test_a_vocabulary_is_read_as_it_was_written_and_knows_its_text(pairs: list[QAPair]) -> None:
    vocab = build_vocab(pairs)
    assert Vocab.from_json(vocab.to_bytes()) == vocab
    tokenizer = Tokenizer(vocab)
    for pair in pairs:
        ids = tokenizer.encode_pair(pair.question, pair.answer)
        assert len(ids) == len(pair.question) + len(pair.answer) + 2
        assert tokenizer.decode(tokenizer.encode_prompt(pair.question)[:-1]) == pair.question


@FEW
@given(JSON)
def test_any_json_is_a_vocabulary_or_an_error(value: Any) -> None:
    for each in (value, {"word2id": value, "id2word": value}):
        with pytest.raises(VocabError):
            Vocab.from_json(json.dumps(each))


@FEW
@given(st.lists(st.text(max_size=2), max_size=9))
def test_any_tokens_are_a_vocabulary_or_an_error(tokens: list[str]) -> None:
    try:
        vocab = Vocab((*SPECIAL_TOKENS, *tokens))
    except ValueError:
        return
    assert Vocab.from_json(vocab.to_bytes()) == vocab


@FEW
@given(st.dictionaries(st.text(max_size=9), JSON, max_size=3), JSON)
def test_any_settings_are_read_or_refused(table: dict[str, Any], value: Any) -> None:
    for layer in ({"train": table}, {"train": {"epochs": value}}, {"data": {"vocab": value}}):
        try:
            loaded = load_settings(layer)
        except SettingsError:
            continue
        values = loaded.model_dump()
        assert type(loaded).model_validate(values).model_dump() == values


CHARACTERS = st.characters(exclude_categories=["Cs"])
INFO = st.builds(
    CheckpointInfo,
    step=st.integers(0, 2**62 - 1),
    epoch=st.integers(0, 2**62 - 1),
    max_length=st.integers(4, 32),
    val_loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    data_sha256=st.text(CHARACTERS, max_size=9),
)


@FEW
@given(st.sets(CHARACTERS, min_size=1, max_size=9), st.sampled_from([(1, 4), (2, 6)]), INFO)
def test_a_checkpoint_is_loaded_as_it_was_saved(
    characters: set[str], sizes: tuple[int, int], info: CheckpointInfo
) -> None:
    vocab = Vocab((*SPECIAL_TOKENS, *sorted(characters)))
    n_layer, n_embd = sizes
    model = GPT(
        GPTConfig(vocab_size=vocab.size, block_size=32, n_layer=n_layer, n_head=2, n_embd=n_embd)
    )
    with TemporaryDirectory() as directory:
        path = Path(directory) / "any.safetensors"
        save_checkpoint(path, model, vocab, info)
        found = load_checkpoint(path)
        assert (found.vocab, found.config, found.info) == (vocab, model.config, info)
        assert all(model.state_dict()[name].equal(each) for name, each in found.weights.items())


def load_both(content: bytes) -> list[Any]:
    """All that is taken from a checkpoint and its training state, ready to be compared."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "last.safetensors"
        path.write_bytes(content)
        found = load_checkpoint(path)
        tensors, state = load_training_state(path)
    plain = {name: each.tolist() for name, each in {**found.weights, **tensors}.items()}
    return [plain, found.vocab, found.config, found.info, state]


@FEW
@given(st.integers(0), st.integers(0, 7), st.booleans())
def test_a_checkpoint_with_a_flipped_bit_or_a_lost_end_is_refused(
    place: int, bit: int, is_cut: bool
) -> None:
    content = bytearray(base())
    place %= len(content)
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    try:
        found = load_both(bytes(content))
    except CheckpointError:
        return
    assert found == load_both(base())  # the bit stood where nothing is said


@FEW
@given(st.integers(0, 4), JSON)
def test_a_checkpoint_that_says_anything_is_loaded_or_refused(field: int, value: Any) -> None:
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    safetensors(b"\x02" + bytes([field]) + text)  # with hashes that fit


@FEW
@given(st.text())
def test_no_text_that_is_shown_steers_the_terminal(text: str) -> None:
    shown = safe(text) + json_line({"text": text, text: 1})
    shown.encode("utf-8")
    steering = {chr(code) for code in [*range(32), *range(127, 160)]}
    steering |= set("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e")
    steering |= set("\u2066\u2067\u2068\u2069")
    assert steering.isdisjoint(shown)


@FEW
@given(st.text(), JSON)
def test_json_says_what_it_was_given(text: str, value: Any) -> None:
    assert json.loads(json_line({"text": text}))["text"] == text
    json.loads(json_line({"value": value}), parse_constant=pytest.fail)
