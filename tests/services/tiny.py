"""A run small enough to be trained in a second."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.events import Event
from minigpt.layers import load_settings
from minigpt.services.train_result import TrainResult
from minigpt.settings import Settings

PAIRS = [(f"{a}加{b}等于几？", f"等于{a + b}。") for a in range(1, 6) for b in range(1, 7)]
STEPS_PER_EPOCH = 4  # 27 of the 30 pairs, 8 at a time

TINY: dict[str, dict[str, Any]] = {
    "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 32, "dropout": 0.1},
    "train": {
        "epochs": 2,
        "batch_size": 8,
        "max_length": 32,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "muon_learning_rate": 0.01,
        "weight_decay": 0.02,
        "show_samples": 2,
        "tensorboard": "off",
    },
    "eval": {"max_new_tokens": 8},
    "chat": {"max_new_tokens": 8},
    "runtime": {"device": "cpu", "dtype": "float32"},
}


@dataclass(frozen=True)
class Finished:
    """A run, what it said and where everything stands."""

    root: Path
    settings: Settings
    result: TrainResult
    events: tuple[Event, ...]

    @property
    def run_dir(self) -> Path:
        return self.settings.train.run_dir

    def copy_to(self, root: Path) -> Path:
        """The same run as if it had been trained in another place, to be changed there."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        settings = root / "output" / "settings.json"
        there, here = json.dumps(str(self.root))[1:-1], json.dumps(str(root))[1:-1]
        settings.write_text(settings.read_text("utf-8").replace(there, here), "utf-8")
        return root


def tables(root: Path, changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """TINY with the files below `root`, changed at `{"train.epochs": 3}`."""
    values = {table: dict(keys) for table, keys in TINY.items()}
    names = {"source": "data.jsonl", "vocab": "vocab.json"}
    names |= {"train": "train.jsonl", "val": "val.jsonl"}
    values["data"] = {key: str(root / name) for key, name in names.items()}
    values["train"]["run_dir"] = str(root / "output")
    values["eval"]["checkpoint"] = values["chat"]["checkpoint"] = str(root / "output")
    for path, value in changes.items():
        table, key = path.split(".")
        values.setdefault(table, {})[key] = value
    return values


def tiny_settings(root: Path, **changes: Any) -> Settings:
    """Settings of a tiny run in `root`; `train__epochs=3` changes one."""
    return Settings.model_validate(
        tables(root, {name.replace("__", "."): value for name, value in changes.items()})
    )


def layered_settings(
    root: Path, *, toml: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> Settings:
    """The same as a user gives them: a file, and options such as {"train.epochs": 3}."""
    config = root / "minigpt.toml"
    lines = []
    for table, keys in tables(root, toml or {}).items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    config.write_text("\n".join(lines), "utf-8")
    overrides: dict[str, dict[str, Any]] = {}
    for path, value in (options or {}).items():
        table, key = path.split(".")
        overrides.setdefault(table, {})[key] = value
    names = {path: "--" + path.split(".")[1].replace("_", "-") for path in options or {}}
    return load_settings(overrides, config=config, option_names=names)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), "utf-8")
    return path


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]] = PAIRS) -> Path:
    return write_lines(path, ({"question": q, "answer": a} for q, a in pairs))


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what a clock has measured."""
    lines = (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if k not in {"seconds", "tokens_per_s"}} for row in rows]


def texts(events: Iterable[Event], kind: type[Any]) -> str:
    """What the events of one kind said."""
    return "\n".join(event.text for event in events if isinstance(event, kind))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def stops_after(calls: int) -> Callable[[], "StopAfter"]:
    """Stands in for `stop_on_signals`: SIGINT comes in the given step."""
    return lambda: StopAfter(calls)


class StopAfter:
    """Asks to stop at the given call."""

    signal_number = 2

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __enter__(self) -> "StopAfter":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0
