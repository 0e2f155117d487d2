"""`minigpt split`: the data is cut into a training and a validation file."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from minigpt.corpus.arrange import write_arranged
from minigpt.corpus.places import Lines, find_lines
from minigpt.corpus.shuffle import Order
from minigpt.corpus.split import make_leak_free, split_lines
from minigpt.errors import DataError, SettingsError
from minigpt.events import Report, ignore
from minigpt.files import Status, atomic_path, check_distinct, check_output, output_error, same_file
from minigpt.services.read import data_file
from minigpt.settings import Settings


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
    _check_distinct(settings)
    lines = find_lines(data_file(data.source, data), questions=split.leak_free, report=report)
    moved = 0
    try:
        train, val = split_lines(lines.starts.size, train_ratio=split.train_ratio, seed=split.seed)
        if split.leak_free:
            train, val, moved = make_leak_free(lines.questions, train, val)
    except DataError as error:
        raise DataError(f"{data.source}: {error.message}", hint=error.hint) from error
    status = _write_all(lines, {data.train: train, data.val: val}, force=force, report=report)
    return SplitResult(
        source=data.source,
        train=data.train,
        val=data.val,
        train_status=status[data.train],
        val_status=status[data.val],
        train_pairs=len(train),
        val_pairs=len(val),
        moved=moved,
        skipped=lines.skipped,
        seed=split.seed,
        train_ratio=split.train_ratio,
    )


def _check_distinct(settings: Settings) -> None:
    data = settings.data
    for part, option in {data.train: "--train-output", data.val: "--val-output"}.items():
        check_distinct(part, settings.files, what="a part", option=option)
    names = {"source": data.source, "train": data.train, "val": data.val}
    for (first, path), (second, other) in combinations(names.items(), 2):
        if same_file(path, other):
            raise SettingsError(
                f"{other}: data.{first} and data.{second} are one file",
                hint="name other files with --train-output and --val-output",
            )


def _write_all(
    lines: Lines, parts: Mapping[Path, Order], *, force: bool, report: Report
) -> dict[Path, Status]:
    for path, order in parts.items():
        if not force and _size(path) not in {None, lines.bytes_of(order)}:
            check_output(path, b"", force=False)
    with contextlib.ExitStack() as stack:  # no file is replaced before all are written beside it
        new = {path: stack.enter_context(atomic_path(path)) for path in parts}
        orders = {new[path]: order for path, order in parts.items()}
        write_arranged(lines, orders, report=report)
        status = {path: check_output(path, new[path], force=force) for path in parts}
        for path in parts:
            if status[path] == "unchanged":
                new[path].unlink()
    return status


def _size(path: Path) -> int | None:
    """Bytes of the file at `path`; None where there is none yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise output_error(path, error) from error
