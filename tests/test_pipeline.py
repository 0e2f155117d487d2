"""The whole way of a user, through the real program: every run here is a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.services.tiny import PAIRS, contents, metrics, write_pairs

QUESTION = PAIRS[0][0]
TINY = (
    *("--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "32"),
    *("--max-length", "32", "--batch-size", "8", "--learning-rate", "0.01"),
    *("--epochs", "2", "--device", "cpu", "--dtype", "float32", "--tensorboard", "off"),
)
pytestmark = pytest.mark.slow
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Done:
    """What a process left behind, its streams as bytes."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        assert self.stdout.count(b"\n") == 1
        value: dict[str, Any] = json.loads(self.stdout)
        assert value["schema"] == 1
        return value

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8")

    @property
    def err(self) -> str:
        return self.stderr.decode("utf-8")


def minigpt(root: Path, *arguments: str, stdin: bytes = b"", **variables: str) -> Done:
    """Run `python -m minigpt …` in `root`, as from a pipe."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MINIGPT_", "PYTHON"))}
    plain = {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-m", "minigpt", *arguments],
        cwd=root,
        env={**kept, **plain, **variables},
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def with_data(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    write_pairs(root / "data" / "data.jsonl")
    return root


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    """All six commands in order, as JSON. Not to be changed."""
    root = with_data(tmp_path_factory.mktemp("pipeline") / "项目")
    commands = {
        "vocab": ("vocab",),
        "split": ("split",),
        "stats": ("stats", "--show", "1"),
        "train": ("train", *TINY),
        "eval": ("eval", "data/data.jsonl", "--report", "report.json", "--max-new-tokens", "8"),
        "chat": ("chat", QUESTION, "--seed", "1", "--max-new-tokens", "8"),
    }
    return root, {name: minigpt(root, *line, "--json") for name, line in commands.items()}


@pytest.fixture(scope="module")
def root(walked: tuple[Path, dict[str, Done]]) -> Path:
    return walked[0]


@pytest.fixture(scope="module")
def told(walked: tuple[Path, dict[str, Done]]) -> dict[str, Done]:
    return walked[1]


@pytest.mark.parametrize("command", ["vocab", "split", "stats", "train", "eval", "chat"])
def test_every_command_ends_well_with_one_json_object(told: dict[str, Done], command: str) -> None:
    done = told[command]
    assert done.code == 0, done.err
    assert "error" not in done.json
    assert TRACEBACK not in done.err
    assert "\r" not in done.err
    assert "\x1b" not in done.err


def test_each_command_works_on_what_the_one_before_made(root: Path, told: dict[str, Done]) -> None:
    vocab, split, stats = (told[name].json for name in ("vocab", "split", "stats"))
    train, evaluation, chat = (told[name].json for name in ("train", "eval", "chat"))
    words = json.loads((root / vocab["path"]).read_text("utf-8"))["word2id"]
    assert vocab["size"] == len(words)
    assert split["train_pairs"] + split["val_pairs"] == len(PAIRS)
    assert stats["path"] == split["train"]
    assert stats["vocab_size"] == vocab["size"]
    assert train["steps"] == 2 * -(-split["train_pairs"] // 8)
    assert (root / train["best"]).is_file()
    assert evaluation["checkpoint"] == train["best"]
    assert evaluation["pairs"] == len(PAIRS)
    assert chat["question"] == QUESTION
    assert chat["unknown"] == []


def test_the_run_directory_holds_what_was_promised(root: Path) -> None:
    names = {path.name for path in (root / "output").iterdir()}
    assert names >= {"settings.json", "metrics.jsonl", "best.safetensors", "last.safetensors"}
    facts = json.loads((root / "output" / "settings.json").read_text("utf-8"))
    assert facts["origins"]["train"]["epochs"] == "--epochs"
    assert facts["origins"]["train"]["seed"] == "default"


def test_the_report_says_what_stdout_said(root: Path, told: dict[str, Done]) -> None:
    report = json.loads((root / "report.json").read_text("utf-8"))
    assert report["metrics"] == told["eval"].json["metrics"]


def test_training_alone_builds_what_it_needs_and_prints_only_the_best(
    root: Path, tmp_path: Path
) -> None:
    alone = with_data(tmp_path / "alone")
    done = minigpt(alone, "train", *TINY)
    assert (done.code, done.out) == (0, os.path.join("output", "best.safetensors") + "\n")
    assert "built data/vocab.json" in done.err
    assert "split data/data.jsonl: 27 pairs" in done.err
    made, expected = contents(alone / "data"), contents(root / "data")
    assert made == expected
    assert metrics(alone / "output") == metrics(root / "output")


def test_text_holds_the_result_and_nothing_else(root: Path, told: dict[str, Done]) -> None:
    wanted = ("--seed", "1", "--max-new-tokens", "8", "--quiet")
    answered = minigpt(root, "chat", QUESTION, *wanted)
    assert (answered.code, answered.err) == (0, "")
    assert answered.out == told["chat"].json["answer"] + "\n"
    measured = minigpt(root, "eval", "data/data.jsonl", "--max-new-tokens", "8", "--quiet")
    assert (measured.code, measured.err) == (0, "")
    assert f"{len(PAIRS)} pairs of data/data.jsonl" in measured.out
    assert f"{told['eval'].json['metrics']['loss_answer']:.3f}" in measured.out


def test_colour_is_there_only_when_it_is_wanted(root: Path) -> None:
    assert "\x1b" in minigpt(root, "vocab", "nowhere", FORCE_COLOR="1").err
    assert "\x1b" not in minigpt(root, "vocab", "nowhere", FORCE_COLOR="1", NO_COLOR="1").err


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_no_console_is_too_small_for_the_output(tmp_path: Path, encoding: str) -> None:
    root = with_data(tmp_path / "root")
    write_pairs(root / "data" / "data.jsonl", [*PAIRS, ("😀é?", "𠀀 \x1b[31m\u202e红")])
    for command in (("vocab",), ("split",), ("stats", "--show", "40")):
        done = minigpt(root, *command, PYTHONIOENCODING=encoding, NO_COLOR="1")
        assert done.code == 0, done.stderr
        text = (done.stdout + done.stderr).decode(encoding)
        assert "\x1b" not in text
        assert TRACEBACK not in text
    done = minigpt(root, "stats", "--json", "--show", "40", PYTHONIOENCODING=encoding)
    assert "等于" in done.stdout.decode("utf-8")
    assert done.json["shown"]


def test_a_gbk_console_talks_with_the_model(root: Path, told: dict[str, Done]) -> None:
    asked = minigpt(
        root,
        *("chat", "--seed", "1", "--max-new-tokens", "8"),
        stdin=QUESTION.encode("gbk") + b"\n",
        PYTHONIOENCODING="gbk",
    )
    assert asked.code == 0, asked.stderr
    assert asked.stdout.decode("gbk") == told["chat"].json["answer"] + "\n"


def test_a_file_of_questions_becomes_a_file_of_answers(root: Path) -> None:
    questions = [QUESTION, "", "x" * 99, QUESTION]
    stdin = "\n".join(questions).encode()
    done = minigpt(root, "chat", "--temperature", "0", stdin=stdin)
    assert done.code == 0, done.err
    answers = done.out.removesuffix("\n").split("\n")
    assert len(answers) == len(questions)
    assert answers[0] == answers[3]
    assert answers[1] == answers[2] == ""
    as_json = minigpt(root, "chat", "--temperature", "0", "--json", stdin=stdin).json["answers"]
    assert [answer["answer"] for answer in as_json] == answers
    assert as_json[2]["stop_reason"] == "too long"


def test_a_run_goes_on_with_more_epochs(root: Path, tmp_path: Path) -> None:
    for name, content in contents(root).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    refused = minigpt(tmp_path, "train", *TINY)
    assert refused.code == 5
    assert "already holds a run" in refused.err
    done = minigpt(tmp_path, "train", "--resume", "--epochs", "3", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    assert (done.json["epochs"], done.json["steps"]) == (3, 12)
    changed = minigpt(tmp_path, "train", "--resume", "--n-layer", "2")
    assert changed.code == 2
    assert "--n-layer" in changed.err


def no_question(root: Path) -> tuple[str, ...]:
    return ("chat", " ")


def unknown_option(root: Path) -> tuple[str, ...]:
    return ("vocab", "--learning-rate", "1")


def out_of_bounds(root: Path) -> tuple[str, ...]:
    return ("split", "--train-ratio", "1.5")


def unknown_key(root: Path) -> tuple[str, ...]:
    (root / "minigpt.toml").write_text("[train]\nepoch = 1\n", "utf-8")
    return ("vocab",)


def missing_data(root: Path) -> tuple[str, ...]:
    return ("vocab", "nowhere.jsonl")


def too_few_to_split(root: Path) -> tuple[str, ...]:
    write_pairs(root / "data" / "data.jsonl", PAIRS[:1])
    return ("split",)


def strict_and_a_bad_line(root: Path) -> tuple[str, ...]:
    with (root / "data" / "data.jsonl").open("a", encoding="utf-8") as file:
        file.write("{bad\n")
    return ("vocab", "--strict")


def damaged_vocabulary(root: Path) -> tuple[str, ...]:
    (root / "data" / "vocab.json").write_text("{", "utf-8")
    return ("stats", "data/data.jsonl")


def other_vocabulary(root: Path) -> tuple[str, ...]:
    (root / "data" / "vocab.json").write_text("{}", "utf-8")
    return ("vocab",)


def nothing_to_resume(root: Path) -> tuple[str, ...]:
    return ("train", "--resume")


def damaged_checkpoint(root: Path) -> tuple[str, ...]:
    (root / "model.safetensors").write_bytes(b"\xff" * 100)
    return ("eval", "data/data.jsonl", "--checkpoint", "model.safetensors")


def device_that_is_not_there(root: Path) -> tuple[str, ...]:
    return ("train", *TINY, "--device", "cuda:99")


def divergence(root: Path) -> tuple[str, ...]:
    return ("train", *TINY, "--learning-rate", "1e30")


Failure = Callable[[Path], tuple[str, ...]]
FAILURES: list[tuple[Failure, int, str]] = [
    (unknown_option, 2, "settings"),
    (no_question, 2, "settings"),
    (out_of_bounds, 2, "settings"),
    (unknown_key, 2, "settings"),
    (missing_data, 3, "data"),
    (too_few_to_split, 3, "data"),
    (strict_and_a_bad_line, 3, "data"),
    (damaged_vocabulary, 4, "vocab"),
    (nothing_to_resume, 4, "checkpoint"),
    (damaged_checkpoint, 4, "checkpoint"),
    (other_vocabulary, 5, "output"),
    (device_that_is_not_there, 6, "device"),
    (divergence, 7, "diverged"),
]


@pytest.mark.parametrize(
    ("failure", "code", "kind"), FAILURES, ids=[failure.__name__ for failure, _, _ in FAILURES]
)
def test_every_error_has_its_exit_code_its_kind_and_its_hint(
    tmp_path: Path, failure: Failure, code: int, kind: str
) -> None:
    root = with_data(tmp_path / "root")
    done = minigpt(root, *failure(root), "--json")
    assert (done.code, done.json["error"]["kind"]) == (code, kind)
    assert done.json["error"]["message"]
    assert done.json["error"]["hint"]
    assert f"error: {done.json['error']['message']}" in done.err
    assert f"hint: {done.json['error']['hint']}" in done.err
    assert TRACEBACK not in done.err


def test_a_missed_threshold_has_its_exit_code_and_still_its_figures(root: Path) -> None:
    done = minigpt(root, "eval", "--no-generate", "--fail-under", "loss_all=0.001", "--json")
    assert done.code == 8
    assert done.json["metrics"]["loss_all"] > 0.001
    assert done.json["error"]["kind"] == "threshold"
    assert f"error: {done.json['error']['message']}" in done.err
    assert "error: loss_all is" in done.err


def test_a_debugger_gets_the_traceback(tmp_path: Path) -> None:
    assert TRACEBACK in minigpt(tmp_path, "vocab", MINIGPT_DEBUG="1").err


def test_the_environment_wins_over_the_file_and_an_option_over_both(tmp_path: Path) -> None:
    root = with_data(tmp_path / "root")
    (root / "minigpt.toml").write_text('[data]\nvocab = "file.json"\n', "utf-8")
    assert minigpt(root, "vocab", "--json").json["path"] == "file.json"
    variable = "variable.json"
    told = minigpt(root, "vocab", "--json", MINIGPT_DATA__VOCAB=variable)
    assert told.json["path"] == "variable.json"
    option = ("vocab", "--output", "option.json", "--json")
    assert minigpt(root, *option, MINIGPT_DATA__VOCAB=variable).json["path"] == "option.json"


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    root = with_data(tmp_path / "root")
    first = [minigpt(root, name, "--json").json for name in ("vocab", "split")]
    before = contents(root)
    second = [minigpt(root, name, "--json").json for name in ("vocab", "split")]
    assert contents(root) == before
    assert (first[0]["status"], second[0]["status"]) == ("written", "unchanged")
    assert (first[1]["val_status"], second[1]["val_status"]) == ("written", "unchanged")
