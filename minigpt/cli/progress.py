"""How far a command is: a line drawn over on a terminal, else a plain line now and then."""

import time
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console as RichConsole
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from minigpt.cli.process import is_animated
from minigpt.cli.render import INDENT
from minigpt.cli.text import counted, duration, safe
from minigpt.events import Event, Progress, SampleAnswer, StepDone, TrainingStarted, Validated

SECONDS_BETWEEN_LINES = 5.0
MEASURABLE_S = 0.5
NARROWEST_BAR = 4  # cells


class ProgressLine:
    """Shows the events that say how far a task is."""

    def __init__(self, console: RichConsole) -> None:
        self._console = console
        self._animated = is_animated(console.file)
        self._bar: RichProgress | None = None
        self._task = TaskID(0)
        self._title = ""
        self._next_line = 0.0
        self._first = (0.0, 0)  # when the task was first told of, and how far it was then

    def update(self, event: Event) -> None:
        """Show one event."""
        match event:
            case TrainingStarted():
                self._print(_started(event))
            case StepDone():
                title = f"epoch {event.epoch}/{event.epochs}"
                self._advance(title, event.step, event.steps, *_step(event))
            case Progress():
                now = time.monotonic()
                if event.task != self._title:  # a short task needs no line at all
                    self._next_line = now + SECONDS_BETWEEN_LINES
                    self._first = (now, event.done)
                detail = _pace(event, since=now - self._first[0], done=event.done - self._first[1])
                self._advance(event.task, event.done, event.total, detail)
            case Validated():
                self._print(_validated(event))
                for sample in event.samples:
                    for line in _sample(sample, self._console.width if self._animated else None):
                        self._print(line)

    def stop(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=not self._animated)

    def _advance(self, title: str, done: int, total: int, *details: str) -> None:
        """Show how far it is, and details, of which a narrow terminal gets the first."""
        self._title = title
        title, shown = safe(title), [safe(detail) for detail in details]
        if self._animated:
            self._draw(title, done, total, shown)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            of_total = f"/{total:,}" if total else ""
            self._print(Text(f"{title}  {done:,}{of_total}  {' '.join(shown)}".rstrip()))

    def _draw(self, title: str, done: int, total: int, details: Sequence[str]) -> None:
        if self._bar is None:
            self._bar = _new_bar(self._console)
            self._task = self._bar.add_task("", fraction="", detail="")
            self._bar.start()
        fraction = f"{done}/{total}" if total else f"{done}"
        taken = cell_len(title) + NARROWEST_BAR + cell_len(fraction) + 3  # and between the columns
        self._bar.update(
            self._task,
            description=title,
            completed=done,
            total=total or None,
            fraction=fraction,
            detail=_fitting(details, self._console.width - taken),
        )
        if total and done >= total:
            self.stop()


def _new_bar(console: RichConsole) -> RichProgress:
    def column(template: str) -> TextColumn:
        return TextColumn(template, markup=False, table_column=Column(no_wrap=True))

    return RichProgress(
        column("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=NARROWEST_BAR)),
        column("{task.fields[fraction]}"),
        column("{task.fields[detail]}"),
        console=console,
        expand=True,
        transient=True,
        refresh_per_second=5,
    )


def _fitting(details: Sequence[str], room: int) -> str:
    """As many details, from the first on, as stand whole in so many cells."""
    texts = [" ".join(details[:count]) for count in range(len(details) + 1)]
    return max((text for text in texts if cell_len(text) <= room), key=len, default="")


def _pace(event: Progress, *, since: float, done: int) -> str:
    """The unit; its rate and the time left once they can be told."""
    if since < MEASURABLE_S or done <= 0:
        return event.unit
    rate = done / since
    told = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    left = f", {duration((event.total - event.done) / rate)} left" if event.total else ""
    return f"{event.unit}  {told}/s{left}".lstrip()


def _started(event: TrainingStarted) -> Text:
    resumed = f" from step {event.first_step:,}" if event.first_step else ""
    return Text(
        f"training {event.parameters:,} parameters on {safe(event.device)} in {event.dtype}: "
        f"{event.train_pairs:,} pairs ({event.val_pairs:,} to validate), "
        f"{counted(event.epochs, 'epoch')}, {counted(event.steps, 'step')}{resumed}"
    )


def _step(event: StepDone) -> tuple[str, ...]:
    if event.seconds_left is None:  # what the first step waited for is not the pace
        return f"loss {event.loss:.3f}", f"lr {event.learning_rate:.1e}"
    tokens = round(event.tokens_per_s)
    rate = f"{tokens / 1000:.1f}k" if tokens >= 1000 else f"{tokens}"
    return (
        f"loss {event.loss:.3f}",
        f"{duration(event.seconds_left)} left",
        f"lr {event.learning_rate:.1e}",
        f"{rate} tok/s",
        f"{event.padding:.0%} padding",
        f"{event.utilization:.0%} of peak",
    )


def _validated(event: Validated) -> Text:
    line = Text(
        f"epoch {event.epoch}/{event.epochs}  step {event.step:,}  "
        f"train loss {event.train_loss:.4f}  val loss {event.val_loss:.4f} "
        f"(answers {event.val_loss_answer:.4f})"
    )
    return line.append("  best", style="bold green") if event.is_best else line


def _sample(sample: SampleAnswer, width: int | None) -> Iterator[Text]:
    """Question and answer on one line; the answer below, folded, where they do not fit it."""
    question = Text.assemble(INDENT, (safe(sample.question), "cyan"))
    answer = safe(sample.answer) if sample.answer else "(nothing)"
    if width is None or question.cell_len + cell_len(INDENT + answer) <= width:
        yield question.append(INDENT + answer)
        return
    yield question
    for part in chop_cells(answer, max(2, width - len(2 * INDENT))):
        yield Text(2 * INDENT + part)
