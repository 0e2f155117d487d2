import errno
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt import files as writing
from minigpt.corpus import encoded as module
from minigpt.corpus import scan, store
from minigpt.corpus.dataset import TokenizedDataset, tokenize
from minigpt.corpus.encoded import encode_file
from minigpt.corpus.qa import QAPair, read_file
from minigpt.corpus.scan import DataFile
from minigpt.corpus.soundness import HASHED
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import SPECIAL_TOKENS, Vocab, build_vocab
from minigpt.errors import DataError
from minigpt.events import Event
from tests.corpus.examples import few_examples, files, numbered_pairs, write_pairs

VOCAB = build_vocab([QAPair(*pair) for pair in numbered_pairs(10)])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFile:
    monkeypatch.setattr(module, "KEPT_FROM", 0)
    path = write_pairs(tmp_path / "data.jsonl", numbered_pairs(40))
    make_older(path)
    return DataFile(path)


def make_older(path: Path, seconds: int = 60) -> None:
    """As if it had been written some time ago: its time is enough to know it by."""
    now = time.time_ns()
    os.utime(path, ns=(now, now - seconds * 1_000_000_000))


def contents(dataset: TokenizedDataset) -> dict[str, object]:
    return {
        "ids": dataset.ids.tolist(),
        "width": dataset.ids.dtype,
        "offsets": dataset.offsets.tolist(),
        "prompt_lengths": dataset.prompt_lengths.tolist(),
        "kept": dataset.kept.tolist(),
        "too_long": dataset.too_long,
        "unknown": dataset.unknown_tokens,
        "sha256": dataset.sha256,
    }


def kept_beside(data: DataFile) -> Path:
    return data.path.with_name("data.jsonl.cache")


@few_examples
@given(content=files(), max_length=st.integers(0, 20), known=st.text(max_size=4), data=st.data())
def test_a_file_is_encoded_as_its_pairs_are(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    max_length: int,
    known: str,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("encoded") / "data.jsonl"
    path.write_bytes(content)
    vocab = Vocab((*SPECIAL_TOKENS, *sorted(set("问ab" + known))))
    told: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "RANGE_BYTES", data.draw(st.integers(1, 200)))
        patch.setattr(module, "KEPT_FROM", data.draw(st.sampled_from([0, 10**9])))
        patch.setattr(store, "_IN_MEMORY", 10)
        try:
            file = read_file(path, report=told.append)
        except DataError as error:
            with pytest.raises(DataError, match=re.escape(str(error))):
                encode_file(DataFile(path), vocab, max_length=max_length)
            return
        expected = tokenize(file.pairs, Tokenizer(vocab), max_length=max_length)
        for _ in range(2):  # made, then kept where it is large
            again: list[Event] = []
            found = encode_file(DataFile(path), vocab, max_length=max_length, report=again.append)
            assert contents(found) == contents(expected)
            assert again == told


def test_kept_arrays_have_the_promised_types(data: DataFile) -> None:
    encode_file(data, VOCAB)
    dataset = encode_file(data, VOCAB)
    types = [dataset.ids, dataset.offsets, dataset.prompt_lengths, dataset.kept, dataset.lengths]
    assert [array.dtype for array in types] == [np.uint16, np.int64, np.int32, np.int64, np.int64]
    assert not dataset.ids.flags.writeable


