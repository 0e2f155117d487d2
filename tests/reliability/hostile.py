"""Files and settings that mean harm or make no sense, each with the exit code and the words due.

`python -m tests.reliability.hostile` makes them all, gives each to the command line, and prints one
JSON object: how many there were, and which were not answered as they should be.
"""

import bz2
import gzip
import json
import lzma
import os
import pickle
import shutil
import socket
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from minigpt.model.checkpoint import (
    CheckpointInfo,
    load_checkpoint,
    load_training_state,
    save_checkpoint,
)
from minigpt.model.location import BEST, LAST
from tests.reliability.faults import call, prepare

LINE = '{"question": "a?", "answer": "b"}'
GOOD = f"{LINE}\n".encode()
VOCAB = ("vocab", "hostile", "--output", "made.json")
STATS = ("stats", "data.jsonl", "--vocab", "hostile")
LOAD = ("eval", "val.jsonl", "--no-generate", "--checkpoint", "hostile")
SETTINGS = "minigpt.toml"
TOO_LONG = "n" * 300
EVAL = ("eval", "val.jsonl", "--no-generate")
RESUME = ("train", "--resume", "--epochs", "3")


@dataclass(frozen=True)
class Case:
    """Something hostile, how it is met, and how that must end.

    Attributes:
        name: What it is.
        make: Makes it in a directory that holds data and a run.
        command: What is typed.
        code: The exit code due.
        words: What stderr must say.
    """

    name: str
    make: Callable[[Path], object]
    command: tuple[str, ...]
    code: int
    words: str


