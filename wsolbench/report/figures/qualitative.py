"""Pictures with score maps, predicted and true boxes; which pictures is a rule's choice, never a hand's."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from wsolbench.report.figures.style import HEADING, INK, ONE_COLUMN, SMALL, TWO_COLUMNS, heading, house_style
from wsolbench.report.qualitative import OPACITY, PREDICTED, SCORE_MAP, TRUE

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HIT = 0.5
"""The IoU from which a box counts as found (PROTOCOL: GT-known Loc)."""

_LARGEST = 0.9  # inches, the side of a picture
_GAP, _NUMBER, _NAMES, _LINE = 0.035, 0.17, 0.36, 0.142  # inches: between, below and left of pictures; a line of text
_LEGEND = 4.6  # inches that a legend of one line needs

ACROSS = 8
"""Pictures side by side, of one method."""

_FEW = 128  # pixels a side
_DASHED = (0, (2.2, 1.1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A test image.

    Attributes:
        pixels: uint8 (S, S, 3), at the evaluation size.
        truth: int64 (m, 4), its true boxes.
        name: of its class.
    """

    pixels: Bytes
    truth: Ints
    name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a method makes of an image.

    Attributes:
        score_map: uint8 (S, S).
        boxes: int64 (B, 4), all of them at the operating threshold.
        ious: float64 (B,), of each with the true box it fits best.
    """

    score_map: Bytes
    boxes: Ints
    ious: Floats


def spread(values: Floats, count: int) -> list[int]:
    """Return the indices of images from the lowest value to the highest, in even steps of rank.

    Of N sorted values it takes those at the middle of ``count`` equal shares, so that hits and misses come in the
    proportion they have; of equal values the one with the lower index is the lower.

    Args:
        values: float64 (N,).
        count: at least 1; all images where there are fewer.

    >>> spread(np.array([0.9, 0.1, 0.5, 0.3]), 2)
    [3, 0]
    """
    order = np.argsort(values, kind="stable")
    count = min(count, len(values))
    return [int(order[(2 * place + 1) * len(values) // (2 * count)]) for place in range(count)]


@house_style()
def draw_side_by_side(
    pictures: Sequence[Picture], answers: Mapping[str, Sequence[Answer]], what: str, data: str
) -> Figure:
    """Draw a line for each image, a column for each method, as the papers do.

    Args:
        pictures: n images.
        answers: label -> n answers.
        what: the heading's first line.
        data: its second.
    """
    columns = len(answers) + 1
    cell = min((TWO_COLUMNS - _NAMES) / columns - _GAP, _LARGEST)
    names = [_broken(label, cell) for label in ("image", *answers)]
    lines = max(name.count("\n") + 1 for name in names)
    figure, grid = _grid((len(pictures), columns), cell, _NAMES, lines, (what, data))
    for line, picture in enumerate(pictures):
        _draw_cell(grid[line, 0], picture, None)
        grid[line, 0].set_ylabel(_broken(picture.name.partition(",")[0], cell, 2), labelpad=3)
        for axes, each in zip(grid[line, 1:], answers.values(), strict=True):
            _draw_cell(axes, picture, each[line])
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, loc="center", fontsize=SMALL)
    return figure


@house_style()
def draw_many(pictures: Sequence[Picture], answers: Sequence[Answer], what: str, data: str) -> Figure:
    """Draw many images with one method's answers.

    Args:
        pictures: n images.
        answers: n answers.
        what: the heading's first line.
        data: its second.
    """
    across = min(ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    figure, grid = _grid((down, across), (TWO_COLUMNS - _GAP) / ACROSS - _GAP, _GAP, 0, (what, data))
    for axes, picture, answer in zip(grid.flat, pictures, answers, strict=False):
        _draw_cell(axes, picture, answer)
    for axes in grid.flat[len(pictures) :]:
        axes.set_axis_off()
    return figure


def _grid(shape: tuple[int, int], cell: float, left: float, lines: int, text: tuple[str, str]) -> tuple[Figure, Any]:
    """Return a figure with square panels, its heading and its legend, and the panels, (rows, columns).

    Every size is known beforehand, so panels stand exactly where they belong: automatic layout leaves gaps.

    Args:
        shape: rows and columns.
        cell: side of a panel, inches.
        left: room for names, inches.
        lines: of the names above the panels.
        text: both lines of the heading.
    """
    down, across = shape
    width = max(left + across * (cell + _GAP), ONE_COLUMN)
    words, columns = heading(width, *text), 4 if width > _LEGEND else 2
    top = 0.11 + _LINE * (words.count("\n") + 1 + lines)
    height = top + down * (cell + _NUMBER) + _LINE * 4 / columns + 0.06
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    grid = np.empty(shape, dtype=object)
    for row, column in np.ndindex(shape):
        x, y = left + column * (cell + _GAP), height - top - row * (cell + _NUMBER) - cell
        grid[row, column] = figure.add_axes((x / width, y / height, cell / width, cell / height))
    figure.text(0.06 / width, 1 - 0.05 / height, words, ha="left", va="top", **HEADING)
    figure.legend(handles=_entries(), loc="lower left", ncols=columns, borderaxespad=0.3)
    return figure, grid


def number(iou: float) -> str:
    """Write an IoU with a filled dot for a hit; cut, because 0.496 is a miss and would be rounded to 0.50.

    >>> number(0.5), number(0.496)
    ('● 0.50', '○ 0.49')
    """
    return f"{'●' if iou >= HIT else '○'} {math.floor(100 * iou + 1e-9) / 100:.2f}"


def blended(pixels: Bytes, score_map: Bytes) -> Bytes:
    """Return a score map in colours over the grey picture, where every colour that is seen is the map's.

    Args:
        pixels: uint8 (S, S, 3).
        score_map: uint8 (S, S).

    Returns:
        uint8 (S, S, 3).
    """
    grey = pixels.mean(axis=2, keepdims=True)
    colours = colormaps[SCORE_MAP](score_map)[..., :3] * 255
    mixed: Bytes = np.rint((1 - OPACITY) * grey + OPACITY * colours).astype(np.uint8)
    return mixed


def _draw_cell(axes: Any, picture: Picture, answer: Answer | None) -> None:  # noqa: ANN401
    """Draw an image with its true boxes and, over it, what a method makes of it."""
    side = len(answer.score_map) if answer is not None else len(picture.pixels)
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    pixels = picture.pixels if answer is None else blended(picture.pixels, answer.score_map)
    # Few pixels stay what they are, squares; many are averaged for the size they are printed at.
    axes.imshow(pixels, extent=extent, interpolation="none" if side <= _FEW else "auto")
    for box in picture.truth:
        _draw_box(axes, box, TRUE, "-", 1.0)
    if answer is not None:
        best = int(np.argmax(answer.ious))
        for place, box in enumerate(answer.boxes):
            _draw_box(axes, box, PREDICTED, _DASHED, 1.1 if place == best else 0.6)
        axes.set_xlabel(number(float(answer.ious[best])), labelpad=1.5)
    axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _draw_box(axes: Any, box: Ints, colour: str, dashes: Any, width: float) -> None:  # noqa: ANN401
    """Draw a box ``x0 y0 x1 y1`` of inclusive pixels; solid ones have an edge, visible on any picture."""
    x0, y0, x1, y1 = box
    (line,) = axes.plot(
        [x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=colour, linestyle=dashes, linewidth=width, clip_on=False
    )
    if dashes == "-":
        line.set_path_effects([Stroke(linewidth=width + 1.0, foreground="white"), Normal()])


def _entries() -> list[Line2D]:
    """Return a legend: what lines and numbers are."""
    return [
        Line2D([], [], color=TRUE, linewidth=1.4, label="true box"),
        Line2D([], [], color=PREDICTED, linewidth=1.4, linestyle=_DASHED, label="predicted boxes"),
        Line2D([], [], color=INK, marker="o", linestyle="none", label=f"IoU, a hit (≥ {HIT:g})"),
        Line2D([], [], color=INK, marker="o", linestyle="none", markerfacecolor="white", label="a miss"),
    ]


def _broken(text: str, width: float, most: int | None = None) -> str:
    """Break a text into lines that fit a width in inches; of more than ``most`` lines the rest is left out."""
    characters = max(int(17 * width), 6)
    return "\n".join(textwrap.wrap(text, characters, break_long_words=False, max_lines=most, placeholder=" …"))
