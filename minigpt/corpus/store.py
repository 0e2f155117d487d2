"""Encoded pairs as one file: arrays that can be mapped, then what they are.

ids, offsets and the rest stand one after the other as plain little-endian numbers, each from a
multiple of 64 bytes on. A JSON object follows that says where each array is, and whatever else is
to be known; then its length and a mark. Nothing in it can run, and nothing that it says is believed
before it is checked against the bytes.
"""

import hashlib
import io
import json
import mmap
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.corpus.soundness import HASHED, is_sound
from minigpt.corpus.takings import Arrays

_MARK = b"minigpt1"
_END = struct.Struct("<Q8s")  # bytes of the JSON object before it, _MARK
_ALIGNMENT = 64
_IN_MEMORY = 8 * 1024 * 1024  # bytes of each array that waits for the ids to end; more are on disk
_CHUNK = 1 << 20
_TYPES = {
    "ids": ("<u2", "<u4"),
    "offsets": ("<i8",),
    "prompt_lengths": ("<i4",),
    "kept": ("<i8",),
}


@dataclass(frozen=True)
class Stored:
    """What a file of encoded pairs holds.

    Attributes:
        dataset: The pairs; its arrays are the file's own bytes, and cannot be written.
        facts: What the writer wanted to be known.
    """

    dataset: TokenizedDataset
    facts: Mapping[str, Any]


class Writer:
    """Writes encoded pairs part by part; its memory does not grow with them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = self._unknown = self._given = self._tokens = 0
        self._arrays: dict[str, dict[str, Any]] = {}
        self._digest = hashlib.sha256()
        self._waiting = {
            name: tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - __exit__
            for name in _TYPES
            if name != "ids"
        }
        self._waiting["offsets"].write(bytes(8))  # the first one: 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._waiting.values():
            file.close()

    def add(self, arrays: Arrays) -> None:
        """Write what `Ids` took from a part."""
        ids = arrays["ids"]
        self._put("ids", ids.dtype.str, ids.data)
        new = {
            "offsets": self._tokens + arrays["pair_lengths"].cumsum(dtype=np.int64),
            "prompt_lengths": arrays["question_lengths"],
            "kept": self._given + arrays["kept"],
        }
        for name, array in new.items():
            self._waiting[name].write(array.astype(_TYPES[name][0]).tobytes())
        self._tokens += ids.size
        self._unknown += int(arrays["unknown"])
        self._given += int(arrays["given"])

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write what waits, and `facts`, which must be JSON."""
        for name, file in self._waiting.items():
            room = -self._place % _ALIGNMENT
            self._place += self._file.write(bytes(room))
            file.seek(0)
            self._put(name, _TYPES[name][0], b"")
            while data := file.read(_CHUNK):
                self._put(name, _TYPES[name][0], data)
        content = {
            "arrays": self._arrays,
            "given": self._given,
            "unknown": self._unknown,
            "sha256": self._digest.hexdigest(),
            "facts": facts,
        }
        data = json.dumps(content).encode()
        self._file.write(data + _END.pack(len(data), _MARK))

    def _put(self, name: str, kind: str, data: bytes | memoryview) -> None:
        known = self._arrays.setdefault(name, {"type": kind, "start": self._place, "bytes": 0})
        written = self._file.write(data)
        known["bytes"] += written
        self._place += written
        if name in HASHED:
            self._digest.update(data)


def bears_mark(file: BinaryIO) -> bool:
    """Whether the file ends as those written here do; so does an empty one, which holds nothing."""
    size = file.seek(0, 2)
    file.seek(max(0, size - len(_MARK)))
    return file.read() in {_MARK, b""}


def read_stored(
    file: BinaryIO, *, check: bool = True, vocab_size: int = 1 << 32, max_length: int = 0
) -> Stored | None:
    """What the file holds, mapped; None where it is damaged or of another kind.

    Args:
        file: Open for reading.
        check: Read it through to see that its content is what was written, and makes sense.
        vocab_size: All ids are less, which is checked as well.
        max_length: Most tokens of a pair; 0 is any number.
    """
    try:
        content = _read_content(file)
        if any(content["arrays"][name]["type"] not in _TYPES[name] for name in _TYPES):
            return None
        fits = {"vocab_size": vocab_size, "max_length": max_length}
        if check and not is_sound(file, content, **fits):
            return None
        stored = _map(file, content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return stored if stored.dataset.kept.size + 1 == stored.dataset.offsets.size else None


def _read_content(file: BinaryIO) -> dict[str, Any]:
    room = file.seek(0, 2) - _END.size
    file.seek(max(0, room))
    length, mark = _END.unpack(file.read().rjust(_END.size, b"\0"))
    if mark != _MARK or length > room:
        raise ValueError("not encoded pairs")
    file.seek(room - length)
    content: dict[str, Any] = json.loads(file.read(length))
    return content


def _map(file: BinaryIO, content: Mapping[str, Any]) -> Stored:
    buffer = (
        file.getvalue()
        if isinstance(file, io.BytesIO)
        else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    )
    arrays: dict[str, NDArray[Any]] = {}
    for name, told in content["arrays"].items():
        dtype = np.dtype(told["type"])
        count = told["bytes"] // dtype.itemsize
        arrays[name] = np.frombuffer(buffer, dtype, count=count, offset=told["start"])
    too_long = int(content["given"]) - arrays["kept"].size
    dataset = TokenizedDataset(**arrays, too_long=too_long)
    # cached_property looks here before it counts.
    vars(dataset).update(unknown_tokens=int(content["unknown"]), sha256=str(content["sha256"]))
    return Stored(dataset, content["facts"])