class Bomb:
    """Unpickling it would make the file `pwned`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pwned"),))


def hollow(size: int, begin: bytes = b"", *, name: str = "hostile") -> Callable[[Path], object]:
    """Makes a file of that many bytes, all but the first of them NUL, that takes no disk."""

    def make(root: Path) -> None:
        (root / name).write_bytes(begin)
        os.truncate(root / name, size)

    return make


def content(data: bytes) -> Callable[[Path], object]:
    """Makes the file `hostile`."""
    return lambda root: (root / "hostile").write_bytes(data)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from data_cases()
    yield from vocabulary_cases()
    yield from checkpoint_cases()
    yield from resume_cases()
    yield from settings_cases()
    yield from place_cases()
    yield from output_cases()


def data_cases() -> Iterator[Case]:
    """Data files without one good line, and with one between bad ones."""
    alone: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "no valid pair"),
        "blank lines": (b"\n \n\t\r\n", "no valid pair"),
        "a BOM alone": (b"\xef\xbb\xbf", "no valid pair"),
        "NULs": (b"\0" * 4_096, "hostile"),
        "noise": (bytes(range(256)) * 16, "not UTF-8"),
        "UTF-16 with BOM": (LINE.encode("utf-16"), "looks like UTF-16"),
        "UTF-16LE": (LINE.encode("utf-16-le"), "looks like UTF-16LE"),
        "UTF-16BE": (LINE.encode("utf-16-be"), "looks like UTF-16BE"),
        "UTF-32": (LINE.encode("utf-32"), "looks like UTF-32"),
        "GB18030": ('{"question": "中国", "answer": "是"}'.encode("gb18030"), "GB18030"),
        "gzip": (gzip.compress(GOOD), "is compressed by gzip"),
        "bzip2": (bz2.compress(GOOD), "is compressed by bzip2"),
        "xz": (lzma.compress(GOOD), "is compressed by xz"),
        "zip": (zipped(GOOD), "is compressed by zip"),
        "tar": (tarred(GOOD), "hostile"),
        "pickle": (pickle.dumps(Bomb()), "hostile"),
        "an array": (f"[{LINE}]".encode(), "one JSON array"),
        "a number": (b"7", "not an object"),
        "a number of 10,000 digits": (b"9" * 10_000, "not an object"),
        "null": (b"null", "not an object"),
        "NaN": (b"NaN", "not an object"),
        "a string": (b'"text"', "not an object"),
        "other fields": (b'{"q": "a", "a": "b"}', "its fields are"),
        "lone CRs": (f"{LINE}\r{LINE}\r".encode(), "end in CR alone"),
        "an escape in a name": (b'{"\\u001b[2Jname": "a"}', "its fields are"),
        "nothing but a brace": (b"{", "not JSON"),
        "a comment": (b"// data\n", "not JSON"),
    }
    for name, (data, words) in alone.items():
        yield Case(f"data: {name}", content(data), VOCAB, 3, words)
    yield Case("data: one line of 200 MB", hollow(200 << 20, b'{"a": "'), VOCAB, 3, "too long")
    beside: dict[str, tuple[bytes, str]] = {
        "invalid UTF-8": (b'{"question": "\xff", "answer": "b"}', "not UTF-8"),
        "overlong UTF-8": (b'{"question": "\xc0\xaf", "answer": "b"}', "not UTF-8"),
        "a surrogate in UTF-8": (b'{"question": "\xed\xa0\x80", "answer": "b"}', "not UTF-8"),
        "a lone surrogate": (b'{"question": "\\ud800", "answer": "b"}', "lone surrogate"),
        "a NUL": (b'{"question": "a\0", "answer": "b"}', "not JSON"),
        "deep arrays": (b'{"question": ' + b"[" * 100_000, "nested too deeply"),
        "deep objects": (b'{"question": ' + b'{"a":' * 100_000, "nested too deeply"),
        "null": (b'{"question": null, "answer": "b"}', "not a string"),
        "a number": (b'{"question": 1e999999, "answer": "b"}', "not a string"),
        "many digits": (b'{"question": ' + b"9" * 10_000 + b"}", "not a string"),
        "a list": (b'{"question": ["a"], "answer": "b"}', "not a string"),
        "an object": (b'{"question": {}, "answer": "b"}', "not a string"),
        "a blank": (b'{"question": " \\u3000", "answer": "b"}', "empty"),
        "a key twice": (b'{"question": "a", "question": "c", "answer": "b"}', "a key twice"),
        "GB18030": ('{"question": "中", "answer": "b"}'.encode("gb18030"), "not UTF-8 but GB18030"),
        "no answer": (b'{"question": "a"}', "missing"),
        "cut short": (b'{"question": "a", "ans', "not JSON"),
        "two objects": (f"{LINE}{LINE}".encode(), "not JSON"),
        "a comma at the end": (b'{"question": "a", "answer": "b",}', "not JSON"),
        "single quotes": (b"{'question': 'a', 'answer': 'b'}", "not JSON"),
        "a BOM in the middle": (b" \xef\xbb\xbf" + LINE.encode(), "not JSON"),
        "a line of 2 MB": (b'{"question": "' + b"a" * 2_000_000 + b'"}', "line too long"),
    }
    for name, (line, words) in beside.items():
        data = GOOD + line + b"\n" + GOOD
        yield Case(f"a line: {name}", content(data), VOCAB, 0, words)
        yield Case(f"strict, a line: {name}", content(data), (*VOCAB, "--strict"), 3, words)


def vocabulary_cases() -> Iterator[Case]:
    """Vocabularies that are none."""

    def tables(tokens: list[Any], **changes: Any) -> bytes:
        value = {
            "word2id": {str(token): index for index, token in enumerate(tokens)},
            "id2word": {str(index): token for index, token in enumerate(tokens)},
        }
        return json.dumps(value | changes).encode()

    special = ["<pad>", "<unk>", "<sep>"]
    contents = {
        "empty": b"",
        "noise": bytes(range(256)),
        "pickle": pickle.dumps(Bomb()),
        "an array": b"[]",
        "null": b"null",
        "deep": b"[" * 100_000,
        "deep objects": b'{"a":' * 100_000,
        "many digits": b'{"word2id": ' + b"9" * 10_000 + b"}",
        "no tables": b"{}",
        "one table": b'{"word2id": {}}',
        "empty tables": b'{"word2id": {}, "id2word": {}}',
        "no special tokens": tables(["a", "b"]),
        "special tokens in another order": tables(["<unk>", "<pad>", "<sep>"]),
        "a token of two characters": tables([*special, "ab"]),
        "an empty token": tables([*special, ""]),
        "a token that is a number": tables([*special, 7]),
        "a lone surrogate": tables([*special, "\ud800"]),
        "a token twice": tables([*special, "a", "a"]),
        "an id that is missing": tables(special, id2word={"0": "<pad>", "9": "a"}),
        "an id that is negative": tables(special, id2word={"-1": "<pad>"}),
        "an id that is huge": tables(special, id2word={"9" * 10_000: "<pad>"}),
        "tables that disagree": tables([*special, "a"], word2id={"<pad>": 3}),
        "ids that are booleans": tables(special, word2id={"<pad>": False}),
        "GB18030": '{"word2id": {"中": 0}}'.encode("gb18030"),
    }
    for name, data in contents.items():
        yield Case(f"vocabulary: {name}", content(data), STATS, 4, "hostile: not a vocabulary")
    train = ("train", "--vocab", "hostile", "--force")
    yield Case("vocabulary: no character", content(tables(special)), train, 4, "no character")
    yield Case("vocabulary: a terabyte", hollow(2**40), STATS, 4, "at most")


def zipped(data: bytes) -> bytes:
    """A zip archive, as `torch.save` makes them too."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return stream.getvalue()


