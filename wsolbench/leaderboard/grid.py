"""What every renderer writes down: a table as text without markup, whatever layout it came from.

A layout (:mod:`~wsolbench.leaderboard.sections`, :mod:`~wsolbench.leaderboard.wide`, ...) makes grids; markdown, LaTeX,
HTML and CSV are made from the same grids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wsolbench.leaderboard.rows import Row, Score

NOTHING = "–"
"""What stands in a cell without a number."""

Kind = Literal["measured", "null", "published"]
HEADINGS: dict[Kind, str] = {"measured": "", "null": "null rows", "published": "published, not measured here"}
"""What stands above the lines of a kind."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: the number or words; empty: nothing belongs here.
        rest: what follows the number: spread, count, difference.
        rank: 1 for the best of its column, 2 for the second best, 0 for all others.
        notes: footnotes; of an empty cell: why it is empty.
        value: the number, unrounded; None where there is none.
        std: sample standard deviation over seeds, None for one seed.
        n: number of seeds, None for what was not measured over seeds.
    """

    text: str
    rest: str = ""
    rank: int = 0
    notes: tuple[str, ...] = ()
    value: float | None = None
    std: float | None = None
    n: int | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line.

    Attributes:
        label: what it is of.
        cells: one for each column.
        kind: measured, a null row, or from a paper.
        notes: footnotes of the label.
    """

    label: str
    cells: tuple[Cell, ...]
    kind: Kind = "measured"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands above a column.

    Attributes:
        title: of the column.
        group: shared with its neighbours; empty: none.
    """

    title: str
    group: str = ""

    @property
    def text(self) -> str:
        """Group and title in one line."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One table.

    Attributes:
        title: its heading.
        stub: what stands above the labels.
        heads: of the columns.
        lines: measured rows, null rows and published ones, in this order.
        caption: sentences that say what the numbers are.
        layout: name of the layout that made it.
    """

    title: str
    stub: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    caption: tuple[str, ...]
    layout: str

    def blocks(self) -> list[tuple[Kind, list[Line]]]:
        """Return the lines of each kind that there is."""
        found = [(kind, [line for line in self.lines if line.kind == kind]) for kind in HEADINGS]
        return [(kind, lines) for kind, lines in found if lines]

    def notes(self) -> dict[str, int]:
        """Return every footnote with its number, in the order in which a reader meets them."""
        notes: dict[str, int] = {}
        for _, lines in self.blocks():
            for line in lines:
                for note in (*line.notes, *(note for cell in line.cells for note in cell.notes)):
                    notes.setdefault(note, len(notes) + 1)
        return notes


@dataclass(frozen=True, kw_only=True)
class Page:
    """Tables, and below them a sentence for each file that could not be used and each run that failed."""

    grids: tuple[Grid, ...]
    warnings: tuple[str, ...] = ()


def score_cell(
    score: Score | None, *, reason: str = "", seeds: int | None = None, rank: int = 0, digits: int = 2, short: str = ""
) -> Cell:
    """Write a mean over seeds.

    Args:
        score: None: there is none.
        reason: why seeds, or all of them, lack the metric.
        seeds: of the row, so that a cell over fewer of them says so.
        rank: 1 for the best, 2 for the second best.
        digits: decimals.
        short: what to write where there is none, instead of a dash.
    """
    notes = (reason,) if reason else ()
    if score is None:
        return Cell(text=short or NOTHING, notes=notes)
    spread = "" if score.std is None else f" ± {score.std:,.{digits}f}"
    fewer = f" (n={score.n})" if seeds is not None and score.n < seeds else ""
    text = f"{score.mean:,.{digits}f}"
    return Cell(text=text, rest=spread + fewer, rank=rank, notes=notes, value=score.mean, std=score.std, n=score.n)


def with_difference(cell: Cell, base: float | None, note: str = "") -> Cell:
    """Append the signed difference from another number to a cell that has one."""
    if base is None or cell.value is None:
        return cell
    notes = (*cell.notes, note) if note else cell.notes
    return replace(cell, rest=f"{cell.rest} ({signed(cell.value - base)})", notes=notes)


def signed(difference: float, digits: int = 2) -> str:
    """Write a difference with its sign, and a real minus.

    >>> signed(-1.234), signed(0.5, 1)
    ('−1.23', '+0.5')
    """
    return f"{difference:+.{digits}f}".replace("-", "−")


def row_cell(row: Row, key: tuple[str, str], rank: int = 0) -> Cell:
    """Write one of a row's metrics."""
    return score_cell(row.score(key), reason=row.reason(key), seeds=row.n, rank=rank)


def text_cell(text: str, notes: Sequence[str] = ()) -> Cell:
    """Write words."""
    return Cell(text=text, notes=tuple(notes))
