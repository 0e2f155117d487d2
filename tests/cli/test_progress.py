import dataclasses
import io
from pathlib import Path

import pytest

from minigpt.cli.console import Console
from minigpt.cli.progress import SECONDS_BETWEEN_LINES
from minigpt.events import (
    BadLine,
    BadLines,
    Event,
    Note,
    Progress,
    SampleAnswer,
    Saved,
    StepDone,
    TrainingStarted,
    Validated,
    Warned,
)

SAMPLE = SampleAnswer("你好", "\x1b[2J[red]好[/red]", "好")
STEP = StepDone(1, 15, 50, 11_250, 3.2, 9.8e-4, 41_000.0, 0.1, 0.25, 3725.0)
EVENTS: list[Event] = [
    Note("a note"),
    Warned("odd", "do this"),
    BadLine(Path("d.jsonl"), 12, "not JSON"),
    BadLines(Path("d.jsonl"), 3, {"not JSON": 3}),
    Progress("tokenizing", 3, 10, "pairs"),
    TrainingStarted(46_403_328, "cpu", "float32", 9, 1, 100, 30, 3, 0),
    STEP,
    Validated(1, 15, 750, 3.1, 3.0, 2.8, True, 12.0, (SAMPLE,)),
    Saved(Path("output/last.safetensors")),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def stderr_after(
    events: list[Event], monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **options: bool
) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    console = Console(**options)
    for event in events:
        console.report(event)
    console.close()
    return stream.getvalue()


def test_without_a_terminal_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    written = stderr_after(EVENTS, monkeypatch, io.StringIO())
    assert "\r" not in written
    assert "\x1b" not in written
    assert "warning: d.jsonl:12: not JSON\n" in written
    assert "warning: odd\nhint: do this\n" in written
    assert "46,403,328" in written


def test_without_a_terminal_steps_are_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    stderr_after([STEP] * 50, monkeypatch, stream)
    assert stream.getvalue().count("loss 3.2") == 1
    now[0] += SECONDS_BETWEEN_LINES
    stderr_after([STEP], monkeypatch, stream)
    assert stream.getvalue().count("loss 3.2") == 2


def test_the_first_step_tells_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataclasses.replace(STEP, step=1, seconds_left=None)
    written = stderr_after([first], monkeypatch, io.StringIO())
    assert written == "epoch 1/15  1/11,250  loss 3.200 lr 9.8e-04\n"


def test_without_a_terminal_a_short_task_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    console = Console()
    for done in range(3):
        console.report(Progress("validate", done, 9, "batches"))
    assert stream.getvalue() == ""
    now[0] += SECONDS_BETWEEN_LINES
    console.report(Progress("validate", 3, 9, "batches"))
    assert stream.getvalue() == "validate  3/9  batches  0.6/s, 10 s left\n"


def test_rate_and_time_left_are_those_since_the_task_was_first_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    console = Console()
    for task, total in (("read a", 2_000), ("arrange", 0)):
        console.report(Progress(task, 100, total, "MB"))
        now[0] += 10.0
        console.report(Progress(task, 1_100, total, "MB"))
    assert stream.getvalue().splitlines() == [
        "read a  1,100/2,000  MB  100/s, 9.0 s left",
        "arrange  1,100  MB  100/s",
    ]


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    written = stderr_after(EVENTS, monkeypatch, Terminal())
    assert "\r" not in written
    assert "\x1b" not in written


def test_a_terminal_gets_a_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    written = stderr_after([STEP], monkeypatch, Terminal())
    assert "loss 3.200" in written
    assert "\x1b[2K" in written  # erased at the end


def test_a_narrow_terminal_gets_whole_details(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    line = stderr_after([STEP], monkeypatch, Terminal())
    assert "…" not in line
    assert "epoch 1/15 " in line
    assert "50/11250 loss 3.200 1 h 02 min left lr 9.8e-04 41.0k tok/s" in line
    assert "padding" not in line
    monkeypatch.setenv("COLUMNS", "120")
    assert "10% padding 25% of peak" in stderr_after([STEP], monkeypatch, Terminal())


@pytest.mark.parametrize(
    ("rate", "told"), [(41_000.0, "41.0k tok/s"), (999.6, "1.0k tok/s"), (694.4, "694 tok/s")]
)
def test_the_rate_is_told_on_a_slow_machine_too(
    rate: float, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert told in stderr_after(
        [dataclasses.replace(STEP, tokens_per_s=rate)], monkeypatch, Terminal()
    )


def test_a_long_sample_is_folded_under_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    samples = (SampleAnswer("你好吗？", "很好", ""), SampleAnswer("你是谁？", "我" * 20, ""))
    written = stderr_after([Validated(1, 1, 1, 1, 1, 1, True, 1, samples)], monkeypatch, Terminal())
    assert written.splitlines()[-4:] == [
        "  你好吗？  很好",
        "  你是谁？",
        "    " + "我" * 13,
        "    " + "我" * 7,
    ]


def test_no_color_colours_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    written = stderr_after([Warned("odd")], monkeypatch, Terminal())
    assert written == "warning: odd\n"


def test_force_color_colours_a_pipe_but_never_draws_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    written = stderr_after([STEP, Warned("odd")], monkeypatch, io.StringIO())
    assert "\x1b[33mwarning:\x1b[0m" in written
    assert "\r" not in written
    assert "\x1b[2K" not in written


def test_quiet_keeps_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = stderr_after(EVENTS, monkeypatch, io.StringIO(), quiet=True)
    kinds = [line.partition(":")[0] for line in written.splitlines()]
    assert kinds == ["warning", "hint", "warning", "warning"]


def test_verbose_tells_each_save(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "last.safetensors" not in stderr_after(EVENTS, monkeypatch, io.StringIO())
    assert "last.safetensors" in stderr_after(EVENTS, monkeypatch, io.StringIO(), verbose=True)


def test_an_answer_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = stderr_after(EVENTS, monkeypatch, io.StringIO())
    assert "\\x1b[2J[red]好[/red]" in written


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert stderr_after(EVENTS, monkeypatch, io.StringIO()) == ""


def test_work_goes_on_when_the_reader_of_stderr_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stderr_after(EVENTS, monkeypatch, Gone())