def tarred(data: bytes) -> bytes:
    """A tar archive with a path that climbs."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("../../pwned")
        entry.size = len(data)
        archive.addfile(entry, BytesIO(data))
    return stream.getvalue()


def saved_by_torch(*, archive: bool) -> bytes:
    stream = BytesIO()
    torch.save(Bomb(), stream, _use_new_zipfile_serialization=archive)
    return stream.getvalue()


def header(value: Any, *, data: bytes = b"", stated: int | None = None) -> bytes:
    """A safetensors file with that header."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    length = len(text) if stated is None else stated
    return length.to_bytes(8, "little") + text + data


def entry(shape: list[int], *, end: int, kind: str = "F32", start: int = 0) -> dict[str, Any]:
    return {"a": {"dtype": kind, "shape": shape, "data_offsets": [start, end]}}


def checkpoint_cases() -> Iterator[Case]:
    """Checkpoints that would run code, take memory, or are none."""
    pickles = {
        **{f"pickle of protocol {n}": pickle.dumps(Bomb(), protocol=n) for n in range(2, 6)},
        "torch.save, zip": saved_by_torch(archive=True),
        "torch.save, legacy": saved_by_torch(archive=False),
        "a pickle in a zip": zipped(pickle.dumps(Bomb())),
        "a zip in a zip": zipped(zipped(pickle.dumps(Bomb()))),
    }
    for name, data in pickles.items():
        yield Case(f"checkpoint: {name}", content(data), LOAD, 4, "looks like a pickle")
    huge = 2**40
    contents = {
        "empty": b"",
        "one byte": b"\0",
        "noise": bytes(range(256)) * 8,
        "pickle of protocol 0": pickle.dumps(Bomb(), protocol=0),
        "a pickle in a tar": tarred(pickle.dumps(Bomb())),
        "a pickle compressed": gzip.compress(pickle.dumps(Bomb())),
        "a pickle after a header": header({}, data=pickle.dumps(Bomb())),
        "a pickle as header": header(pickle.dumps(Bomb())),
        "GGUF": b"GGUF" + b"\0" * 64,
        "a header of 2^64 bytes": header({}, stated=2**64 - 1),
        "a header of a terabyte": header({}, stated=huge),
        "a header of 100 MB": header({}, stated=10**8),
        "a header of no bytes": header(b""),
        "a header that is no JSON": header(b"{"),
        "a header that is an array": header([]),
        "a header of deep arrays": header(b"[" * 100_000),
        "a header of deep objects": header(b'{"a":' * 100_000),
        "a shape of terabytes": header(entry([huge], end=4), data=b"1234"),
        "a shape that overflows": header(entry([2**32, 2**32, 2], end=4), data=b"1234"),
        "a negative shape": header(entry([-1], end=4), data=b"1234"),
        "offsets beyond the end": header(entry([huge], end=4 * huge)),
        "offsets backwards": header(entry([1], start=8, end=4), data=b"12345678"),
        "negative offsets": header(entry([1], start=-4, end=0), data=b"1234"),
        "an unknown type": header(entry([1], end=4, kind="OBJECT"), data=b"1234"),
        "a hole": header(entry([1], start=4, end=8), data=b"12345678"),
        "bytes left over": header(entry([1], end=4), data=b"1234pwned"),
        "another's file": save({"weight": torch.ones(2)}, {"format": "pt"}),
        "no metadata": save({"weight": torch.ones(2)}),
    }
    for name, data in contents.items():
        yield Case(f"checkpoint: {name}", content(data), LOAD, 4, "hostile")
    changes: dict[str, tuple[dict[str, str], str]] = {
        "a newer format": ({"format": "7"}, "checkpoint format 7, this minigpt reads 1"),
        "a format of 5,000 digits": ({"format": "9" * 5_000}, "not a minigpt checkpoint"),
        "a format that is text": ({"format": "\x1b[2J"}, "not a minigpt checkpoint"),
        "no sizes": ({"config": "{}"}, "damaged"),
        "sizes of deep arrays": ({"config": "[" * 100_000}, "damaged"),
        "a size of 30 digits": ({"config": '{"vocab_size": 1' + "0" * 30 + "}"}, "damaged"),
        "a field too many": ({"config": '{"vocab_size": 9, "path": "/etc/passwd"}'}, "damaged"),
        "an empty vocabulary": ({"vocab": "[]"}, "damaged"),
        "a vocabulary of numbers": ({"vocab": "[1, 2]"}, "damaged"),
        "a vocabulary of deep arrays": ({"vocab": "[" * 100_000}, "damaged"),
        "an escape as a token": ({"vocab": '["<pad>", "<unk>", "<sep>", "\\u001b[2J"]'}, "damaged"),
        "no origin": ({"info": "{}"}, "damaged"),
        "a hash of something else": ({"sha256": "0" * 64}, "sha256 does not match"),
        "no hash": ({"sha256": ""}, "sha256 does not match"),
    }
    for name, (metadata, words) in changes.items():
        yield Case(f"checkpoint: {name}", changed(metadata), LOAD, 4, words)
    for sizes in ({"n_layer": 1_000}, {"n_embd": 65_536, "n_head": 1}, {"block_size": 65_536}):
        yield Case(f"checkpoint: {sizes} in a small file", resized(sizes), LOAD, 4, "damaged")
    yield Case("checkpoint: a terabyte", hollow(2**40), LOAD, 4, "damaged")
    yield Case(
        "checkpoint: a terabyte of header", hollow(2**40, b"\0" * 5 + b"\1"), LOAD, 4, "damaged"
    )
    yield Case("checkpoint: cut short", cut, LOAD, 4, "damaged")
    yield Case("checkpoint: a flipped bit", flipped, LOAD, 4, "sha256 does not match")
    yield Case("checkpoint: a weight that is NaN", no_number, LOAD, 4, "not numbers")


