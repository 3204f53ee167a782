"""What papers print beside what was measured: rows in a block of their own, never mixed with measured ones."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from wsolbench.leaderboard.grid import NOTHING, Cell, Grid, Head, Line
from wsolbench.leaderboard.model import Key, Row
from wsolbench.papers import PROPERTIES, PublishedNumber, find_published, published_numbers

Place = tuple[str, str, Key]
"""Dataset, backbone and metric of a column."""

TABLES: Mapping[str, str] = {
    **{f"table{number}": f"Table {number}" for number in range(2, 8)},
    "supplement1": "Supplement, Table 1",
}
"""Layout -> the table of the InCA paper that it is the layout of."""


def published_lines(places: Sequence[Place | None], tables: Collection[str] = ()) -> list[Line]:
    """Return a line for each row of a paper's table that has a number for one of the columns.

    Args:
        places: of the columns; None for one that no paper has, and a slice of the test images is in no paper.
        tables: only of the tables of these layouts; none: of all.
    """
    wanted = {TABLES[name] for name in tables}
    rows: dict[tuple[str, str, str], dict[Place, PublishedNumber]] = {}
    for number in published_numbers():
        place = (number.dataset, number.backbone, ("", number.metric))
        if number.kind != "delta" and place in places and (not wanted or number.table in wanted):
            rows.setdefault((number.source, _name(number), number.preset), {})[place] = number
    return [
        Line(
            label=name,
            kind="published",
            notes=_notes(source, found.values()),
            cells=tuple(_cell(found.get(place) if place else None) for place in places),
        )
        for (source, name, _), found in rows.items()
        if any(number.value is not None for number in found.values())
    ]


def printed_grid(layout: str, heading: str) -> Grid:
    """Return a table of the paper as it is printed, for a layout of which nothing was measured."""
    numbers = [number for number in published_numbers() if number.table == TABLES[layout]]
    columns = list(dict.fromkeys(number.column for number in numbers))
    rows: dict[str, dict[str, list[PublishedNumber]]] = {}
    for number in numbers:
        rows.setdefault(number.row, {}).setdefault(number.column, []).append(number)
    lines = [
        Line(
            label=row,
            kind="published",
            notes=_notes(numbers[0].source, [number for cell in cells.values() for number in cell]),
            cells=tuple(_printed_cell(cells.get(column, [])) for column in columns),
        )
        for row, cells in rows.items()
    ]
    return Grid(
        title=f"{heading}, as printed",
        stub="Method",
        heads=tuple(Head(title=column) for column in columns),
        lines=tuple(lines),
        caption=(f"{numbers[0].source}; nothing here was measured by us, misprints included.",),
        layout=layout,
    )


def _printed_cell(numbers: Sequence[PublishedNumber]) -> Cell:
    """Write a cell as printed, a difference in parentheses behind it."""
    own = [_cell(number) for number in numbers if number.kind != "delta"]
    deltas = "".join(f" ({number.printed})" for number in numbers if number.kind == "delta")
    return replace(own[0], rest=deltas) if own else Cell(text=deltas.strip())


def _name(number: PublishedNumber) -> str:
    """Return the method as printed, without the dataset and the backbone that some tables have in their rows."""
    words = number.row.split(", ")
    return words[1] if len(words) == 3 else number.row


def _notes(source: str, numbers: Collection[PublishedNumber]) -> tuple[str, ...]:
    """Say where a row is from and what holds for all of it."""
    shared = [name for name in PROPERTIES if all(name in number.properties for number in numbers)]
    return ("; ".join([source, *(PROPERTIES[name] for name in shared)]),)


def _cell(number: PublishedNumber | None) -> Cell:
    if number is None:
        return Cell(text="")
    notes = tuple(note for note in (number.note,) if note)
    if number.value is None:
        return Cell(text=NOTHING, notes=notes)
    return Cell(text=number.printed, value=number.value, notes=notes)


def published_twin(row: Row, key: Key) -> PublishedNumber | None:
    """Return the number that a paper prints for a row's metric, the most precise one; None without one.

    A row is that of a paper if its method, backbone and dataset are, and its preset where it has one. Maps that an
    extractor made, and slices, are in no paper.
    """
    part, metric = key
    if part or row.extractor:
        return None
    identity = row.records[0].identity
    preset = preset_of(row)
    found = find_published(
        dataset=identity["dataset"],
        backbone=identity["backbone"],
        method=row.method,
        metric=metric,
        preset=preset,
    )
    return found[0] if found else None


def preset_of(row: Row) -> str:
    """Return the preset that a row's command names; empty without one."""
    words = shlex.split(row.records[0].provenance.command)
    return words[words.index("--preset") + 1] if "--preset" in words[:-1] else ""
