"""The leaderboard's tables as the page prints them: plain values, ready for the template."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsolbench.leaderboard.model import PXAP, Table
from wsolbench.leaderboard.rows import Row
from wsolbench.leaderboard.sections import caption, mark, title
from wsolbench.report.page.columns import Column, Cost, Family, families, shown, summary


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number as it is printed.

    Attributes:
        text: the mean; empty where there is none.
        spread: ``± std``; empty for one seed.
        partial: how many seeds have it, where that is not all; empty otherwise.
        value: the mean with all digits, by which rows are sorted; empty where there is none.
        rank: 1 for the best, 2 for the second best, 0 otherwise.
        reason: why it is empty, or why some seeds lack it.
        group: of the column, for the switches.
    """

    text: str
    spread: str
    partial: str
    value: str
    rank: int
    reason: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row as it is printed.

    Attributes:
        id: unique in the page, ``t0r3``.
        label: the row's label.
        method: the method's name.
        tag: what makes the row unlike its neighbours; empty for most.
        n: number of seeds.
        cells: one a column.
    """

    id: str
    label: str
    method: str
    tag: str
    n: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class PrintedTable:
    """One table as it is printed.

    Attributes:
        id: unique in the page, ``t0``.
        title: the leaderboard's.
        dataset: its name.
        families: titles over the columns.
        ranking: index of the column that ranks the rows.
        lines: ranked rows.
        nulls: the null rows, never ranked.
        caption: the leaderboard's sentences.
        empty: why cells are empty, a sentence each.
    """

    id: str
    title: str
    dataset: str
    families: tuple[Family, ...]
    ranking: int
    lines: tuple[Line, ...]
    nulls: tuple[Line, ...]
    caption: str
    empty: tuple[str, ...]

    @property
    def columns(self) -> list[tuple[Column, str]]:
        """Every column with its group."""
        return with_groups(self.families)


def with_groups(found: Iterable[Family]) -> list[tuple[Column, str]]:
    """Return the columns of families, each with its group."""
    return [(column, family.group) for family in found for column in family.columns]


def print_table(table: Table, place: int) -> PrintedTable:
    """Make a table ready to be printed.

    Args:
        table: of the leaderboard.
        place: its index there.
    """
    found = families(table)
    columns = with_groups(found)
    ranks = [_ranks(table, column) for column, _ in columns]
    names = row_ids(table, place)
    lines = [_line(row, names[index], columns, ranks) for index, row in enumerate(table.rows)]
    unranked: list[dict[str, int]] = [{} for _ in columns]
    below = len(table.rows)
    nulls = [_line(row, names[below + index], columns, unranked) for index, row in enumerate(table.nulls)]
    return PrintedTable(
        id=f"t{place}",
        title=title(table.section),
        dataset=table.section.dataset,
        families=tuple(found),
        ranking=next((at for at, (column, _) in enumerate(columns) if column.source == table.section.headline), -1),
        lines=tuple(lines),
        nulls=tuple(nulls),
        caption=caption(table),
        empty=tuple(_why_empty([*lines, *nulls], [column for column, _ in columns])),
    )


def row_ids(table: Table, place: int) -> list[str]:
    """Return an id for each row of a table, null rows last."""
    return [f"t{place}r{index}" for index in range(len(table.rows) + len(table.nulls))]


def _ranks(table: Table, column: Column) -> dict[str, int]:
    return {} if isinstance(column.source, Cost) else mark(table, column.source)


def _line(row: Row, name: str, columns: Sequence[tuple[Column, str]], ranks: Sequence[dict[str, int]]) -> Line:
    cells = [
        _cell(row, column, group, rank.get(row.label, 0)) for (column, group), rank in zip(columns, ranks, strict=True)
    ]
    objects = "masks" if PXAP in row.records[0].metrics else "boxes"
    tag = f"trained on {objects}" if row.supervision else ""
    return Line(id=name, label=row.label, method=row.method, tag=tag, n=row.n, cells=tuple(cells))


def _cell(row: Row, column: Column, group: str, rank: int) -> Cell:
    found = summary(row, column)
    if found.mean is None:
        return Cell(text="", spread="", partial="", value="", rank=0, reason=found.reason, group=group)
    return Cell(
        text=shown(found.mean, column),
        spread="" if found.std is None else f"± {shown(found.std, column)}",
        partial="" if found.n == row.n else f"{found.n} of {row.n} seeds",
        value=repr(found.mean),
        rank=rank,
        reason=found.reason,
        group=group,
    )


def _why_empty(lines: Iterable[Line], columns: Sequence[Column]) -> Iterable[str]:
    """Say of every reason which cells it stands for: ``it does not classify: Top-1 Cls of fsl and center``."""
    cells: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for line in lines:
        lacking: defaultdict[str, list[str]] = defaultdict(list)
        for column, cell in zip(columns, line.cells, strict=True):
            if cell.reason:
                lacking[cell.reason].append(column.name)
        for reason, names in lacking.items():
            cells[reason].setdefault("; ".join(names), []).append(line.label)
    for reason, holders in cells.items():
        where = " – ".join(f"{names} (of {', '.join(labels)})" for names, labels in holders.items())
        yield f"{reason}: {where}"
