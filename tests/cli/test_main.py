import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minigpt import __version__, errors
from minigpt.cli.main import BROKEN_PIPE
from minigpt.errors import InterruptedRunError, MiniGPTError
from tests.cli.conftest import Fake, Run

ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type)
    and issubclass(value, MiniGPTError)
    and value is not InterruptedRunError
]
PAIRS = '{"question": "你好\\u001b[2J", "answer": "[b]好[/b]"}\n' * 30


@dataclass(frozen=True)
class Result:
    path: Path
    size: int


def raising(error: BaseException) -> Any:
    def service(*_: object, **__: object) -> None:
        raise error

    return service


def program(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "minigpt", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, check=False)


def test_version_and_help(run: Run) -> None:
    assert run("--version").out == f"minigpt {__version__}\n"
    bare = run()
    assert bare.code == 0
    assert "Commands:" in bare.out
    assert bare.out == run("-h").out


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["trian"], "no such command 'trian'", "did you mean 'train'?"),
        (["train", "--epoch", "3"], "no such option: --epoch", "did you mean --epochs?"),
        (["train", "--epochs", "-1"], "--epochs: train.epochs = '-1'", "epochs: Passes"),
        (["train", "--epochs"], "option '--epochs' requires an argument", "--help"),
        (["train", "--size", "huge"], "--size: model.size = 'huge'", "size: Layers"),
        (["vocab", "a", "b"], "unexpected extra argument", "minigpt vocab --help"),
        (["--json", "train"], "--json stands after the command", "minigpt COMMAND --json"),
        (["train", "--resume", "--force"], "--resume and --force", "leave one out"),
    ],
)
def test_wrong_usage_is_told_in_two_lines(
    run: Run, arguments: list[str], message: str, hint: str
) -> None:
    done = run(*arguments)
    first, second = done.err.splitlines()
    assert done.code == 2
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_class_ends_with_its_code(
    run: Run, fake_service: Fake, error: type[MiniGPTError]
) -> None:
    fake_service("vocab", build_vocabulary=raising(error("f: what\x1b", hint="do")))
    done = run("vocab")
    assert done.code == error.exit_code
    assert done.err == "error: f: what\\x1b\nhint: do\n"
    assert done.out == ""


@pytest.mark.parametrize("error", ERRORS)
def test_errors_as_json_are_one_object(
    run: Run, fake_service: Fake, error: type[MiniGPTError]
) -> None:
    fake_service("vocab", build_vocabulary=raising(error("坏", hint="do")))
    done = run("vocab", "--json")
    expected = {"kind": error.kind, "message": "坏", "hint": "do"}
    assert json.loads(done.out) == {"schema": 1, "error": expected}
    assert done.code == error.exit_code


