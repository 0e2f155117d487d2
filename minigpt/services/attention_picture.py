"""Attention as a picture: a large panel for the mean, small ones for every layer and head."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minigpt.services.fonts import fonts_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.image import AxesImage

Weights = NDArray[np.float32]

# All sizes are inches.
CELL = 0.2  # of the large panel
SMALL_CELL = 0.15
LEAST_LABELLED = 0.12  # labels of smaller cells could not be read
WIDEST = 80.0  # of all heads side by side: over that their cells shrink
LEFT, TOP, GAP, CAPTION = 0.6, 0.45, 0.15, 0.3
HEADING, SCALE, LEAST_WIDTH = 1.1, 1.0, 6.0
DPI = 110
POINTS = 72

COLOURS, EXPONENT = "viridis", 0.5  # small weights are many, and would all look alike
_NUMERALS = "U+0123456789ABCDEF"
# Without these the same numbers would give another file each time.
_UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def draw_grid(
    weights: Weights, *, rows: Sequence[str], columns: Sequence[str], split: int, file_format: str
) -> bytes:
    """The picture, the same bytes for the same numbers.

    Args:
        weights: [n_layer, H, rows, columns], between 0 and 1.
        rows: Label of each row: a character, or a word for what is no character.
        columns: Label of each column.
        split: So many columns belong to the question; a line stands behind them.
        file_format: "png", "svg" or "pdf".

    Raises:
        SettingsError: No font of this machine has the characters.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    fonts = fonts_for({*"".join([*rows, *columns]), *_NUMERALS})
    rows, columns = ([_shown(label, fonts) for label in labels] for labels in (rows, columns))
    with rc_context({"svg.hashsalt": "minigpt", "pdf.fonttype": 42}):
        figure = Figure()
        _Grid(figure, rows, columns, split, fonts).draw(weights)
        picture = io.BytesIO()
        figure.savefig(picture, format=file_format, dpi=DPI, metadata=_UNDATED[file_format])
    return picture.getvalue()


@dataclass(frozen=True)
class _Grid:
    """The panels of a figure, and the labels that they share."""

    figure: "Figure"
    rows: Sequence[str]
    columns: Sequence[str]
    split: int
    fonts: Mapping[str, "FontProperties"]

    def draw(self, weights: Weights) -> None:
        from matplotlib.colors import PowerNorm

        layers, heads = weights.shape[:2]
        cell = min(SMALL_CELL, (WIDEST / heads - LEFT - GAP) / len(self.columns))
        left, top = (LEFT, TOP) if cell >= LEAST_LABELLED else (GAP, GAP)
        step_x = left + len(self.columns) * cell + GAP
        step_y = top + len(self.rows) * cell + CAPTION
        mean_width, mean_height = len(self.columns) * CELL, len(self.rows) * CELL
        head = HEADING + TOP + mean_height + CAPTION
        width = max(heads * step_x, LEFT + mean_width + SCALE, LEAST_WIDTH)
        self.figure.set_size_inches(width, head + layers * step_y + GAP)

        norm = PowerNorm(EXPONENT, vmin=0, vmax=weights.max())
        self._title()
        axes = self._axes(LEFT, HEADING + TOP, CELL)
        image = self._panel(
            axes, weights.mean((0, 1)), norm, f"mean of all {layers} x {heads} heads"
        )
        self._label(axes, CELL)
        scale = self._place(LEFT + mean_width + GAP, HEADING + TOP, 0.12, mean_height)
        self.figure.colorbar(image, cax=scale).ax.tick_params(labelsize=7)
        for layer, head_index in np.ndindex(layers, heads):
            axes = self._axes(left + head_index * step_x, head + layer * step_y + top, cell)
            name = f"layer {layer + 1}, head {head_index + 1}"
            self._panel(axes, weights[layer, head_index], norm, name)
            if cell >= LEAST_LABELLED:
                self._label(axes, cell)

    def _title(self) -> None:
        height = self.figure.get_figheight()
        lines = (
            (0.3, 12, "Where the model looked when it chose each character of its answer"),
            (0.55, 8, "A row is a character of the answer. Its cells are what was read before it"),
            (0.7, 8, "was chosen: the question, sep, and the answer so far; grey came later."),
            (0.85, 8, "The brighter a cell, the larger its share of the row, which is 1 in all."),
            (1.0, 8, "Large: the mean. Small: each head, with the same rows and columns."),
        )
        for from_top, size, text in lines:
            self.figure.text(
                GAP / self.figure.get_figwidth(), 1 - from_top / height, text, size=size
            )

    def _axes(self, x: float, y: float, cell: float) -> "Axes":
        return self._place(x, y, len(self.columns) * cell, len(self.rows) * cell)

    def _place(self, x: float, y: float, width: float, height: float) -> "Axes":
        """Axes at so many inches from the left and from the top."""
        total_x, total_y = self.figure.get_size_inches()
        corner = (x / total_x, 1 - (y + height) / total_y)
        return self.figure.add_axes((*corner, width / total_x, height / total_y))

    def _panel(self, axes: "Axes", weights: Weights, norm: "Normalize", name: str) -> "AxesImage":
        seen = np.arange(len(self.columns)) < self.split + np.arange(len(self.rows))[:, None]
        image = axes.imshow(
            np.ma.masked_where(~seen, weights),
            cmap=COLOURS,
            norm=norm,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_facecolor("0.93")  # what came later could not be looked at
        axes.axvline(self.split - 0.5, color="white", linewidth=0.8)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(name, fontsize=8, labelpad=3)
        return image

    def _label(self, axes: "Axes", cell: float) -> None:
        size = min(11.0, 0.72 * cell * POINTS)
        edge = -0.5 - 2 / (cell * POINTS)  # two points outside, counted in cells
        for place, label in enumerate(self.columns):
            text = axes.text(place, edge, label, ha="center", va="bottom")
            text.set_rotation(0 if len(label) == 1 else 90)
        for place, label in enumerate(self.rows):
            axes.text(edge, place, label, ha="right", va="center_baseline")
        for text in axes.texts:  # texts, since so many ticks take thrice as long
            label = text.get_text()
            text.set_fontproperties(self.fonts[label[0]])
            text.set_fontsize(size if len(label) == 1 else 0.7 * size)
            text.set_parse_math(False)


def _shown(label: str, fonts: Mapping[str, "FontProperties"]) -> str:
    """A label that can be seen: blanks, controls and what no font has by their number."""
    if len(label) == 1 and (label.isspace() or not label.isprintable() or label not in fonts):
        return f"U+{ord(label):04X}"
    return label
