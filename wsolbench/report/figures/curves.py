"""Box accuracy over the operating threshold, and which thresholds were chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wsolbench.protocols import THRESHOLDS, BoxHits, box_accuracy_counts
from wsolbench.report.figures.style import FAINT, NULL_LINE, TWO_COLUMNS, Look, head, house_style, new_figure

Floats = npt.NDArray[np.float64]

ORACLE, FROZEN = "", "_fullsup"
"""What a metric's key ends with: the threshold was chosen on the images that are scored, or on train-fullsup."""

_BAND_STEP = 8  # thresholds: two of a score map's 255 levels
TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """One row of a table.

    Attributes:
        label: of the row.
        look: of the row.
        accuracy: float (S, D, 1000), percent, of S seeds.
        thresholds: of each seed, keyed as in a record.
    """

    label: str
    look: Look
    accuracy: Floats
    thresholds: Sequence[Mapping[str, float]]


def accuracy(hits: BoxHits) -> Floats:
    """Return BoxAcc(t, d) of all contours in percent, float64 (D, 1000)."""
    return 100 * box_accuracy_counts(hits) / len(hits)


def key(d: float, suffix: str) -> str:
    """Return the key of the threshold that was chosen for an IoU criterion.

    >>> key(0.3, FROZEN)
    'max_box_acc_v2_iou30_fullsup'
    """
    return f"max_box_acc_v2_iou{round(100 * d)}{suffix}"


@house_style()
def draw_table(rows: Sequence[Curves], criteria: Sequence[float], floor: Floats | None, what: str, data: str) -> Figure:
    """Draw a panel for each IoU criterion, and below it a lane for each row with the thresholds of its seeds.

    Args:
        rows: of a table.
        criteria: D of them.
        floor: float (D,), the best that the null row ``center`` reaches, percent; None: not drawn.
        what: the heading's first line.
        data: its second.
    """
    lane = 0.135
    figure = new_figure(TWO_COLUMNS, 2.75 + lane * len(rows))
    grid: Any = figure.subplots(
        2, len(criteria), sharex=True, sharey="row", height_ratios=[2.0, lane * len(rows) + 0.1], squeeze=False
    )
    for place, d in enumerate(criteria):
        _draw_lines(grid[0, place], rows, place)
        if floor is not None:
            grid[0, place].axhline(floor[place], **NULL_LINE)
        grid[0, place].set(title=f"IoU ≥ {d:g}", xlim=(0, 1), ylim=(0, None))
        _draw_lanes(grid[1, place], rows, d)
    grid[0, 0].set_ylabel("BoxAcc [%]")
    grid[1, 0].set(yticks=range(len(rows)), yticklabels=[row.label for row in rows])
    grid[1, 0].set(xticks=TICKS, xticklabels=[f"{t:g}" for t in TICKS])
    grid[1, len(criteria) // 2].set_xlabel("operating threshold t")
    _explain(figure, floor is not None)
    head(figure, what, data)
    return figure


def _explain(figure: Figure, floor: bool) -> None:
    """Write what dots, rings and the dotted line are."""
    entries = [
        Line2D([], [], color=FAINT, marker="o", linestyle="none", label="best on test (oracle), each seed"),
        Line2D(
            [], [], color=FAINT, marker="o", linestyle="none", markerfacecolor="white", label="frozen on train-fullsup"
        ),
    ]
    if floor:
        entries.append(Line2D([], [], **NULL_LINE, label="the best that center reaches"))
    figure.legend(handles=entries, loc="outside lower center", ncols=3)


def _draw_lines(axes: Any, rows: Sequence[Curves], place: int) -> None:  # noqa: ANN401
    """Draw the mean over seeds of every row, and a band from the smallest to the largest seed."""
    for row in rows:
        seeds = row.accuracy[:, place]
        if len(seeds) > 1:
            edges = seeds[:, ::_BAND_STEP]
            axes.fill_between(
                THRESHOLDS[::_BAND_STEP], edges.min(0), edges.max(0), color=row.look.colour, alpha=0.13, linewidth=0
            )
        axes.plot(THRESHOLDS, seeds.mean(0), **row.look.line, label=row.label)


def _draw_lanes(axes: Any, rows: Sequence[Curves], d: float) -> None:  # noqa: ANN401
    """Draw one line a row, the first on top, with a dot for each oracle threshold and a ring for each frozen one."""
    for lane, row in enumerate(rows):
        axes.axhline(lane, **row.look.line, linewidth=0.8, alpha=0.5)
        for suffix, face in ((ORACLE, row.look.colour), (FROZEN, "white")):
            found = [each[key(d, suffix)] for each in row.thresholds if key(d, suffix) in each]
            axes.plot(
                found, [lane] * len(found), "o", color=row.look.colour, markerfacecolor=face, label=row.label + suffix
            )
    axes.set(ylim=(len(rows) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


@house_style()
def draw_one(hits: BoxHits, thresholds: Mapping[str, float], what: str) -> Figure:
    """Draw one set of maps: one curve for each IoU criterion, a dot at its oracle, a ring at the frozen threshold.

    Args:
        hits: of a split's images.
        thresholds: metric key to threshold, as in :class:`~wsolbench.protocols.metrics.Scores`; without a ``_fullsup``
            key of a criterion there is no ring.
        what: was scored.
    """
    figure = new_figure(TWO_COLUMNS, 2.9)
    axes = figure.subplots()
    for colour, d, percent in zip(_shades(len(hits.criteria)), hits.criteria, accuracy(hits), strict=True):
        axes.plot(THRESHOLDS, percent, color=colour, label=f"IoU ≥ {d:g}: up to {percent.max():.1f} %")
        for suffix, face in ((ORACLE, colour), (FROZEN, "white")):
            t = thresholds.get(key(d, suffix))
            if t is not None:
                height = percent[int(np.searchsorted(THRESHOLDS, t))]
                axes.plot(t, height, "o", color=colour, markerfacecolor=face, markersize=5, zorder=3)
    axes.plot([], [], "o", color=FAINT, markersize=5, label="best on these images (oracle)")
    if any(name.endswith(FROZEN) for name in thresholds):
        axes.plot([], [], "o", color=FAINT, markerfacecolor="white", markersize=5, label="frozen on train-fullsup")
    axes.set(xlabel="operating threshold t", ylabel="BoxAcc [%]", xlim=(0, 1), ylim=(0, None), title=what)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # beside them: it may hide no curve
    return figure


def _shades(count: int) -> list[Any]:
    """Return colours from dark to light, one a criterion, which are told apart without colour vision."""
    return [colormaps["viridis"](value) for value in np.linspace(0.0, 0.78, count)]
