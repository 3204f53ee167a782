"""How well boxes fit: the distribution of exact IoUs at the frozen threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from wsolbench.protocols import CRITERIA
from wsolbench.report.figures.style import FAINT, SMALL, TWO_COLUMNS, Look, head, house_style, new_figure

Floats = npt.NDArray[np.float64]

EDGES = np.arange(21) / 20
"""Of the bins; the last one is closed."""

ACROSS = 5
"""Panels side by side."""

_PLATE = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


@dataclass(frozen=True, kw_only=True, eq=False)
class Fits:
    """One row of a table.

    Attributes:
        label: of the row.
        look: of the row.
        seeds: float (S, N), the best IoU of each of N images.
    """

    label: str
    look: Look
    seeds: Floats


def shares(ious: Floats) -> Floats:
    """Return the percentage of images in each bin of :data:`EDGES`, float64 (20,), a mean over the seeds' shares.

    >>> shares(np.array([[0.5, 1.0]]))[[10, 19]].tolist()
    [50.0, 50.0]
    """
    # On whole twentieths: 0.3 / 0.05 rounds below 6.
    bins = np.minimum(np.searchsorted(EDGES, ious.ravel(), side="right") - 1, len(EDGES) - 2)
    counted: Floats = 100 * np.bincount(bins, minlength=len(EDGES) - 1) / ious.size
    return counted


@house_style()
def draw_ious(rows: Sequence[Fits], reference: Floats | None, what: str, data: str) -> Figure:
    """Draw a histogram for each row; behind it in outline that of the null row ``center``.

    Args:
        rows: of a table.
        reference: float (N,), of the null row; None: not drawn.
        what: the heading's first line.
        data: its second.
    """
    down = -(-len(rows) // ACROSS)
    figure = new_figure(TWO_COLUMNS, 0.75 + 1.25 * down)
    grid: Any = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
    for axes, row in zip(grid.flat, rows, strict=False):
        axes.stairs(shares(row.seeds), EDGES, fill=True, color=row.look.colour, alpha=0.85, label=row.label)
        if reference is not None:
            axes.stairs(shares(reference), EDGES, color=FAINT, linewidth=0.8, label="center")
        for d in CRITERIA:
            axes.axvline(d, color=FAINT, linewidth=0.5, linestyle=(0, (1, 2)))
        text = f"median {np.median(row.seeds):.2f}\n≥ 0.5: {100 * (row.seeds >= 0.5).mean():.1f} %"
        axes.annotate(text, (0.03, 0.98), xycoords="axes fraction", va="top", bbox=_PLATE)
        axes.set(title=row.label, xlim=(0, 1), xticks=(0, 0.3, 0.5, 0.7, 1), xticklabels=("0", ".3", ".5", ".7", "1"))
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    grid[0, 0].set_ylim(0, 1.3 * grid[0, 0].get_ylim()[1])  # room for the numbers
    for axes in grid[:, 0]:
        axes.set_ylabel("images [%]")
    figure.supxlabel("IoU of the best predicted box with a true box", fontsize=SMALL)
    head(figure, what, data)
    return figure
