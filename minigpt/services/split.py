"""`minigpt split`: the data is cut into a training and a validation file."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from minigpt.corpus.qa import QALine
from minigpt.corpus.split import make_leak_free, split_lines
from minigpt.errors import SettingsError
from minigpt.events import Report, ignore
from minigpt.files import Status, atomic_path, check_output, same_file
from minigpt.services.read import read_data
from minigpt.settings import DataSettings, Settings


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What `split_data` made.

    Attributes:
        source: The data file.
        train: The training file.
        val: The validation file.
        train_status: Whether it was written, or already held the same.
        val_status: The same of the validation file.
        train_pairs: Number of pairs in the training file.
        val_pairs: Number of pairs in the validation file.
        moved: Number of validation pairs moved to train because their question stands there.
        skipped: Number of bad lines left out.
        seed: Seed of the shuffle.
        train_ratio: Where the shuffled lines were cut.
    """

    source: Path
    train: Path
    val: Path
    train_status: Status
    val_status: Status
    train_pairs: int
    val_pairs: int
    moved: int
    skipped: int
    seed: int
    train_ratio: float


def split_data(settings: Settings, *, force: bool = False, report: Report = ignore) -> SplitResult:
    """Shuffle and cut `[data] source`, and write `[data] train` and `val`.

    Valid lines are kept byte for byte, each ended by a newline. Both files are written or none.

    Raises:
        SettingsError: Two of the three are one file.
        DataError: The source cannot be read, has no valid pair, or too few to be cut.
        OutputError: A part cannot be written, or holds something else and `force` is not given.

    Example:
        >>> from minigpt import load_settings, split_data
        >>> result = split_data(load_settings())  # data/data.jsonl -> train.jsonl and val.jsonl
        >>> result.train_pairs, result.val_pairs, result.train_status
        (9, 1, 'unchanged')
    """
    data, split = settings.data, settings.split
    _check_distinct(data)
    file = read_data(data.source, data, report)
    train, val = split_lines(file.lines, train_ratio=split.train_ratio, seed=split.seed)
    moved = 0
    if split.leak_free:
        train, val, moved = make_leak_free(train, val, lambda line: line.pair.question)
    status = _write_all({data.train: _join(train), data.val: _join(val)}, force=force)
    return SplitResult(
        source=data.source,
        train=data.train,
        val=data.val,
        train_status=status[data.train],
        val_status=status[data.val],
        train_pairs=len(train),
        val_pairs=len(val),
        moved=moved,
        skipped=file.skipped,
        seed=split.seed,
        train_ratio=split.train_ratio,
    )


def _check_distinct(data: DataSettings) -> None:
    names = {"source": data.source, "train": data.train, "val": data.val}
    for (first, path), (second, other) in combinations(names.items(), 2):
        if same_file(path, other):
            raise SettingsError(
                f"{other}: data.{first} and data.{second} are one file",
                hint="name other files with --train-output and --val-output",
            )


def _join(lines: Sequence[QALine]) -> bytes:
    return b"".join(line.raw + b"\n" for line in lines)


def _write_all(files: Mapping[Path, bytes], *, force: bool) -> dict[Path, Status]:
    status = {path: check_output(path, data, force=force) for path, data in files.items()}
    with contextlib.ExitStack() as stack:  # no file is replaced before all are written beside it
        for path, data in files.items():
            if status[path] == "written":
                stack.enter_context(atomic_path(path)).write_bytes(data)
    return status
