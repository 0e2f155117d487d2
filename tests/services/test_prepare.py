import json
from pathlib import Path

import numpy as np
import pytest

from minigpt.corpus import encoded
from minigpt.corpus.dataset import tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SEP_ID, build_vocab, load_vocab
from minigpt.errors import DataError, VocabError
from minigpt.events import BadLine, BadLines, Event, Note, Warned
from minigpt.services.prepare import build_missing, read_training_data, target_counts
from minigpt.services.split import split_data
from minigpt.services.vocab import build_vocabulary
from tests.services.tiny import PAIRS, contents, texts, tiny_settings, write_pairs


def test_what_is_missing_is_built_as_its_own_command_builds_it(tmp_path: Path) -> None:
    built, by_hand = tmp_path / "built", tmp_path / "by hand"
    for root in (built, by_hand):
        root.mkdir()
        write_pairs(root / "data.jsonl")
    build_missing(tiny_settings(built), lambda event: None)
    build_vocabulary(tiny_settings(by_hand))
    split_data(tiny_settings(by_hand))
    assert contents(built) == contents(by_hand)


def test_what_is_there_is_left_alone_without_a_word(root: Path) -> None:
    before = contents(root)
    events: list[Event] = []
    build_missing(tiny_settings(root, split__seed=1), events.append)
    assert contents(root) == before
    assert events == []


def test_only_the_vocabulary_is_built_when_only_it_is_missing(root: Path) -> None:
    before = contents(root)
    (root / "vocab.json").unlink()
    events: list[Event] = []
    build_missing(tiny_settings(root, split__seed=1), events.append)
    assert contents(root) == before
    assert "built " in texts(events, Note)
    assert "split " not in texts(events, Note)


def test_only_the_split_is_made_when_only_it_is_missing(root: Path) -> None:
    before = contents(root)
    (root / "train.jsonl").unlink()
    (root / "val.jsonl").unlink()
    events: list[Event] = []
    build_missing(tiny_settings(root), events.append)
    assert contents(root) == before
    assert "built " not in texts(events, Note)
    assert "27 pairs in" in texts(events, Note)


@pytest.mark.parametrize(("lost", "left"), [("train", "val"), ("val", "train")])
def test_one_missing_part_of_the_split_is_an_error(root: Path, lost: str, left: str) -> None:
    (root / f"{lost}.jsonl").unlink()
    before = contents(root)
    with pytest.raises(DataError, match=rf"{lost}\.jsonl: missing, and .*{left}\.jsonl is there"):
        build_missing(tiny_settings(root), lambda event: None)
    assert contents(root) == before


@pytest.mark.parametrize("lost", [["vocab.json"], ["train.jsonl", "val.jsonl"]])
def test_without_a_source_nothing_can_be_built(root: Path, lost: list[str]) -> None:
    for name in ["data.jsonl", *lost]:
        (root / name).unlink()
    with pytest.raises(DataError, match=rf"{lost[0]}: missing, and so is .*data\.jsonl"):
        build_missing(tiny_settings(root), lambda event: None)


def test_bad_lines_of_the_source_are_told_once(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "data.jsonl")
    source.write_bytes(source.read_bytes() + b"{bad\n")
    events: list[Event] = []
    build_missing(tiny_settings(tmp_path), events.append)
    assert len([event for event in events if isinstance(event, BadLine)]) == 1
    assert len([event for event in events if isinstance(event, BadLines)]) == 1


def test_strict_builds_nothing_from_a_source_with_a_bad_line(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "data.jsonl")
    source.write_bytes(source.read_bytes() + b"{bad\n")
    with pytest.raises(DataError):
        build_missing(tiny_settings(tmp_path, data__strict=True), lambda event: None)
    assert list(contents(tmp_path)) == ["data.jsonl"]


def test_the_kept_pairs_are_those_that_were_encoded(root: Path) -> None:
    write_pairs(root / "val.jsonl", [("很" * 40, "长"), PAIRS[0], ("长", "很" * 40), PAIRS[1]])
    data = read_training_data(tiny_settings(root), lambda event: None)
    tokenizer = Tokenizer(data.vocab)
    assert data.val_set.n_pairs == 2
    for index, (question, answer) in enumerate(PAIRS[:2]):
        assert data.val_set.pair(index).tolist() == tokenizer.encode_pair(question, answer)