def test_a_small_file_leaves_nothing_behind(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_FROM", data.path.stat().st_size + 1)
    encode_file(data, VOCAB)
    assert [path.name for path in data.path.parent.iterdir()] == ["data.jsonl"]


def encoding_is_called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    parts = scan.Scan.parts

    def counted(self: scan.Scan) -> object:
        calls.append("encoded")
        return parts(self)

    monkeypatch.setattr(scan.Scan, "parts", counted)
    return calls


def hashing_is_called(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    calls: list[Path] = []
    hashed = module._sha256

    def counted(path: Path) -> str:
        calls.append(path)
        return hashed(path)

    monkeypatch.setattr(module, "_sha256", counted)
    return calls


def test_what_is_kept_is_not_encoded_again(data: DataFile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = encoding_is_called(monkeypatch)
    for _ in range(3):
        encode_file(data, VOCAB)
    assert calls == ["encoded"]


@pytest.mark.parametrize(
    "change", ["vocabulary", "max_length", "question_key", "data", "same size", "same time"]
)
def test_it_is_encoded_anew_when_something_is_another(
    data: DataFile, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_file(data, VOCAB)
    before = data.path.stat()
    vocab, max_length = VOCAB, 0
    if change == "vocabulary":
        vocab = build_vocab([QAPair("第", "个")])
    elif change == "max_length":
        max_length = 12
    elif change == "question_key":
        data = DataFile(data.path, question_key="answer")
    elif change == "data":
        write_pairs(data.path, numbered_pairs(41))
    else:
        data.path.write_bytes(data.path.read_bytes().replace("第3个".encode(), "第4个".encode()))
        if change == "same time":  # within what the clock of a file system can tell apart
            then = before.st_mtime_ns
            os.utime(data.path, ns=(then, then))
            os.utime(kept_beside(data), ns=(then + 10**9, then + 10**9))
    calls = encoding_is_called(monkeypatch)
    found = encode_file(data, vocab, max_length=max_length)
    pairs = read_file(data.path, question_key=data.question_key).pairs
    assert contents(found) == contents(tokenize(pairs, Tokenizer(vocab), max_length=max_length))
    assert calls == ["encoded"]
    assert before.st_size == data.path.stat().st_size or change == "data"


def test_the_same_content_at_another_time_is_known(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_file(data, VOCAB)
    make_older(data.path, 3_600)
    hashed = hashing_is_called(monkeypatch)
    calls = encoding_is_called(monkeypatch)
    encode_file(data, VOCAB)
    assert hashed == [data.path]
    assert calls == []


def test_data_that_was_just_written_is_known_by_its_content_first(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_file(data, VOCAB)
    doubtful = data.path.stat().st_mtime_ns + 10**9
    os.utime(kept_beside(data), ns=(doubtful, doubtful))
    hashed = hashing_is_called(monkeypatch)
    for _ in range(3):
        encode_file(data, VOCAB)
    assert hashed == [data.path]


def test_what_is_kept_is_as_old_as_the_look_at_the_data(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    encode_file(data, VOCAB)
    assert kept_beside(data).stat().st_mtime_ns == 10**18


def test_data_of_another_size_need_not_be_compared(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_file(data, VOCAB)
    write_pairs(data.path, numbered_pairs(41))
    hashed = hashing_is_called(monkeypatch)
    encode_file(data, VOCAB)
    assert hashed == [data.path]  # while it was encoded anew


def damaged(content: bytes, kind: str) -> bytes:
    if kind == "empty":
        return b""
    if kind == "beginning lost":
        return content[64:]
    if kind == "a bit of the ids":
        return bytes([content[0] ^ 1]) + content[1:]
    if kind == "too long":
        return content[:-16] + (2**40).to_bytes(8, "little") + content[-8:]
    end = content.rindex(b'{"arrays"')
    told = json.loads(content[end:-16])
    if kind == "beyond the end":
        told["arrays"]["kept"]["bytes"] *= 1_000_000
    elif kind == "negative":
        told["arrays"]["ids"]["start"] = -64
    elif kind == "another type":
        told["arrays"]["ids"]["type"] = "<i2"
    elif kind == "no number":
        told["arrays"]["ids"]["bytes"] = "2"
    elif kind == "fewer pairs":
        told["arrays"]["kept"]["bytes"] -= 8
    elif kind == "no facts":
        del told["facts"]["source"]
    elif kind == "not an object":
        told = [1]
    data = json.dumps(told).encode()
    return content[:end] + data + len(data).to_bytes(8, "little") + content[-8:]


@pytest.mark.parametrize(
    "kind",
    [
        *("empty", "beginning lost", "a bit of the ids", "beyond the end"),
        *(
            "too long",
            "negative",
            "another type",
            "no number",
            "fewer pairs",
            "no facts",
            "not an object",
        ),
    ],
)
def test_what_is_damaged_is_built_anew(data: DataFile, kind: str) -> None:
    expected = contents(encode_file(data, VOCAB))
    whole = kept_beside(data).read_bytes()
    kept_beside(data).write_bytes(damaged(whole, kind))
    with kept_beside(data).open("rb") as file:
        found = store.read_stored(file)
        assert found is None or kind == "no facts"
    assert contents(encode_file(data, VOCAB)) == expected
    assert kept_beside(data).read_bytes() == whole


def forged(content: bytes, name: str, place: int, value: int) -> bytes:
    """The file with one number of an array changed, and a hash that fits."""
    end = content.rindex(b'{"arrays"')
    told = json.loads(content[end:-16])
    body = bytearray(content[:end])
    arrays = {
        key: np.frombuffer(
            body, each["type"], count=each["bytes"] // int(each["type"][2:]), offset=each["start"]
        )
        for key, each in told["arrays"].items()
    }
    arrays[name][place] = value
    digest = hashlib.sha256(b"".join(arrays[key].tobytes() for key in HASHED))
    text = json.dumps(told | {"sha256": digest.hexdigest()}).encode()
    return bytes(body) + text + len(text).to_bytes(8, "little") + content[-8:]


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        *(("ids", 5, 60_000), ("ids", 0, VOCAB.size)),
        *(("offsets", 0, 3), ("offsets", 5, 2**40), ("offsets", 5, -7), ("offsets", 5, 1)),
        *(("offsets", -1, 2**40), ("offsets", 1, 2**63 - 1)),
        *(("prompt_lengths", 3, -(2**31)), ("prompt_lengths", 3, 2**31 - 1)),
        *(("prompt_lengths", 3, 1), ("kept", 3, 2**40), ("kept", 3, -1), ("kept", 3, 1)),
    ],
)
def test_what_is_forged_is_built_anew(data: DataFile, name: str, place: int, value: int) -> None:
    expected = contents(encode_file(data, VOCAB))
    whole = kept_beside(data).read_bytes()
    kept_beside(data).write_bytes(forged(whole, name, place, value))
    assert contents(encode_file(data, VOCAB)) == expected
    assert kept_beside(data).read_bytes() == whole


def test_what_is_kept_for_longer_pairs_is_not_taken(data: DataFile) -> None:
    encode_file(data, VOCAB)
    with kept_beside(data).open("rb") as file:
        assert store.read_stored(file, max_length=99) is not None
        assert store.read_stored(file, max_length=5) is None
        assert store.read_stored(file, vocab_size=5) is None


@pytest.mark.parametrize(
    "change",
    [
        *({"source": {"seen": [], "sha256": ""}}, {"source": 7}, {"bad": [[1]]}, {"bad": 7}),
        *({"by_reason": {"not JSON": "x"}}, {"by_reason": []}, {"bad": [["x", "y"]]}),
    ],
)
def test_facts_that_make_no_sense_are_as_good_as_none(
    data: DataFile, change: dict[str, Any]
) -> None:
    expected = contents(encode_file(data, VOCAB))
    whole = kept_beside(data).read_bytes()
    end = whole.rindex(b'{"arrays"')
    told = json.loads(whole[end:-16])
    told["facts"] |= change
    text = json.dumps(told).encode()
    forged = whole[:end] + text + len(text).to_bytes(8, "little") + whole[-8:]
    kept_beside(data).write_bytes(forged)
    assert contents(encode_file(data, VOCAB)) == expected
    assert kept_beside(data).read_bytes() == whole


def test_a_place_that_cannot_be_written_is_no_hindrance(
    data: DataFile, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(encode_file(data, VOCAB))
    kept_beside(data).unlink()

    def full(step: writing.Step, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "before_step", full)
    with caplog.at_level("INFO", logger="minigpt"):
        found = encode_file(data, VOCAB)
    assert contents(found) == expected
    (record,) = caplog.records
    assert "are not kept for the next time" in record.getMessage()
    assert [path.name for path in data.path.parent.iterdir()] == ["data.jsonl"]


def stranger(place: Path, kind: str) -> None:
    """Makes something at the place that minigpt did not write."""
    if kind == "a directory":
        place.mkdir()
    elif kind == "a pipe":
        os.mkfifo(place)
    elif kind == "an endless device":
        place.symlink_to("/dev/zero")
    elif kind == "a link to the data":
        place.symlink_to("data.jsonl")
    elif kind == "a link to nothing":
        place.symlink_to("nothing")
    else:
        place.write_bytes(b"somebody's notes")


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
@pytest.mark.parametrize(
    "kind",
    [
        *("a directory", "a pipe", "an endless device", "a link to the data"),
        *("a link to nothing", "a file of somebody's"),
    ],
)
def test_what_is_not_minigpts_is_neither_read_nor_replaced(
    data: DataFile, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = contents(encode_file(data, VOCAB))
    kept_beside(data).unlink()
    stranger(kept_beside(data), kind)
    before = data.path.read_bytes(), kept_beside(data).lstat()
    assert contents(encode_file(data, VOCAB)) == expected
    now = kept_beside(data).lstat()
    assert (data.path.read_bytes(), now.st_ino) == (before[0], before[1].st_ino)
    assert now.st_mtime_ns == before[1].st_mtime_ns
    assert sorted(path.name for path in data.path.parent.iterdir()) == [
        "data.jsonl",
        "data.jsonl.cache",
    ]
    assert "data.jsonl.cache: not minigpt's, so it stays" in caplog.text


def test_strict_refuses_what_was_kept_without(data: DataFile) -> None:
    with data.path.open("ab") as file:
        file.write(b"{\n")
    encode_file(data, VOCAB)
    strict = DataFile(data.path, strict=True)
    for _ in range(2):
        with pytest.raises(DataError, match="1 bad line, the first is line 41: not JSON"):
            encode_file(strict, VOCAB)
        make_older(data.path)


def test_an_interrupted_encoding_leaves_no_file(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: store.Writer, facts: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.Writer, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode_file(data, VOCAB)
    assert [path.name for path in data.path.parent.iterdir()] == ["data.jsonl"]


def test_data_that_changes_while_it_is_read_is_an_error(
    data: DataFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(self: store.Writer, arrays: object) -> None:
        with data.path.open("ab") as file:
            file.write(b"\n")

    monkeypatch.setattr(store.Writer, "add", add)
    with pytest.raises(DataError, match="has changed while it was read"):
        encode_file(data, VOCAB)
    assert not kept_beside(data).exists()


@pytest.mark.parametrize(("size", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_a_large_vocabulary_takes_wider_ids(data: DataFile, size: int, dtype: type) -> None:
    characters = [chr(point) for point in range(0x10000, 0x10000 + size - 3)]
    write_pairs(data.path, [(characters[0], characters[-1])])
    for _ in range(2):
        dataset = encode_file(data, Vocab((*SPECIAL_TOKENS, *characters)))
        assert dataset.ids.dtype == dtype
        assert dataset.ids.tolist() == [3, 2, size - 1, 2]
