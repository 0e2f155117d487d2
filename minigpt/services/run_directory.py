"""A run directory: settings, metrics, checkpoints and pictures of one training run."""

import contextlib
import importlib.util
import json
import logging
import os
import platform
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import safetensors
import torch

import minigpt
from minigpt.errors import CheckpointError, OutputError, SettingsError
from minigpt.files import (
    append_line,
    atomic_path,
    check_distinct,
    check_input,
    lock,
    make_directory,
    output_error,
    remove_unfinished,
)
from minigpt.model.location import BEST, LAST
from minigpt.model.runtime import Runtime
from minigpt.settings import Settings

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

logger = logging.getLogger(__name__)

SETTINGS, METRICS, CURVE, EVENTS = "settings.json", "metrics.jsonl", "loss.png", "tensorboard"
OWN = (SETTINGS, METRICS, CURVE, EVENTS)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)

_COUNTS = ("epoch", "step")
_LOSSES = ("train_loss", "val_loss", "val_loss_answer")
_ACCURACIES = ("val_accuracy", "val_accuracy_answer")
NUMBERS = {"step": (*_COUNTS, "loss"), "validation": (*_COUNTS, *_LOSSES, *_ACCURACIES)}
"""What a line of metrics.jsonl says at least, by its kind."""
MOST_SETTINGS, MOST_METRICS = 1 << 24, 1 << 30  # bytes