def changed(metadata: dict[str, str]) -> Callable[[Path], object]:
    """Makes a copy of the best checkpoint with other metadata; the hashes stay."""

    def make(root: Path) -> None:
        whole = (root / "output" / BEST).read_bytes()
        end = 8 + int.from_bytes(whole[:8], "little")
        value = json.loads(whole[8:end])
        value["__metadata__"] |= metadata
        (root / "hostile").write_bytes(header(value, data=whole[end:]))

    return make


def resized(sizes: dict[str, int]) -> Callable[[Path], object]:
    """Makes a copy of the best checkpoint that says it is larger."""

    def make(root: Path) -> None:
        config = load_checkpoint(root / "output").config.model_dump() | sizes
        changed({"config": json.dumps(config)})(root)

    return make


def cut(root: Path) -> None:
    (root / "hostile").write_bytes((root / "output" / BEST).read_bytes()[:-1])


def flipped(root: Path) -> None:
    data = bytearray((root / "output" / BEST).read_bytes())
    data[-1] ^= 1
    (root / "hostile").write_bytes(data)


def no_number(root: Path) -> None:
    found = load_checkpoint(root / "output")
    model = found.build()
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = float("nan")
    save_checkpoint(root / "hostile", model, found.vocab, found.info)


def resume_cases() -> Iterator[Case]:
    """Runs that cannot be gone on with."""
    files = {
        "settings.json: noise": ("settings.json", bytes(range(256))),
        "settings.json: deep": ("settings.json", b"[" * 100_000),
        "settings.json: an array": ("settings.json", b"[]"),
        "settings.json: no settings": ("settings.json", b"{}"),
        "settings.json: many digits": ("settings.json", b'{"settings": ' + b"9" * 9_999 + b"}"),
        "last: empty": (LAST, b""),
        "last: pickle": (LAST, pickle.dumps(Bomb())),
    }
    for name, (file, data) in files.items():
        make = writing(Path("output") / file, data)
        yield Case(f"resume: {name}", make, RESUME, 4, file)
    states: dict[str, tuple[dict[str, Any], str]] = {
        "no state": ({}, "does not fit"),
        "a state of text": ({"state": {"step": "\x1b[2J"}}, "does not fit"),
        "a state of a list": ({"state": []}, "does not fit"),
        "a step below 0": ({"state": {"step": -3}}, "does not fit"),
        "a step that is true": ({"state": {"step": True}}, "does not fit"),
        "an unknown field": ({"state": {"code": "print()"}}, "does not fit"),
        "a machine of text": ({"state": {"step": 3}, "machine": "cpu"}, "does not fit"),
    }
    for name, (state, words) in states.items():
        yield Case(f"resume: {name}", restated(state), RESUME, 4, words)
    for name, change in {
        "moments of another shape": lambda tensor: tensor.reshape(1, *tensor.shape),
        "moments in another format": lambda tensor: tensor.double(),
        "moments that are NaN": lambda tensor: tensor * float("nan"),
    }.items():
        yield Case(f"resume: {name}", remoment(change), RESUME, 4, LAST)
    yield Case("resume: data that is the run", data_in_run, RESUME, 2, "replace")
    yield Case("resume: no last", without_last, RESUME, 4, "nothing to resume")
    yield Case("resume: another vocabulary", other_vocabulary, RESUME, 4, "vocabulary")
    for name, data in {
        "noise": bytes(range(256)),
        "deep": b"[" * 99_999,
        "numbers": b"7\n8\n",
        "validations of nothing": b'{"kind": "validation", "step": 1}\n' * 3,
        "a loss beyond e": json.dumps(validation(val_loss_answer=1e300)).encode() + b"\n",
        "losses of text": json.dumps(validation(train_loss="\x1b[2J")).encode() + b"\n",
    }.items():
        make = writing(Path("output") / "metrics.jsonl", data)
        yield Case(f"metrics: {name}", make, RESUME, 0, "resuming")
        yield Case(f"metrics beside a model: {name}", make, EVAL, 0, "")
    for name in ("settings.json", "metrics.jsonl"):
        make = hollow(2**40, name=f"output/{name}")
        code = 4 if name == "settings.json" else 5
        yield Case(f"{name}: a terabyte", make, RESUME, code, "at most")


