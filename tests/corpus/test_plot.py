import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from minigpt.corpus.plot import _draw, draw_histogram
from minigpt.corpus.qa import QAPair
from minigpt.corpus.scan import DataFile
from minigpt.corpus.stats import Bin, TokenStats, token_stats
from minigpt.corpus.vocab import build_vocab
from minigpt.errors import SettingsError
from tests.corpus.examples import write_pairs

LENGTHS = [("问" * length, "答" * length) for length in range(1, 60)]


def measured(interval: int = 20, max_length: int = 80) -> TokenStats:
    with TemporaryDirectory() as folder:
        path = write_pairs(Path(folder, "data.jsonl"), LENGTHS)
        vocab = build_vocab([QAPair(*pair) for pair in LENGTHS])
        return token_stats(DataFile(path), vocab, interval=interval, max_length=max_length)[0]


@pytest.mark.parametrize(
    ("file_format", "beginning"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_same_statistics_give_the_same_picture(file_format: str, beginning: bytes) -> None:
    pytest.importorskip("matplotlib")
    picture = draw_histogram(measured(), file_format=file_format)
    assert picture.startswith(beginning)
    assert picture == draw_histogram(measured(), file_format=file_format)
    assert picture != draw_histogram(measured(interval=30), file_format=file_format)


@pytest.mark.parametrize(("interval", "max_length"), [(1, 512), (20, 4), (500, 20), (20, 118)])
def test_any_histogram_of_few_bars_can_be_drawn(interval: int, max_length: int) -> None:
    pytest.importorskip("matplotlib")
    assert draw_histogram(measured(interval, max_length), file_format="svg")


@pytest.mark.parametrize(("interval", "max_length"), [(5, 512), (20, 80), (20, 30)])
def test_the_95_percent_line_runs_through_no_text(interval: int, max_length: int) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, measured(interval, max_length))
    figure.draw_without_rendering()
    legend = axes.get_legend().get_window_extent()
    assert axes.get_window_extent().y1 <= legend.y0
    assert legend.y1 <= axes.title.get_window_extent().y0
    (line,) = axes.lines
    for count in axes.texts:  # on a ground of its own, which hides the line
        assert count.get_zorder() > line.get_zorder()
        assert count.get_bbox_patch() is not None


def test_too_many_bars_are_refused_with_the_option_to_change() -> None:
    stats = replace(measured(), histogram=tuple(Bin(i, i, 1) for i in range(1000)))
    with pytest.raises(SettingsError, match="1,000 bars") as caught:
        draw_histogram(stats, file_format="png")
    assert "--interval" in caught.value.hint


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SettingsError) as caught:
        draw_histogram(measured(), file_format="png")
    assert caught.value.hint == 'pip install "minigpt[plot]"'
