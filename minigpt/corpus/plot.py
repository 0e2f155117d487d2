"""The picture of a histogram; needs the extra `plot`."""

import io
from typing import TYPE_CHECKING

from minigpt.corpus.stats import Bin, TokenStats
from minigpt.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 400
_LABELLED_BARS = 40  # more labels than these would overlap
# Without these the same numbers would give another file each time.
_UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def draw_histogram(stats: TokenStats, *, file_format: str) -> bytes:
    """The histogram as a picture, the same bytes for the same statistics.

    Args:
        stats: Its `histogram` is drawn, the count on each bar, a dashed line at its 95 % length.
        file_format: "png", "svg" or "pdf".

    Raises:
        SettingsError: Matplotlib is not installed, or there are too many bars.
    """
    bins = stats.histogram
    if len(bins) > MAX_BARS:
        raise SettingsError(
            f"stats.interval makes {len(bins):,} bars, at most {MAX_BARS} can be drawn",
            hint="give a larger --interval, or a smaller --max-length",
        )
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError(
            "drawing needs matplotlib, which is not installed",
            hint='pip install "minigpt[plot]"',
        ) from error
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "minigpt"}):
        figure = Figure(figsize=(min(18.0, 4 + 0.5 * len(bins)), 5), layout="constrained")
        _draw(figure.add_subplot(), stats)
        figure.savefig(picture, format=file_format, dpi=120, metadata=_UNDATED[file_format])
    return picture.getvalue()


def _draw(axes: "Axes", stats: TokenStats) -> None:
    bins = stats.histogram
    bars = axes.bar(range(len(bins)), [item.count for item in bins], width=0.9, color="#4c72b0")
    step = -(-len(bins) // _LABELLED_BARS)
    if step == 1:
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # hides the dashed line
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2, bbox=ground)
    axes.set_xticks(
        range(0, len(bins), step), [_label(item) for item in bins[::step]], rotation=60, fontsize=8
    )
    axes.axvline(
        _place(stats.pair.p95, bins), color="#c44e52", linestyle="--", label=_line_label(stats)
    )
    axes.margins(y=0.1)
    axes.set_xlabel("tokens per pair (question + answer + 2 separators)")
    axes.set_ylabel("pairs")
    axes.set_title(f"{stats.pairs:,} pairs, {stats.tokens:,} tokens", pad=30)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)  # under the title


def _label(item: Bin) -> str:
    return f"over {item.first - 1}" if item.last is None else f"{item.first}-{item.last}"


def _line_label(stats: TokenStats) -> str:
    return f"95 % of the pairs have at most {stats.pair.p95} tokens"


def _place(length: int, bins: tuple[Bin, ...]) -> float:
    # Bar i stands from i - 0.5 to i + 0.5; the line goes where the length lies within its bar.
    index = next(i for i, item in enumerate(bins) if item.last is None or length <= item.last)
    item = bins[index]
    if item.last is None:
        return float(index)
    return index - 0.5 + (length - item.first + 1) / (item.last - item.first + 1)
