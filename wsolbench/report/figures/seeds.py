"""Every seed as a dot: how far apart methods are, beside how far apart the seeds of one method are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from wsolbench.report.figures.style import FAINT, NULL_LINE, SMALL, TWO_COLUMNS, Look, head, house_style, new_figure


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One row of a table.

    Attributes:
        label: of the row.
        look: of the row.
        values: title of a panel -> one value for each seed, percent; empty where the row lacks the metric.
    """

    label: str
    look: Look
    values: Mapping[str, Sequence[float]]


@house_style()
def draw_seeds(
    rows: Sequence[Dots], floors: Mapping[str, float], panels: Sequence[str], what: str, data: str
) -> Figure:
    """Draw a panel for each metric, a line for each row: a ring for each seed, a bar at their mean.

    Args:
        rows: of a table, from the top.
        floors: title of a panel -> the value of the null row ``center``, percent.
        panels: titles.
        what: the heading's first line.
        data: its second.
    """
    figure = new_figure(TWO_COLUMNS, 0.95 + 0.155 * len(rows))
    grid: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        for line, row in enumerate(rows):
            found = row.values.get(panel, ())
            if found:
                mean = sum(found) / len(found)
                axes.plot(
                    found, [line] * len(found), "o", color=row.look.colour, markerfacecolor="none", label=row.label
                )
                axes.plot([mean, mean], [line - 0.36, line + 0.36], color=row.look.colour, linewidth=1.6)
            else:
                axes.annotate(
                    "–", (0.5, line), xycoords=("axes fraction", "data"), ha="center", va="center", color=FAINT
                )
        if panel in floors:
            axes.axvline(floors[panel], **NULL_LINE)
            axes.annotate(
                "center", (floors[panel], 1), xycoords=("data", "axes fraction"), xytext=(0, 1), ha="center",
                textcoords="offset points", va="bottom", color=FAINT, fontsize=SMALL,
            )  # fmt: skip
        axes.set(xlabel=f"{panel} [%]", ylim=(len(rows) - 0.4, -0.6))
        axes.margins(x=0.08)
        axes.tick_params(axis="y", length=0)
    grid[0].set(yticks=range(len(rows)), yticklabels=[row.label for row in rows])
    head(figure, what, data)
    return figure