class RunDirectory:
    """The files of one run; only one process at a time has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: SummaryWriter | None = None
        self._excepthook = threading.excepthook

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / LAST

    def holds_a_run(self) -> bool:
        """Whether there is a checkpoint in it that could be lost."""
        return self._has(BEST) or self._has(LAST)

    def _has(self, name: str) -> bool:
        try:
            (self.path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise output_error(self.path, error) from error
        return True

    def check(self, *, resume: bool, force: bool) -> None:
        """Refuse a start that would lose an earlier run, or has nothing to go on from.

        Raises:
            OutputError: It holds a run, or files of something else under the names of a run's,
                and neither `resume` nor `force` is given.
            CheckpointError: There is nothing to resume.
        """
        if resume and not self._has(LAST):
            raise CheckpointError(
                f"{self.path}: nothing to resume, there is no {LAST}",
                hint="start anew with --force; its best.safetensors can be used as it is"
                if self._has(BEST)
                else "start a run with `minigpt train`, or name its directory with --run-dir",
            )
        continues = "--resume continues it, " if self._has(LAST) else ""
        if self.holds_a_run() and not resume and not force:
            raise OutputError(
                f"{self.path}: already holds a run",
                hint=f"{continues}--force replaces it, --run-dir DIR starts another",
            )
        others = self._files_of_others()
        if others and not resume and not force:
            raise OutputError(
                f"{self.path}: holds {', '.join(others)}, not from a run",
                hint="--run-dir DIR names another directory, --force replaces what is in the way",
            )

    def check_apart_from(self, inputs: Iterable[Path]) -> None:
        """Refuse a run that would write over, or remove, what it is made from.

        Raises:
            SettingsError: One of the inputs stands where a file of the run does.
        """
        inputs = [*inputs]
        below = [parent for path in inputs for parent in path.parents]
        for name in (BEST, LAST, *OWN):
            within = below if name == EVENTS else []
            check_distinct(self.path / name, inputs + within, what="the run", option="--run-dir")

    def _files_of_others(self) -> list[str]:
        """What stands where a run's files would, in a directory that was not a run's."""
        with contextlib.suppress(CheckpointError):
            self.read_settings()
            return []
        return [name for name in OWN if self._has(name)]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the lock ends with the process, however that ends.

        Raises:
            OutputError: The directory cannot be made, or is in use.
        """
        try:
            make_directory(self.path)
        except OSError as error:
            raise output_error(self.path, error) from error
        if os.name != "posix":  # Windows has no advisory lock on a directory
            yield
            return
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise output_error(self.path, error) from error
        try:
            if not self._lock(descriptor):
                raise OutputError(
                    f"{self.path}: in use by another training run",
                    hint="wait for it, or name another directory with --run-dir",
                )
            for name in (BEST, LAST, SETTINGS, METRICS, CURVE):
                remove_unfinished(self.path / name)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> bool:
        try:
            return lock(descriptor)
        except OSError:  # some network file systems have no locks
            logger.warning("%s: cannot be locked; start no second run in it", self.path)
            return True

    def clear(self) -> None:
        """Remove what an earlier run left, and nothing else."""
        try:
            for name in (LAST, BEST, SETTINGS, METRICS, CURVE):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path / EVENTS, ignore_errors=True)
        except OSError as error:
            raise output_error(self.path, error) from error

    def write_settings(self, settings: Settings, facts: dict[str, Any]) -> None:
        """Keep what ran: every setting, where its value came from, and `facts` about the run."""
        tables: dict[str, Any] = settings.model_dump(mode="json")
        origins = {
            table: {key: settings.origin(table, key) for key in keys}
            for table, keys in tables.items()
        }
        content = {"schema": 1, "settings": tables, "origins": origins, **facts}
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        with atomic_path(self.path / SETTINGS) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read_settings(self) -> Settings:
        """The settings that the run was started with.

        Raises:
            CheckpointError: They cannot be read.
        """
        path = self.path / SETTINGS
        check_input(path, error=CheckpointError, what="the run's settings", most=MOST_SETTINGS)
        try:
            content = json.loads(path.read_bytes())
            settings = Settings.model_validate(content["settings"])
            for table, origins in content["origins"].items():
                settings._origins |= {f"{table}.{key}": origin for key, origin in origins.items()}
        except (*_UNREADABLE, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{path}: the run's settings cannot be read: {reason}",
                hint="start anew with --force; the checkpoints can still be used for eval and chat",
            ) from error
        return settings

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_line(self.path / METRICS, json.dumps(values))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl; what else stands there is passed over.

        Raises:
            OutputError: It is no file, or cannot be read.
        """
        path = self.path / METRICS
        if not self._has(METRICS):
            return []
        check_input(path, error=OutputError, what="the run's metrics", most=MOST_METRICS)
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise output_error(path, error) from error
        rows = []
        for line in lines:
            with contextlib.suppress(*_UNREADABLE):  # a kill can cut the last line
                row = json.loads(line)
                counts = all(type(row[name]) is int for name in _COUNTS)
                if counts and all(_is_number(row[name]) for name in NUMBERS[row["kind"]]):
                    rows.append(row)
        return rows

    def cut_metrics(self, step: int) -> None:
        """Forget what was recorded after `step`: a resumed run records it again."""
        kept = [row for row in self.read_metrics() if row["step"] <= step]
        with atomic_path(self.path / METRICS) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")

    def open_tensorboard(self, wish: str, *, step: int) -> None:
        """Write TensorBoard events as well, if wished and possible.

        Raises:
            SettingsError: It is wished for and the extra is not installed.
            OutputError: Its directory cannot be made.
        """
        if wish == "off":
            return
        if importlib.util.find_spec("tensorboard") is None:
            if wish == "on":
                raise SettingsError(
                    "TensorBoard is not installed", hint='pip install "minigpt[tensorboard]"'
                )
            return
        from torch.utils.tensorboard import SummaryWriter

        directory = str(self.path / EVENTS)
        threading.excepthook = self._unless_tensorboards
        try:
            self._writer = SummaryWriter(directory, purge_step=step + 1 if step else None)
        except OSError as error:
            raise output_error(self.path / EVENTS, error) from error

    def _unless_tensorboards(self, failed: threading.ExceptHookArgs) -> None:
        """Keep quiet about what its thread met: whoever writes the next event is told."""
        if not type(failed.thread).__module__.startswith("tensorboard."):
            self._excepthook(failed)

    def add_scalars(self, values: dict[str, float], *, step: int) -> None:
        """Show these values in TensorBoard, if it is open."""
        if self._writer is None:
            return
        try:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()
        except OSError as error:
            reason = error.strerror or str(error)
            logger.warning("%s: no more events for TensorBoard: %s", self.path / EVENTS, reason)
            self.close()

    def close(self) -> None:
        """Close TensorBoard's file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # its thread failed, and says so once more
                writer.close()
            threading.excepthook = self._excepthook


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**62)


def machine(runtime: Runtime) -> dict[str, Any]:
    """What has to be the same for a resumed run to be bit-identical."""
    return {
        "device": runtime.device.type,
        "dtype": runtime.dtype_name,
        "threads": torch.get_num_threads(),
        "processes": runtime.world_size,
        "torch": str(torch.__version__),
    }


def versions() -> dict[str, str]:
    """The versions of what computes."""
    return {
        "minigpt": minigpt.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
    }
