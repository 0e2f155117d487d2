"""The encoded pairs of a data file; those of a large one are kept beside it for the next time.

The file beside the data, `NAME.cache`, belongs to the data's content, the vocabulary, the names of
the fields and the maximum length; when one of them is another, or the file is damaged, it is built
anew. Nothing is lost when it is deleted. A file of that name that is something else stays as it is.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.corpus.left_out import BadRow, LeftOut
from minigpt.corpus.qa import open_data
from minigpt.corpus.scan import DataFile, Scan, has_changed
from minigpt.corpus.store import Stored, Writer, bears_mark, read_stored
from minigpt.corpus.vocab import Vocab
from minigpt.errors import OutputError
from minigpt.events import Report, ignore
from minigpt.files import atomic_path

SUFFIX = ".cache"
KEPT_FROM = 16 * 1024 * 1024  # bytes of data; less is encoded in no time
_FORMAT = 1
_HASHED_AT_ONCE = 8 * 1024 * 1024  # so that two threads seldom wait for each other
_RECENT_NS = 2_000_000_000  # the clocks of file systems are no finer than this

logger = logging.getLogger(__name__)


def encode_file(
    data: DataFile, vocab: Vocab, *, max_length: int = 0, report: Report = ignore
) -> TokenizedDataset:
    """Encode the pairs of at most `max_length` tokens, or take them from the file beside the data.

    Raises:
        DataError: As `read_file` does, or the file changes while it is read.
    """
    with open_data(data.path) as file:
        is_large = os.fstat(file.fileno()).st_size >= KEPT_FROM
    encoding = _Encoding(data, vocab, max_length, report)
    stored = encoding.kept() if is_large else None
    if stored is None:
        stored = encoding.made(keep=is_large)
    return stored.dataset


class _Encoding:
    """The encoding of one file, in one way."""

    def __init__(self, data: DataFile, vocab: Vocab, max_length: int, report: Report) -> None:
        self._data = data
        self._vocab = vocab
        self._max_length = max_length
        self._report = report
        self._place = data.path.with_name(data.path.name + SUFFIX)
        way = [_FORMAT, vocab.sha256, data.question_key, data.answer_key, max_length]
        self._key = hashlib.sha256(json.dumps(way).encode()).hexdigest()

    def kept(self) -> Stored | None:
        """What is kept beside the data, if it is still that; what was left out is told again."""
        try:
            stored = self._read()
            if stored is None or not self._is_of_the_data(stored.facts["source"]):
                return None
            rows = [BadRow(int(number), b"", str(reason)) for number, reason in stored.facts["bad"]]
            by_reason = {str(key): int(count) for key, count in stored.facts["by_reason"].items()}
        except (OSError, AttributeError, LookupError, TypeError, ValueError):
            return None
        left_out = LeftOut(self._data.path, self._report)
        left_out.add(rows, by_reason)
        pairs = stored.dataset.n_pairs + stored.dataset.too_long
        left_out.finish(pairs=pairs, strict=self._data.strict, keys=self._data.keys)
        return stored

    def made(self, *, keep: bool) -> Stored:
        """Encode the file now; keep it beside the data if that can be written."""
        if not keep:
            return self._written(io.BytesIO())
        if not self._place_is_ours():
            logger.warning("%s: not minigpt's, so it stays, and nothing is kept there", self._place)
            with tempfile.TemporaryFile() as unnamed:
                return self._written(unnamed)
        try:
            with atomic_path(self._place) as temporary:
                looked_at = time.time_ns()
                with temporary.open("wb") as file:
                    self._write(file)
                os.utime(temporary, ns=(looked_at, looked_at))
            stored = self._read(check=False)
        except (OutputError, OSError) as error:
            logger.info("the encoded pairs are not kept for the next time: %s", error)
            stored = None
        if stored is not None:
            return stored
        with tempfile.TemporaryFile() as unnamed:
            return self._written(unnamed)

    def _place_is_ours(self) -> bool:
        """Whether nothing stands at the place but, perhaps, what was kept there."""
        try:
            if not stat.S_ISREG(self._place.lstat().st_mode):
                return False
            with self._place.open("rb") as file:
                return bears_mark(file)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _written(self, file: BinaryIO) -> Stored:
        self._write(file)
        stored = read_stored(file, check=False)
        assert stored is not None
        return stored

    def _read(self, *, check: bool = True) -> Stored | None:
        if not self._place_is_ours():
            return None
        with self._place.open("rb") as file:
            stored = read_stored(
                file, check=check, vocab_size=self._vocab.size, max_length=self._max_length
            )
        return stored if stored is not None and stored.facts["key"] == self._key else None

    def _is_of_the_data(self, source: Mapping[str, Any]) -> bool:
        """Whether the data is still what was encoded: by its time and size, else by its content."""
        size, changed_at, _ = now = self._data.identity()
        is_older = changed_at + _RECENT_NS < self._place.stat().st_mtime_ns
        if source["seen"] == [*now] and is_older:
            return True
        if source["seen"][0] != size:
            return False
        looked_at = time.time_ns()
        if source["sha256"] != _sha256(self._data.path):
            return False
        with contextlib.suppress(OSError):  # next time its time will do
            os.utime(self._place, ns=(looked_at, looked_at))
        return True

    def _write(self, file: BinaryIO) -> None:
        path = self._data.path
        options = {"characters": self._vocab.characters, "max_length": self._max_length}
        scan = Scan(self._data, "ids", self._report, options)
        with ThreadPoolExecutor(1) as beside, Writer(file) as writer:
            sha256 = beside.submit(_sha256, path)  # hashing leaves Python to others
            with contextlib.closing(scan.parts()) as parts:
                for arrays in parts:
                    writer.add(arrays)
            if self._data.identity() != scan.seen:
                raise has_changed(self._data)
            facts = {
                "key": self._key,
                "source": {"seen": scan.seen, "sha256": sha256.result()},
                "bad": [(row.number, row.reason) for row in scan.left_out.shown],
                "by_reason": dict(scan.left_out.by_reason),
            }
            writer.finish(facts)
        file.flush()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_HASHED_AT_ONCE):
            digest.update(data)
    return digest.hexdigest()