def test_wrong_usage_is_json_too(run: Run) -> None:
    value = json.loads(run("train", "--json", "--epoch", "3").out)
    assert value["error"]["kind"] == "settings"
    assert value["error"]["hint"] == "did you mean --epochs?"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InterruptedRunError("stopped", signal_number=2), 130),
        (InterruptedRunError("stopped", signal_number=15), 143),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 6),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (EOFError(), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_everything_else_has_a_code_and_no_traceback(
    run: Run, fake_service: Fake, error: BaseException, code: int
) -> None:
    fake_service("vocab", build_vocabulary=raising(error))
    done = run("vocab")
    assert done.code == code
    assert "Traceback" not in done.err
    assert done.err


def test_of_processes_that_are_stopped_together_one_says_so(
    run: Run, fake_service: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    fake_service("vocab", build_vocabulary=raising(InterruptedRunError("stopped")))
    done = run("vocab", "--json")
    assert (done.code, done.out, done.err) == (130, "", "")
    fake_service("vocab", build_vocabulary=raising(errors.DeviceError("cuda:1: not there")))
    assert "cuda:1: not there" in run("vocab").err  # which only this process knows


def test_debugging_shows_the_traceback(
    run: Run, fake_service: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_DEBUG", "1")
    fake_service("vocab", build_vocabulary=raising(ZeroDivisionError("x")))
    done = run("vocab")
    assert "Traceback" in done.err
    assert "ZeroDivisionError" in done.err
    assert done.code == 1


def test_results_go_to_stdout(run: Run, fake_service: Fake) -> None:
    def build(*_: object, **__: object) -> Result:
        return Result(Path("v.json"), 4825)

    fake_service("vocab", build_vocabulary=build)
    assert run("vocab").out == "path  v.json\nsize  4,825\n"
    value = json.loads(run("vocab", "--json").out)
    assert value == {"schema": 1, "path": "v.json", "size": 4825}


def test_options_reach_the_service(run: Run, fake_service: Fake) -> None:
    got: dict[str, Any] = {}

    def evaluate(settings: Any, **others: Any) -> Result:
        got.update(settings=settings, **others)
        return Result(Path("x"), 1)

    fake_service("evaluate", evaluate=evaluate)
    fails = ["--fail-under", "f1=0.5", "--fail-under", "val_loss=3"]
    done = run("eval", "exam.jsonl", "--no-generate", "--limit", "9", "--strict", *fails, "--json")
    assert done.code == 0
    assert got["file"] == Path("exam.jsonl")
    assert got["settings"].eval.fail_under == ("f1=0.5", "val_loss=3")
    assert (got["settings"].eval.generate, got["settings"].eval.limit) == (False, 9)
    assert got["settings"].data.strict is True
    assert got["settings"].origin("eval", "limit") == "--limit"


def test_train_says_on_stdout_only_where_the_best_checkpoint_is(
    run: Run, fake_service: Fake
) -> None:
    @dataclass(frozen=True)
    class Trained:
        run_dir: Path
        best: Path
        steps: int

    def train(*_: object, **__: object) -> Trained:
        return Trained(Path("output"), Path("output/best.safetensors"), 90)

    fake_service("train", train=train)
    done = run("train")
    assert done.out == f"{Path('output/best.safetensors')}\n"
    assert "steps" in done.err
    assert "minigpt eval" in done.err
    assert run("train", "-q").err == ""
    assert json.loads(run("train", "--json").out)["steps"] == 90


def test_verbose_names_where_settings_come_from(run: Run, fake_service: Fake) -> None:
    fake_service("vocab", build_vocabulary=lambda *_, **__: Result(Path("v"), 1))
    Path("minigpt.toml").write_text("[train]\nepochs = 3\n", encoding="utf-8")
    done = run("vocab", "-v", "--min-count", "2")
    assert "note: train.epochs = 3 (minigpt.toml)" in done.err
    assert "note: vocab.min_count = 2 (--min-count)" in done.err
    assert run("vocab").err == ""


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "ascii", "utf-8"])
def test_no_console_is_too_poor(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "d.jsonl").write_text(PAIRS, encoding="utf-8")
    done = program("vocab", "d.jsonl", "--output", "v.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    poor = {"PYTHONIOENCODING": encoding}
    done = program("stats", "d.jsonl", "--vocab", "v.json", "--show", "1", cwd=tmp_path, **poor)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert "[b]" in done.stdout.decode(encoding)
    command = ("stats", "d.jsonl", "--vocab", "v.json", "--show", "1", "--json")
    done = program(*command, cwd=tmp_path, **poor)
    assert json.loads(done.stdout.decode("utf-8"))["shown"][0]["question"] == "你好\x1b[2J"


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals as POSIX has them")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "d.jsonl").write_text(PAIRS, encoding="utf-8")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "minigpt", "vocab", "d.jsonl", "--output", "v", *options]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk as Linux has it")
def test_a_full_stdout_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(PAIRS, encoding="utf-8")
    command = [sys.executable, "-m", "minigpt", "vocab", "d.jsonl", "--output", "v"]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 5
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


WAITING = """
import sys, time, types
import minigpt.services
module = types.ModuleType("minigpt.services.vocab")
def build_vocabulary(*_, **__):
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    time.sleep(30)
module.build_vocabulary = build_vocabulary
sys.modules[module.__name__] = module
from minigpt.cli.main import main
sys.exit(main(["vocab"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_with_the_shells_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        started = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (code, b"note: stopped\n")
    assert time.monotonic() - started < 5


STOPPED_EARLY = """
import os, signal, sys
class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == "minigpt.cli.options":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, AtImport())
from minigpt.__main__ import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_the_program_is_loaded_ends_it_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_EARLY],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


HOLDER = """
import lock
def in_a_cycle_with_its_module(): ...
"""
LOCK = """
import os
class Lock:
    def __del__(self):
        os.getpid()
lock = Lock()
"""
WITH_A_LOCK = """
import sys, types
import minigpt.cli.main
def run():
    sys.modules["torch._inductor"] = types.ModuleType("torch._inductor")
    import holder
    return 0
minigpt.cli.main.main = run
from minigpt.__main__ import main
main()
"""


def test_what_the_compiler_leaves_behind_says_nothing_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "lock.py").write_text(LOCK)
    (tmp_path / "holder.py").write_text(HOLDER)
    here = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_LOCK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": here},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
