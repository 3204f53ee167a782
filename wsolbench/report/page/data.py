"""Everything that the report's page shows, gathered from records, hits, kept maps and data into plain values.

The same files give the same values: nothing here knows the time of day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsolbench.data.places import Places
from wsolbench.differences import flatten
from wsolbench.errors import UserError
from wsolbench.leaderboard.model import Leaderboard, Table, build
from wsolbench.protocols import SplitScores
from wsolbench.record_schema import REFERENCE_ROW, Record
from wsolbench.records import load_records
from wsolbench.report.page.columns import COSTS, FOLDED, GROUPS, families
from wsolbench.report.page.pictures import PICTURE_BYTES, RULE, maps_of_row, pictures
from wsolbench.report.page.runs import behind
from wsolbench.report.page.scores import by_class, curves, read_test
from wsolbench.report.page.sets import Folders, ImageSet, choose_pictures, locate, open_sets
from wsolbench.report.page.tables import PrintedTable, print_table, row_ids, with_groups


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the template needs.

    Attributes:
        tables: as they are printed.
        header: facts about the whole page, name to text, in order.
        fingerprints: of the data, a line each: dataset, split, hash.
        skipped: a sentence for each file that was not used.
        notes: what is not in the page and how to get it in, a sentence each.
        data: JSON values for the page's own scripts.
        pictures: number of pictures in it.
    """

    tables: tuple[PrintedTable, ...]
    header: Mapping[str, str]
    fingerprints: tuple[tuple[str, str, str], ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    data: Mapping[str, Any]
    pictures: int


def gather(results: Path, places: Places, images: int) -> Page:
    """Collect what the page shows.

    Args:
        results: as for :func:`~wsolbench.records.record_files`.
        places: where the files of the datasets are, for those that read pictures, labels or boxes from there.
        images: number of pictures; 0: none.

    Raises:
        UserError: there is no such folder, no usable record in it, no such data root, or a picture is damaged.
    """
    if places.data_root is not None and not places.data_root.exists():
        raise UserError(f"--data-root {places.data_root} does not exist; expected the folder or archive of the images")
    records, warnings = load_records(results)
    if not records:
        raise UserError("; ".join(warnings[:5]) + (f"; and {len(warnings) - 5} more" if len(warnings) > 5 else ""))
    board, folders = build(records, warnings), locate(results, records)
    sets = open_sets(board, places)
    if images:
        choose_pictures(board, sets, folders, images)
    count = sum(len(each.chosen.indices) for each in sets if each.chosen is not None)
    printed = tuple(print_table(table, place) for place, table in enumerate(board.tables))
    return Page(
        tables=printed,
        header=_header(records),
        fingerprints=_fingerprints(board),
        skipped=tuple(board.warnings),
        notes=tuple(note for each in sets for note in each.notes),
        data=_data(board, printed, sets, folders, count),
        pictures=count,
    )


def _header(records: Sequence[Record]) -> dict[str, str]:
    """Return the facts that stand at the top."""
    runs = sum(record.trainable for record in records)
    return {
        "Protocol": ", ".join(sorted({f"version {record.identity['protocol']}" for record in records})),
        "Records": f"{len(records):,} ({runs:,} trained, {len(records) - runs:,} null rows)",
        "Newest record": max(record.provenance.finished for record in records)[:10],
        "Datasets": ", ".join(sorted({record.identity["dataset"] for record in records})),
    }


def _fingerprints(board: Leaderboard) -> tuple[tuple[str, str, str], ...]:
    """Return (dataset with its options, split, hash) of all data behind the tables."""
    found = set()
    for table in board.tables:
        section = table.section
        options = ", ".join(f"{name}={text}" for name, text in flatten(section.options).items())
        name = f"{section.dataset} ({options})" if options else section.dataset
        found |= {(name, split, text) for split, text in section.fingerprints.items()}
    return tuple(sorted(found))


# --- for the page's scripts -------------------------------------------------------------------------------------------


def _data(
    board: Leaderboard,
    printed: Sequence[PrintedTable],
    sets: Sequence[ImageSet],
    folders: Folders,
    count: int,
) -> dict[str, Any]:
    """Return the JSON values."""
    versions: dict[str, int] = {}
    homes = {place: index for index, each in enumerate(sets) for place in each.tables}
    return {
        "groups": GROUPS,
        "folded": FOLDED,
        "reference": REFERENCE_ROW,
        "tables": [
            {
                "id": printed[place].id,
                "title": printed[place].title,
                "set": homes[place],
                **_table_data(table, place, sets[homes[place]], folders, versions),
            }
            for place, table in enumerate(board.tables)
        ],
        "versions": list(versions),
        "sets": [_set_data(each, count) for each in sets],
        "rule": RULE,
    }


def _table_data(table: Table, place: int, home: ImageSet, folders: Folders, versions: dict[str, int]) -> dict[str, Any]:
    """Return the rows of a table, with what is behind them, their curves, classes and maps."""
    columns = [column for column, _ in with_groups(families(table))]
    rows = (*table.rows, *table.nulls)
    scores = _scores(table, folders)
    classes = None
    if home.dataset is not None:
        labels = home.dataset.images("test").labels
        classes = by_class(table, scores, labels, len(home.dataset.class_names))
    maps = {}
    if home.chosen is not None:
        kept = {index: maps_of_row(row, home.chosen, folders.maps) for index, row in enumerate(rows)}
        maps = {index: found for index, found in kept.items() if found is not None}
    return {
        "columns": [column.name for column in columns],
        "costs": [cost.name for cost in COSTS],
        "rows": [
            {"id": name, "null": index >= len(table.rows), **behind(row, columns, versions)}
            for index, (name, row) in enumerate(zip(row_ids(table, place), rows, strict=True))
        ],
        "curves": curves(table, scores),
        "classes": classes,
        "maps": maps,
    }


def _scores(table: Table, folders: Folders) -> dict[str, SplitScores]:
    """Read the hits on ``test`` of every run of a table, where they are there."""
    records = [record for row in (*table.rows, *table.nulls) for record in row.records]
    found = {record.run_id: read_test(folders.hits[record.run_id], record) for record in records}
    return {name: scores for name, scores in found.items() if scores is not None}


def _set_data(each: ImageSet, count: int) -> dict[str, Any]:
    """Return class names and pictures of a set of test images; its pictures take their share of the bytes."""
    shown: list[dict[str, Any]] = []
    if each.chosen is not None:
        shown = pictures(each.chosen, PICTURE_BYTES * len(each.chosen.indices) // count)
    return {
        "title": each.title,
        "classes": [] if each.dataset is None else list(each.dataset.class_names),
        "side": each.example.identity["recipe"]["image_size"],
        "masks": each.chosen is not None and each.chosen.annotations.masks is not None,
        "pictures": shown,
    }
