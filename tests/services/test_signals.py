import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minigpt.errors import InterruptedRunError
from minigpt.events import Event, Validated
from minigpt.model.checkpoint import load_checkpoint
from minigpt.services.signals import stop_on_signals
from minigpt.services.train import train
from tests.services.test_resume import assert_same_run
from tests.services.tiny import Finished, layered_settings, metrics, tiny_settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

EPOCHS = 40
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_without_a_signal_nothing_asks_to_stop() -> None:
    with stop_on_signals() as stop:
        assert not stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_stop_and_is_remembered(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(number)
        assert stop()
        assert stop.signal_number == number


def test_the_first_signal_is_the_one_remembered() -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGINT


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_sigint_after_another_signal_means_at_once(first: signal.Signals) -> None:
    with stop_on_signals():
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_earlier_handlers_are_given_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(RuntimeError), stop_on_signals():
        raise RuntimeError
    assert [signal.getsignal(number) for number in numbers] == before


def test_an_ignored_signal_stays_ignored() -> None:
    """`nohup` ignores SIGHUP for its child."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_outside_the_main_thread_nothing_asks_to_stop() -> None:
    asked = []

    def work() -> None:
        with stop_on_signals() as stop:
            asked.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_finishes_the_step_and_saves(
    finished: Finished, root: Path, number: signal.Signals, code: int
) -> None:
    def report(event: Event) -> None:
        if isinstance(event, Validated):
            signal.raise_signal(number)

    with pytest.raises(InterruptedRunError) as caught:
        train(tiny_settings(root), report=report)
    assert caught.value.code == code
    assert load_checkpoint(root / "output" / "last.safetensors").info.step == 5
    train(tiny_settings(root), resume=True)
    assert_same_run(root / "output", finished.run_dir)


def test_a_second_sigint_leaves_at_once_with_the_earlier_save(
    finished: Finished, root: Path
) -> None:
    def report(event: Event) -> None:
        if isinstance(event, Validated) and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_settings(root), report=report)
    assert load_checkpoint(root / "output" / "last.safetensors").info.step == 4
    train(tiny_settings(root), resume=True)
    assert_same_run(root / "output", finished.run_dir)


def minigpt(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "minigpt", *arguments],
        cwd=root,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def prepared(root: Path, finished: Finished) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "train.jsonl", "val.jsonl"):
        (root / name).write_bytes((finished.root / name).read_bytes())
    layered_settings(root, toml={"train.epochs": EPOCHS, "train.show_samples": 0})
    return root


def wait_for_metrics(run_dir: Path) -> None:
    deadline = time.monotonic() + 60
    path = run_dir / "metrics.jsonl"
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = prepared(tmp_path_factory.mktemp("uninterrupted"), finished)
    code, _, err = finish(minigpt(root, "train"))
    assert code == 0, err
    return root / "output"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_process_is_continued_by_what_it_prints(
    finished: Finished, uninterrupted: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    root = prepared(tmp_path / "my run", finished)
    process = minigpt(root, "train")
    wait_for_metrics(root / "output")
    process.send_signal(number)
    found, out, err = finish(process)
    assert (found, out) == (code, ""), err
    assert "Traceback" not in err
    (command,) = (line for line in err.splitlines() if "minigpt train --resume" in line)
    stopped = load_checkpoint(root / "output" / "last.safetensors").info.step
    assert 4 <= stopped < EPOCHS * 4
    assert f"stopped after step {stopped} of {EPOCHS * 4}" in err

    resume = command.partition("minigpt ")[2]
    shell = subprocess.run(
        f"exec {sys.executable} -m minigpt {resume}",
        shell=True,
        cwd=root,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    assert metrics(root / "output")[-1]["epoch"] == EPOCHS
    assert shell.stdout.strip().endswith("best.safetensors")
    assert_same_run_but_for_steps(root / "output", uninterrupted)


def assert_same_run_but_for_steps(first: Path, second: Path) -> None:
    """The lines for single steps come by the clock, so they are left out."""
    for run_dir in (first, second):
        path = run_dir / "metrics.jsonl"
        lines = [line for line in path.read_text("utf-8").splitlines() if '"validation"' in line]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    assert_same_run(first, second)
