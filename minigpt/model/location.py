"""Where a checkpoint is: known without loading what computes with it."""

import os
from pathlib import Path

from minigpt.errors import CheckpointError
from minigpt.files import check_input, is_there

BEST, LAST = "best.safetensors", "last.safetensors"
TRAIN_HINT = "train a model with `minigpt train`, or name a checkpoint with --checkpoint"


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint file that `path` names: itself, or a run directory's best.

    Raises:
        CheckpointError: There is none.
    """
    if os.path.isdir(path):  # unlike Path.is_dir, False for a path that cannot be looked up
        if not is_there(path / BEST):
            raise _without_best(path)
        path = path / BEST
    check_input(path, error=CheckpointError, what="the checkpoint", hint=TRAIN_HINT)
    return path


def _without_best(directory: Path) -> CheckpointError:
    last = directory / LAST
    if is_there(last):
        return CheckpointError(
            f"{directory}: no {BEST} there, the run has not been validated yet",
            hint=f"continue it with `minigpt train --resume`, or give --checkpoint {last}",
        )
    return CheckpointError(f"{directory}: no {BEST} in this directory", hint=TRAIN_HINT)
