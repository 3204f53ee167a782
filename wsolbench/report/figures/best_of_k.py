"""What tuning buys: the best of k configurations, at the same k for every method."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wsolbench.errors import UserError
from wsolbench.report.figures.style import TWO_COLUMNS, Look, head, house_style, new_figure, round_ticks
from wsolbench.trials import read_choice

Floats = npt.NDArray[np.float64]

_FIELDS = ("k", "mean", "low", "high")
_UPRIGHT = 5  # labels that fit side by side


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """The tuning of one row.

    Attributes:
        label: of the row.
        look: of the row.
        best_of: float (K, 4): k, the expected best of k trials in percent, and its 95 % interval.
        criterion: what was maximised, in words.
        images: of train-fullsup, that it was measured on.
    """

    label: str
    look: Look
    best_of: Floats
    criterion: str
    images: int


def read_study(path: Path, label: str, look: Look) -> Study:
    """Read a study's ``choice.json``.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    try:
        choice = read_choice(path)
    except UserError as error:  # it speaks of an option of `run`
        raise UserError(str(error).removeprefix("--config ")) from None
    try:
        best_of = np.array([[float(point[field]) for field in _FIELDS] for point in choice["best_of"]])
        criterion: dict[str, str] = choice["criterion"]
        metric, part = criterion["metric"], criterion["slice"]
        if best_of.shape != (choice["trials"], len(_FIELDS)):
            raise ValueError(f"best_of has {len(best_of)} lines for {choice['trials']} trials")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' has no usable curve of the best of k trials: {error!r}") from None
    where = f"{metric} on {part}" if part else metric
    return Study(label=label, look=look, best_of=best_of, criterion=where, images=choice["images"])


@house_style()
def draw_best_of_k(studies: Sequence[Study], what: str, data: str) -> Figure:
    """Draw the expected best of k trials, one line a study, and beside them the intervals at the last k.

    Args:
        studies: with the same number of trials each.
        what: the heading's first line.
        data: its second.
    """
    last = len(studies[0].best_of)
    assert all(len(study.best_of) == last for study in studies), "equal budgets"
    figure = new_figure(TWO_COLUMNS, 2.9)
    grid: Any = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1.4])
    for study in studies:
        look = {**study.look.points, **study.look.line}
        grid[0].plot(study.best_of[:, 0], study.best_of[:, 1], label=study.label, **look)
    round_ticks(grid[0])
    grid[0].xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]))
    grid[0].set(xlabel="k, number of trials", ylabel="expected best [%]")
    for place, study in enumerate(studies):
        _, mean, low, high = study.best_of[-1]
        grid[1].plot([place, place], [low, high], color=study.look.colour, linewidth=1.1)
        grid[1].plot(place, mean, **study.look.points, label=study.label)
    grid[1].set(
        xticks=range(len(studies)),
        xticklabels=[study.label.replace(" ", "\n") for study in studies],
        xlim=(-0.6, len(studies) - 0.4),
        title=f"k = {last}, 95 % interval",
    )
    grid[1].grid(visible=False, axis="x")
    if len(studies) > _UPRIGHT:
        grid[1].set_xticklabels([study.label for study in studies], rotation=90)
    head(figure, what, data)
    return figure
