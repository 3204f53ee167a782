"""What papers print beside what was measured: rows in a block of their own, never mixed with measured ones."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from wsolbench.leaderboard.grid import NOTHING, Cell, Grid, Head, Line, with_difference
from wsolbench.leaderboard.model import NO_BACKBONE
from wsolbench.leaderboard.rows import Key, Row
from wsolbench.leaderboard.variants import presets_of
from wsolbench.papers import PROPERTIES, PublishedNumber, find_published, published_numbers

InPapers = tuple[str, tuple[str, ...], Key]
"""Dataset, backbones and metric of a column; of several backbones it is the mean."""

TABLES: Mapping[str, str] = {
    **{f"table{number}": f"Table {number}" for number in range(2, 8)},
    "supplement1": "Supplement, Table 1",
}
"""Layout -> the table of the InCA paper that it is the layout of."""


def published_lines(places: Sequence[InPapers | None], tables: Collection[str] = ()) -> list[Line]:
    """Return a line for each row of a paper's table that has a number for one of the columns.

    Args:
        places: of the columns; None for one that no paper has, and a slice of the test images is in no paper.
        tables: only of the tables of these layouts; none: of all but the ablations, which have layouts of their own.
    """
    wanted = {TABLES[name] for name in tables}
    rows: defaultdict[tuple[str, str, str], dict[int, PublishedNumber]] = defaultdict(dict)
    for number in published_numbers():
        if number.kind != "delta" and (number.table in wanted if wanted else not number.preset):
            for column, place in enumerate(places):
                if place and _is_of(number, place):
                    rows[number.source, _name(number), number.preset][column] = number
    return [
        Line(
            label=name,
            kind="published",
            notes=_notes(source, found.values()),
            cells=tuple(_cell(found.get(column)) for column in range(len(places))),
        )
        for (source, name, _), found in rows.items()
        if any(number.value is not None for number in found.values())
    ]


def _is_of(number: PublishedNumber, place: InPapers) -> bool:
    """Whether a number belongs in a column; a null row's in those of every backbone."""
    dataset, backbones, key = place
    if number.dataset != dataset or key != ("", number.metric):
        return False
    if not number.backbone:  # a mean over the backbones that its own row has
        return _printed_backbones(number) == {*backbones}
    return number.backbone == NO_BACKBONE or backbones == (number.backbone,)


def _printed_backbones(mean: PublishedNumber) -> set[str]:
    """Return the backbones that a printed mean is over."""
    return {
        number.backbone
        for number in published_numbers()
        if number.backbone
        and number.value is not None
        and (number.source, number.row, number.dataset) == (mean.source, mean.row, mean.dataset)
    }


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


def beside_published(cell: Cell, row: Row, key: Key) -> Cell:
    """Append the difference from what a paper prints for a row's metric to its cell, and say which paper."""
    twin = published_twin(row, key)
    return with_difference(cell, twin.value, _minus(twin)) if twin else cell


def beside_published_mean(cell: Cell, rows: Sequence[Row], metric: str) -> Cell:
    """Append the difference from a printed mean over the same backbones to a mean over rows, and say which paper."""
    identities = [row.records[0].identity for row in rows]
    own = (rows[0].method, identities[0]["dataset"], metric)
    plain = all(presets_of(each)[:1] == [""] and not each["dataset_options"] for each in identities)
    for number in published_numbers() if plain and not any(row.extractor for row in rows) else ():
        alike = number.kind == "mean" and not number.backbone and (number.method, number.dataset, number.metric) == own
        if alike and _printed_backbones(number) == {each["backbone"] for each in identities}:
            return with_difference(cell, number.value, _minus(number))
    return cell


def _minus(number: PublishedNumber) -> str:
    return f"in parentheses: minus what is printed in {_notes(number.source, [number])[0]}"


def published_twin(row: Row, key: Key) -> PublishedNumber | None:
    """Return the number that a paper prints for a row's metric, the most precise one; None without one.

    A row is that of a paper if its method, backbone and dataset are; an ablated InCA is that of the ablation. Maps that
    an extractor made, slices, and parts of a dataset (its options) are in no paper.
    """
    part, metric = key
    identity = row.records[0].identity
    if part or row.extractor or identity["dataset_options"]:
        return None
    where = {"dataset": identity["dataset"], "backbone": identity["backbone"], "method": row.method, "metric": metric}
    found = (number for preset in presets_of(identity) for number in find_published(**where, preset=preset))
    return next(found, None)
