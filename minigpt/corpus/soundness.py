"""Whether a file of encoded pairs is what it says: looked at in pieces, before it is mapped."""

import hashlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

HASHED = ("ids", "offsets", "prompt_lengths")  # as `TokenizedDataset.sha256` says
_AT_ONCE = 1 << 17  # pairs, or tokens
_MOST_GIVEN = 1 << 48  # pairs
_LEAST_PROMPT, _LEAST_REST = 2, 2  # a character and its separator


def is_sound(
    file: BinaryIO, content: Mapping[str, Any], *, vocab_size: int, max_length: int
) -> bool:
    """Whether the arrays fit each other, the vocabulary and their hash.

    Args:
        file: Open for reading.
        content: Its JSON object.
        vocab_size: All ids are less.
        max_length: Most tokens of a pair; 0 is any number.

    Raises:
        KeyError: The object lacks something.
        TypeError: Something in it is of another type.
        ValueError: Something in it makes no sense.
    """
    arrays = content["arrays"]
    digest = hashlib.sha256()
    for name in HASHED:
        for first in range(0, _count(arrays[name]), _AT_ONCE):
            piece = _piece(file, arrays[name], first, _AT_ONCE)
            if name == "ids" and piece.max() >= vocab_size:
                return False
            digest.update(piece.data)
    return digest.hexdigest() == content["sha256"] and _pairs_fit(
        file, content, max_length=max_length
    )


def _pairs_fit(file: BinaryIO, content: Mapping[str, Any], *, max_length: int) -> bool:
    arrays, given, unknown = content["arrays"], content["given"], content["unknown"]
    tokens, pairs = _count(arrays["ids"]), _count(arrays["kept"])
    if type(given) is not int or type(unknown) is not int or not 0 <= unknown <= tokens:
        return False
    if given > _MOST_GIVEN:
        return False
    if not pairs == _count(arrays["prompt_lengths"]) == _count(arrays["offsets"]) - 1:
        return False
    end, last_kept = _piece(file, arrays["offsets"], 0, 1)[0], -1
    if end != 0:
        return False
    for first in range(0, pairs, _AT_ONCE):
        lengths = np.diff(_piece(file, arrays["offsets"], first, _AT_ONCE + 1))
        prompts = _piece(file, arrays["prompt_lengths"], first, _AT_ONCE)
        kept = _piece(file, arrays["kept"], first, _AT_ONCE)
        if prompts.min() < _LEAST_PROMPT or (lengths - prompts).min() < _LEAST_REST:
            return False
        if (max_length and lengths.max() > max_length) or lengths.max() > tokens:
            return False
        if np.diff(kept, prepend=last_kept).min() < 1 or kept[-1] >= given:
            return False
        end, last_kept = end + int(lengths.sum()), int(kept[-1])
    return bool(end == tokens)


def _count(told: Mapping[str, Any]) -> int:
    size: int = told["bytes"]
    if type(size) is not int or type(told["start"]) is not int or size < 0 or told["start"] < 0:
        raise ValueError("a place that is none")
    return int(size // np.dtype(told["type"]).itemsize)


def _piece(file: BinaryIO, told: Mapping[str, Any], first: int, count: int) -> NDArray[Any]:
    """Some items of an array, as many as there are."""
    dtype = np.dtype(told["type"])
    count = min(count, _count(told) - first)
    file.seek(told["start"] + first * dtype.itemsize)
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ValueError("an array beyond the end of the file")
    return np.frombuffer(data, dtype)
