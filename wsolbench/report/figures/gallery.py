"""Every figure of every table: the main path of ``wsolbench figures``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsolbench.data.places import Places
from wsolbench.errors import UserError, unknown_name
from wsolbench.leaderboard.model import Leaderboard, Section, Table, build
from wsolbench.leaderboard.rows import Row
from wsolbench.leaderboard.sections import title
from wsolbench.records import load_records
from wsolbench.report.figures.kinds import KINDS
from wsolbench.report.figures.material import Material
from wsolbench.report.figures.saving import Drawing
from wsolbench.report.figures.sources import Shelf, Sources

IMAGES = 6
"""Images that methods are compared on, unless the user says otherwise."""

_LONGEST = 100  # characters of a folder's name


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to draw.

    Attributes:
        results: folder of the records, as for :func:`~wsolbench.records.load_records`.
        only: kinds of figures, of :data:`~wsolbench.report.figures.kinds.KINDS`; empty: all.
        dataset: its name; None: all.
        data_options: options that the dataset must have.
        methods: rows, by label or method; empty: all.
        images: number of images that methods are compared on.
        places: where the dataset's files are.
    """

    results: Path
    only: Sequence[str] = ()
    dataset: str | None = None
    data_options: Mapping[str, str]
    methods: Sequence[str] = ()
    images: int = IMAGES
    places: Places


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A drawing and the folder that its table's figures share."""

    folder: str
    drawing: Drawing


def draw_gallery(wanted: Wanted) -> Iterator[Placed | str]:
    """Draw the figures of every table.

    Args:
        wanted: what.

    Yields:
        A drawing, or a sentence on what was not drawn and why.

    Raises:
        UserError: there is no such folder, or a name in ``wanted`` that nothing has.
    """
    for name in wanted.only:
        if name not in KINDS:
            raise unknown_name("figure", name, KINDS)
    board = build(*load_records(wanted.results))
    tables = chosen_tables(board, wanted)
    folders = folder_names([table.section for table in tables])
    shelf = Shelf(wanted.results)
    for table, folder in zip(tables, folders, strict=True):
        sources = Sources(shelf, wanted.places, table.rows[0].records[0])
        yield from _draw_table(Material(table, sources, wanted.images), wanted.only or tuple(KINDS), folder)
    yield from board.warnings


def _draw_table(material: Material, names: Sequence[str], folder: str) -> Iterator[Placed | str]:
    """Draw the figures of one table; what could not be drawn for one reason is told in one sentence."""
    missing: dict[str, list[str]] = {}
    for name in names:
        try:
            for each in KINDS[name](material):
                yield each if isinstance(each, str) else Placed(folder=folder, drawing=each)
        except UserError as error:
            missing.setdefault(str(error), []).append(name)
    for reason, kinds in missing.items():
        yield f"{', '.join(kinds)} of {title(material.table.section)}: {reason}"


def chosen_tables(board: Leaderboard, wanted: Wanted) -> list[Table]:
    """Return the tables that are wanted, with the rows that are; those without a row are left out.

    Raises:
        UserError: nothing is left; says what there is.
    """
    tables = [table for table in board.tables if table.rows]
    if not tables:
        raise UserError("; ".join(board.warnings) or f"the records below '{wanted.results}' are null rows only")
    names = {table.section.dataset for table in tables}
    if wanted.dataset is not None and wanted.dataset not in names:
        raise unknown_name("dataset", wanted.dataset, names)
    tables = [table for table in tables if wanted.dataset in (None, table.section.dataset)]
    found = [table for table in tables if _has_options(table.section, wanted.data_options)]
    if not found:
        there = "; ".join(title(table.section) for table in tables)
        raise UserError(f"no table has the --data-option that was asked for; there are: {there}")
    rows = [row for table in found for row in table.rows]
    for name in wanted.methods:
        if not any(name in names_of(row) for row in rows):
            raise unknown_name("method", name, {row.label for row in rows})
    if wanted.methods:
        found = [replace(table, rows=_wanted_rows(table, wanted.methods)) for table in found]
    return [table for table in found if table.rows]


def _has_options(section: Section, options: Mapping[str, str]) -> bool:
    there = {name: str(value) for name, value in section.options.items()}
    return options.items() <= there.items()


def _wanted_rows(table: Table, names: Sequence[str]) -> tuple[Row, ...]:
    return tuple(row for row in table.rows if names_of(row) & set(names))


def names_of(row: Row) -> set[str]:
    """Return what a row may be asked for by: its label, that without what is in brackets, its method.

    A post-hoc row is not its method's: its maps are not what the method makes.
    """
    return {row.label, row.label.partition(" (")[0]} | (set() if row.extractor else {row.method})


def folder_names(sections: Sequence[Section]) -> list[str]:
    """Return a folder's name for each table, all different, made of its title."""
    plain = [re.sub(r"[^a-z0-9.]+", "-", title(section).lower().replace("×", "x")).strip("-.") for section in sections]
    return [
        name if plain.count(name) == 1 and len(name) <= _LONGEST else f"{name[:_LONGEST]}-{section.key[:8]}"
        for name, section in zip(plain, sections, strict=True)
    ]