def test_a_large_corpus_is_encoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = read_training_data(tiny_settings(root), lambda event: None)
    monkeypatch.setattr(encoded, "KEPT_FROM", 0)
    events: list[Event] = []
    for _ in range(2):
        data = read_training_data(tiny_settings(root), events.append)
        for one, other in ((data.train_set, small.train_set), (data.val_set, small.val_set)):
            assert one.ids.tolist() == other.ids.tolist()
            assert one.sha256 == other.sha256
    assert {path.name for path in root.glob("*.cache")} == {"train.jsonl.cache", "val.jsonl.cache"}
    assert events == []


def test_a_pair_of_exactly_the_longest_length_is_kept(root: Path) -> None:
    fits, over = ("字" * 20, "字" * 10), ("字" * 20, "字" * 11)
    write_pairs(root / "val.jsonl", [fits, over])
    events: list[Event] = []
    data = read_training_data(tiny_settings(root), events.append)
    assert data.val_set.n_pairs == 1
    assert data.val_set.lengths.tolist() == [32]
    assert "1 of 2 pairs are longer than 32 tokens" in texts(events, Warned)


@pytest.mark.parametrize("name", ["train.jsonl", "val.jsonl"])
def test_data_of_which_no_pair_fits_is_an_error(root: Path, name: str) -> None:
    write_pairs(root / name, [("很" * 40, "长")])
    with pytest.raises(DataError, match="every pair is longer than 32 tokens") as caught:
        read_training_data(tiny_settings(root), lambda event: None)
    assert name in caught.value.message
    assert "--max-length" in caught.value.hint


def test_a_damaged_vocabulary_is_a_vocabulary_error(root: Path) -> None:
    (root / "vocab.json").write_text("{", "utf-8")
    with pytest.raises(VocabError):
        read_training_data(tiny_settings(root), lambda event: None)


def as_the_tutorial_writes_it(characters: str) -> str:
    tokens = ["<pad>", "<unk>", "<sep>", *sorted(set(characters))]
    word2id = {token: index for index, token in enumerate(tokens)}
    id2word = {index: token for token, index in word2id.items()}
    return json.dumps({"word2id": word2id, "id2word": id2word}, ensure_ascii=False, indent=4)


def test_the_tutorials_vocabulary_is_taken_as_it_is(root: Path) -> None:
    text = as_the_tutorial_writes_it("".join(q + a for q, a in PAIRS))
    (root / "tutorial.json").write_text(text, "utf-8")
    events: list[Event] = []
    settings = tiny_settings(root, data__vocab=root / "tutorial.json")
    data = read_training_data(settings, events.append)
    assert data.vocab.to_bytes().decode("utf-8") == text
    assert data.train_set.unknown_tokens == 0
    assert events == []


def test_unknown_characters_are_warned_of(root: Path) -> None:
    (root / "tutorial.json").write_text(as_the_tutorial_writes_it("加等于几？"), "utf-8")
    events: list[Event] = []
    settings = tiny_settings(root, data__vocab=root / "tutorial.json")
    data = read_training_data(settings, events.append)
    warned = texts(events, Warned)
    for name, dataset in (("train", data.train_set), ("val", data.val_set)):
        share = dataset.unknown_tokens / dataset.n_tokens
        assert dataset.unknown_tokens > 0
        assert f"{name}.jsonl: {share:.2%} of the tokens are <unk>" in warned


def test_the_vocabulary_that_is_loaded_is_the_one_of_the_file(root: Path) -> None:
    data = read_training_data(tiny_settings(root), lambda event: None)
    assert data.vocab == load_vocab(root / "vocab.json")


def test_targets_are_all_tokens_but_the_first_of_each_pair() -> None:
    pairs = [QAPair("ab", "a"), QAPair("b", "bb")]
    vocab = build_vocab(pairs)
    dataset = tokenize(pairs, Tokenizer(vocab))
    counts = target_counts(dataset, vocab.size)
    # ab<sep>a<sep> has the targets b <sep> a <sep>, b<sep>bb<sep> has <sep> b b <sep>
    assert counts[SEP_ID] == 4
    assert counts[vocab.ids["a"]] == 1
    assert counts[vocab.ids["b"]] == 3
    assert sum(counts) == dataset.n_tokens - dataset.n_pairs
    assert all(isinstance(count, int) for count in counts)
    assert len(counts) == vocab.size
    assert int(np.sum(dataset.ids == vocab.ids["a"])) == 2
