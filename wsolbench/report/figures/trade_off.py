"""Classification against localisation: what a method pays in one for the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from wsolbench.report.figures.labels import label_points
from wsolbench.report.figures.saving import lay_out
from wsolbench.report.figures.style import (
    FAINT,
    NULL_LINE,
    SMALL,
    TWO_COLUMNS,
    Look,
    head,
    house_style,
    new_figure,
    round_ticks,
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a table: mean and sample standard deviation over seeds, percent; the latter 0 for one seed.

    Attributes:
        label: of the row.
        look: of the row.
        x: (mean, deviation) of the accuracy of classification.
        y: likewise of localisation.
    """

    label: str
    look: Look
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One metric of localisation.

    Attributes:
        title: of the metric.
        points: the rows that have it and classify.
        floor: what the null row ``center`` reaches, percent; None: not drawn.
    """

    title: str
    points: Sequence[Point]
    floor: float | None


@house_style()
def draw_trade_off(panels: Sequence[Panel], what: str, data: str) -> Figure:
    """Draw a panel for each metric of localisation over Top-1 Cls, bars of one standard deviation over seeds.

    Args:
        panels: one or two.
        what: the heading's first line.
        data: its second.
    """
    figure = new_figure(TWO_COLUMNS, 3.4)
    grid: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        for point in panel.points:
            axes.errorbar(
                point.x[0], point.y[0], xerr=point.x[1] or None, yerr=point.y[1] or None, **point.look.points,
                elinewidth=0.7, markersize=5, label=point.label,
            )  # fmt: skip
        if panel.floor is not None:
            axes.axhline(panel.floor, **NULL_LINE)
            axes.annotate(
                "center", (1, panel.floor), xycoords=("axes fraction", "data"), xytext=(0, 1), ha="right", va="bottom",
                textcoords="offset points", color=FAINT, fontsize=SMALL,
            )  # fmt: skip
        axes.set(xlabel="Top-1 Cls [%]", ylabel=f"{panel.title} [%]")
        axes.margins(0.12)
        round_ticks(axes)
    head(figure, what, data)
    lay_out(figure)  # it must stand before labels can be placed
    for axes, panel in zip(grid, panels, strict=True):
        _label(axes, panel)
    return figure


def _label(axes: Any, panel: Panel) -> None:  # noqa: ANN401
    """Label the points of a panel; labels keep off error bars and the null row's line."""
    boxes = []
    for point in panel.points:
        (x, dx), (y, dy) = point.x, point.y
        boxes += [(x - dx, y, x + dx, y), (x, y - dy, x, y + dy)]
    if panel.floor is not None:
        boxes.append((axes.get_xlim()[0], panel.floor, axes.get_xlim()[1], panel.floor))
    label_points(
        axes,
        [point.label for point in panel.points],
        np.array([(point.x[0], point.y[0]) for point in panel.points]),
        np.array(boxes),
        [point.look.colour for point in panel.points],
    )