def validation(**changes: Any) -> dict[str, Any]:
    """A line of metrics.jsonl, with some of it changed."""
    losses = dict.fromkeys(("train_loss", "val_loss", "val_loss_answer"), 1.5)
    accuracies = dict.fromkeys(("val_accuracy", "val_accuracy_answer"), 0.5)
    return {"kind": "validation", "epoch": 1, "step": 1, **losses, **accuracies, **changes}


def writing(path: Path, data: bytes) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(data)


def restated(state: dict[str, Any]) -> Callable[[Path], object]:
    """Makes a last checkpoint, whole and hashed, with another state."""
    return lambda root: rewrite_last(root, lambda tensor: tensor, state)


def remoment(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], object]:
    """Makes a last checkpoint, whole and hashed, with other moments."""
    return lambda root: rewrite_last(root, change, {"state": {"step": 8}})


def rewrite_last(
    root: Path, change: Callable[[torch.Tensor], torch.Tensor], state: dict[str, Any]
) -> None:
    path = root / "output" / LAST
    found, (tensors, _) = load_checkpoint(path), load_training_state(path)
    moments = {name: change(tensor) for name, tensor in tensors.items()}
    save_checkpoint(path, found.build(), found.vocab, found.info, training=moments, state=state)


def data_in_run(root: Path) -> None:
    """Makes settings of a run that would have its best checkpoint made from the source anew."""
    path = root / "output" / "settings.json"
    found = json.loads(path.read_bytes())
    found["settings"]["data"] |= {"train": f"output/{BEST}", "val": "nowhere"}
    path.write_text(json.dumps(found))
    (root / "output" / BEST).unlink()


def without_last(root: Path) -> None:
    (root / "output" / LAST).unlink()


def other_vocabulary(root: Path) -> None:
    path = root / "output" / LAST
    assert isinstance(load_checkpoint(path).info, CheckpointInfo)
    call(root, ("vocab", "data.jsonl", "--max-size", "9", "--force"))


