"""What training reported, epoch by epoch: a panel for each loss term or diagnostic."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wsolbench.report.figures.style import DASHES, FAINT, TWO_COLUMNS, Look, head, house_style, new_figure

Floats = npt.NDArray[np.float64]
Epoch = Mapping[str, float | None]

ACROSS = 4
"""Panels side by side."""

_CHARACTERS = 26  # of a title, in a panel's width


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One quantity of one row.

    Attributes:
        label: of the row.
        look: of the row.
        place: where in the network it was taken, such as ``layer4.1``; empty where it stands once.
        seeds: float (S, E), of S seeds and E epochs; NaN where it was not finite or the seed had no such epoch.
    """

    label: str
    look: Look
    place: str
    seeds: Floats


def quantities(label: str, look: Look, histories: Sequence[Sequence[Epoch]]) -> dict[str, list[Line]]:
    """Return what one row reported: title of a panel -> its lines.

    A name that ends like its neighbours, ``foreground_layer3.0`` beside ``foreground_layer4.0``, is one quantity taken
    at several places, and these share a panel.

    Args:
        label: of the row.
        look: of the row.
        histories: of each seed.
    """
    names = list(dict.fromkeys(name for history in histories for epoch in history for name in epoch))
    stems = Counter(name.rpartition("_")[0] for name in names)
    panels: dict[str, list[Line]] = {}
    for name in names:
        stem, _, place = name.rpartition("_")
        shared = bool(stem) and stems[stem] > 1
        line = Line(label=label, look=look, place=place if shared else "", seeds=_series(histories, name))
        panels.setdefault(f"{stem} by place" if shared else name, []).append(line)
    return panels


def _series(histories: Sequence[Sequence[Epoch]], name: str) -> Floats:
    values = np.full((len(histories), max(map(len, histories))), np.nan)
    for seed, history in enumerate(histories):
        for number, epoch in enumerate(history):
            found = epoch.get(name)
            values[seed, number] = np.nan if found is None else found
    return values


@house_style()
def draw_training(panels: Mapping[str, Sequence[Line]], what: str, data: str) -> Figure:
    """Draw small multiples over epochs: the mean over seeds, and a band from the smallest to the largest.

    Args:
        panels: title -> lines; those of most rows first.
        what: the heading's first line.
        data: its second.
    """
    order = sorted(panels, key=lambda title: (-len({line.label for line in panels[title]}), title))
    down = -(-len(order) // ACROSS)
    figure = new_figure(TWO_COLUMNS, 0.95 + 1.25 * down)
    grid: Any = figure.subplots(down, ACROSS, squeeze=False)
    for axes, title in zip(grid.flat, order, strict=False):
        _draw_panel(axes, title, panels[title])
    for axes in grid.flat[len(order) :]:
        axes.set_axis_off()
    known = {line.label: line.look for lines in panels.values() for line in lines}
    figure.legend(
        handles=[look.handle(label) for label, look in known.items()],
        loc="outside lower left",
        ncols=min(7, len(known)),
    )
    head(figure, what, data)
    return figure


def _draw_panel(axes: Any, title: str, lines: Sequence[Line]) -> None:  # noqa: ANN401
    owners = list(dict.fromkeys(line.label for line in lines))
    places = list(dict.fromkeys(line.place for line in lines))
    for line in lines:
        epochs = np.arange(1, line.seeds.shape[1] + 1)
        known = ~np.isnan(line.seeds).all(axis=0)
        seeds, epochs = line.seeds[:, known], epochs[known]
        if not len(epochs):
            continue
        look = {**line.look.points, **line.look.line}
        if line.place:  # places are told apart by dashes, the owner by its colour
            look["linestyle"] = DASHES[places.index(line.place) % len(DASHES)]
        axes.fill_between(
            epochs, np.nanmin(seeds, axis=0), np.nanmax(seeds, axis=0), color=line.look.colour, alpha=0.13, linewidth=0
        )
        axes.plot(epochs, np.nanmean(seeds, axis=0), markersize=2.5, label=f"{line.label} {line.place}".strip(), **look)
    owner = f"({owners[0]})" if len(owners) == 1 else ""
    space = " " if len(title) + len(owner) < _CHARACTERS else "\n"
    axes.set_title(f"{title}{space}{owner}" if owner else title)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.margins(y=0.1)
    if any(places):
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.45 * (high - low))  # room for the names of the places
        styles = zip(places, DASHES * len(places), strict=False)
        keys = [Line2D([], [], color=FAINT, linestyle=dashes, label=place) for place, dashes in styles]
        axes.legend(handles=keys, loc="best", handlelength=1.8, labelspacing=0.15)