def settings_cases() -> Iterator[Case]:
    """Settings files that are none."""
    contents: dict[str, tuple[bytes, str]] = {
        "noise": (bytes(range(128, 256)), "not valid TOML"),
        "pickle": (pickle.dumps(Bomb()), "not valid TOML"),
        "cut short": (b"[train", "not valid TOML"),
        "a key twice": (b"[train]\nseed = 1\nseed = 2", "not valid TOML"),
        "deep arrays": (b"a = " + b"[" * 100_000, "not valid TOML"),
        "deep tables": (b"[" + b".".join([b"a"] * 5_000) + b"]", "hostile"),
        "many digits": (b"[train]\nseed = " + b"9" * 10_000, "hostile"),
        "an unknown table": (b"[os]\nsystem = 'x'", "unknown table"),
        "an unknown key": (b"[train]\n__import__ = 'os'", "unknown key"),
        "an escape as a key": (b'[train]\n"\\u001b[2J" = 1', "unknown key"),
        "a table that is a number": (b"train = 7", "must be a table"),
        "NaN": (b"[train]\nlearning_rate = nan", "learning_rate"),
        "infinity": (b"[train]\nlearning_rate = inf", "learning_rate"),
        "a NUL in a path": (b'[data]\nvocab = "a\\u0000b"', "vocab"),
        "a path that is a number": (b"[data]\nvocab = 7", "vocab"),
        "a date": (b"[train]\nseed = 2026-11-24", "seed"),
    }
    command = ("vocab", "data.jsonl", "--config", "hostile")
    for name, (data, words) in contents.items():
        yield Case(f"settings: {name}", content(data), command, 2, words)
    yield Case("settings: a terabyte", hollow(2**40), command, 2, "at most")


def place_cases() -> Iterator[Case]:
    """Things that are no files, wherever one is read: refused before they are opened."""
    if os.name != "posix":
        return
    settings = ("vocab", "data.jsonl", "--config", "hostile")
    roles = {"data": (VOCAB, 3), "vocabulary": (STATS, 4), "checkpoint": (LOAD, 4)}
    roles |= {"settings": (settings, 2), "output": (("vocab", "--output", "hostile", "--force"), 5)}
    for role, (command, code) in roles.items():
        for kind, make in PLACES.items():
            if (role, kind) == ("checkpoint", "a directory"):
                continue  # is a run directory, and refused as one
            if role == "output" and kind not in {"a pipe", "a device", "a directory", "a socket"}:
                continue  # a link is written through
            yield Case(f"{role}: {kind}", make, command, code, "hostile")
    inputs = {"--vocab": 4, "--train-data": 3, "--val-data": 3, "--init-from": 4}
    outputs = {"train --run-dir": 5, "split --train-output": 5, "vocab --output": 5}
    for option, code in {
        **{f"train {key}": code for key, code in inputs.items()},
        **outputs,
    }.items():
        command = (*option.split(), TOO_LONG, "--force")
        yield Case(f"{option}: a name too long", lambda root: None, command, code, "too long")
    loop = PLACES["a link to itself"]
    for command, code in {("train", "--vocab"): 4, ("vocab", "--output"): 5}.items():
        name = f"{' '.join(command)}: a link to itself"
        yield Case(name, loop, (*command, "hostile", "--force"), code, "hostile")
    for name in ("settings.json", "metrics.jsonl", LAST):
        code = 5 if name == "metrics.jsonl" else 4
        make = piped(Path("output") / name)
        yield Case(f"{name}: a pipe", make, RESUME, code, name)


def piped(path: Path) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        (root / path).unlink()
        os.mkfifo(root / path)

    return make


def listening(root: Path) -> None:
    there = os.open(".", os.O_RDONLY)
    os.chdir(root)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("hostile")
    os.fchdir(there)
    os.close(there)


PLACES: dict[str, Callable[[Path], object]] = {
    "a directory": lambda root: (root / "hostile").mkdir(),
    "a pipe": lambda root: os.mkfifo(root / "hostile"),
    "a socket": listening,
    "a device": lambda root: (root / "hostile").symlink_to("/dev/zero"),
    "a link to itself": lambda root: (root / "hostile").symlink_to("hostile"),
    "a link to nothing": lambda root: (root / "hostile").symlink_to("nowhere"),
}


def output_cases() -> Iterator[Case]:
    """Outputs that would replace an input, also through a link."""
    data = "data.jsonl"

    def linked(to: str, name: str = "hostile") -> Callable[[Path], object]:
        return lambda root: (root / name).symlink_to(to)

    def hard(root: Path) -> None:
        (root / "hostile").hardlink_to(root / data)

    def nothing(root: Path) -> None:
        """Everything is there."""

    def pictured(root: Path) -> None:
        (root / "data.png").write_bytes((root / data).read_bytes())
        (root / "model.png").write_bytes((root / "output" / BEST).read_bytes())

    commands: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
        "the vocabulary over the data": (nothing, ("vocab", data, "--output", data)),
        "the vocabulary through a link": (linked(data), ("vocab", data, "--output", "hostile")),
        "the vocabulary through a hard link": (hard, ("vocab", data, "--output", "hostile")),
        "a part over the data": (nothing, ("split", data, "--val-output", data)),
        "a part over the other": (nothing, ("split", data, "--val-output", "train.jsonl")),
        "a part through a link": (linked(data), ("split", data, "--train-output", "hostile")),
        "a picture over the data": (pictured, ("stats", "data.png", "--plot", "data.png")),
        "a report over a checkpoint": (
            linked(f"output/{BEST}", "report.md"),
            ("eval", "val.jsonl", "--no-generate", "--report", "report.md"),
        ),
        "a report over the data": (
            linked("val.jsonl", "report.md"),
            ("eval", "val.jsonl", "--no-generate", "--report", "report.md"),
        ),
        "a picture over the checkpoint": (
            pictured,
            ("chat", "1 + 1 = ?", "--checkpoint", "model.png", "--attention", "model.png"),
        ),
        "a run over its data": (
            lambda root: (root / "output" / "metrics.jsonl").write_bytes(GOOD * 9),
            ("train", "--train-data", "output/metrics.jsonl"),
        ),
        "the vocabulary over the settings": (nothing, ("vocab", data, "--output", SETTINGS)),
        "a part over the settings": (nothing, ("split", data, "--val-output", SETTINGS)),
        "a picture over the settings": (
            linked(SETTINGS, "a.png"),
            ("stats", data, "--plot", "a.png"),
        ),
        "an attention over the settings": (
            linked(SETTINGS, "a.png"),
            ("chat", "1 + 1 = ?", "--attention", "a.png"),
        ),
        "a report over the settings": (
            linked(SETTINGS, "report.md"),
            ("eval", "val.jsonl", "--no-generate", "--report", "report.md"),
        ),
        "a run over its settings": (
            lambda root: (root / SETTINGS).rename(root / "output" / "settings.json"),
            ("train", "--config", "output/settings.json"),
        ),
        "a run over the model it starts from": (nothing, ("train", "--init-from", "output")),
        "a run over the checkpoint it starts from": (
            linked(f"output/{BEST}"),
            ("train", "--init-from", "hostile"),
        ),
        "a run over its vocabulary": (
            nothing,
            ("train", "--vocab", "output/settings.json"),
        ),
    }
    for name, (make, command) in commands.items():
        yield Case(
            f"output: {name}",
            make,
            (*command, "--force"),
            2,
            "one file" if "a part" in name and "settings" not in name else "replace",
        )


def failures(root: Path, case: Case) -> Iterator[str]:
    """What is not as it should be when the case is met in `root`."""
    case.make(root)
    code, said = call(root, case.command)
    if code != case.code:
        yield f"{case.name}: exit code {code}, expected {case.code}: {said}"
    if case.name.startswith("a line") and "hostile:2: " not in said:
        yield f"{case.name}: the line is not named"
    if case.words not in said:
        yield f"{case.name}: {case.words!r} is not in {said!r}"
    if "Traceback" in said or "bug in minigpt" in said:
        yield f"{case.name}: a traceback or a bug: {said}"
    if any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in said):
        yield f"{case.name}: control characters: {said!r}"
    if (root / "pwned").exists():
        yield f"{case.name}: ran code"


def main() -> None:
    torch.set_num_threads(1)
    wrong, count = [], 0
    with tempfile.TemporaryDirectory() as directory:
        home = prepare(Path(directory) / "home")
        for case in cases():
            scratch = Path(directory) / "scratch"
            shutil.copytree(home, scratch)
            wrong += list(failures(scratch, case))
            shutil.rmtree(scratch)
            count += 1
    sys.stdout.write(json.dumps({"inputs": count, "wrong": wrong}, indent=1) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
