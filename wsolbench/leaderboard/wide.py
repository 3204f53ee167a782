"""Methods against datasets and backbones: which records share such a table, and Tables 4, 6 and 7 of the InCA paper."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from wsolbench.differences import flatten
from wsolbench.failures import Failure
from wsolbench.leaderboard.grid import NOTHING, Cell, Grid, Head, Line, row_cell, score_cell
from wsolbench.leaderboard.missing import failure_notes, recorded_elsewhere, settings_text
from wsolbench.leaderboard.model import PXAP, V2, Leaderboard, rows_apart, system_of
from wsolbench.leaderboard.published import (
    InPapers,
    beside_published,
    beside_published_mean,
    printed_grid,
    published_lines,
)
from wsolbench.leaderboard.rows import Key, Row, Score
from wsolbench.leaderboard.sections import Beside, ranked, row_notes
from wsolbench.protocols import NORMALIZATION
from wsolbench.record_schema import REFERENCE_ROW, Record, canonical

# --- which records share a table --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One dataset and backbone.

    Attributes:
        example: the identity of one of its records.
        rows: label -> the runs of one method there, sorted by label.
        nulls: label -> a null row there.
    """

    example: Mapping[str, Any]
    rows: Mapping[str, Row]
    nulls: Mapping[str, Row]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.example["dataset"])

    @property
    def variant(self) -> str:
        """The dataset with its options, as text."""
        return variant_name(self.example)

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return str(self.example["backbone"])

    def key(self, metric: str) -> Key:
        """Return the key of a metric here: PxAP for V2 where there are masks."""
        masks = metric == V2 and any(PXAP in record.metrics for row in self.rows.values() for record in row.records)
        return ("", PXAP if masks else metric)


@dataclass(frozen=True, kw_only=True, eq=False)
class Wide:
    """The places that share a table: one protocol, one budget of tuning, and of each dataset one version only.

    Attributes:
        about: what they share: name -> text, empty where it goes without saying.
        places: sorted by dataset and backbone.
    """

    about: Mapping[str, str]
    places: Sequence[Place]

    def labels(self) -> list[str]:
        """Return the label of every method, sorted."""
        return sorted({label for place in self.places for label in place.rows})

    def variants(self) -> list[list[Place]]:
        """Return the places of each dataset."""
        return [list(own) for _, own in groupby(self.places, key=lambda place: place.variant)]

    def said(self) -> list[str]:
        """Return the sentences that say what all numbers share."""
        shared = ", ".join(f"{what} {text}" for what, text in self.about.items() if text)
        data = [
            ", ".join([f"{own[0].variant} {_side(own[0].example)} px", *_splits(own[0].example)])
            for own in self.variants()
        ]
        return [f"{shared[0].upper()}{shared[1:]}.", f"Data: {'; '.join(data)}."]


def wide_tables(records: Sequence[Record]) -> list[Wide]:
    """Sort records into the tables that have several datasets and backbones side by side.

    A dataset of which there are several versions (other options, fingerprints or evaluation size) gets a table for each
    of them; all datasets with a single version share one.
    """
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.trainable:
            groups[canonical(_about(record))].append(record)
    nulls = [record for record in records if not record.trainable]
    tables = []
    for _, members in sorted(groups.items()):
        versions: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for record in members:
            versions[record.identity["dataset"]][_version(record.identity)].append(record)
        single = [found for found in versions.values() if len(found) == 1]
        joint = [record for found in single for group in found.values() for record in group]
        several = [found for found in versions.values() if len(found) > 1]
        apart = [group for found in several for _, group in sorted(found.items(), key=_whole_first)]
        for group in [joint, *apart] if joint else apart:
            tables.append(Wide(about=_about(group[0]), places=_places(group, nulls)))
    return tables


def _whole_first(version: tuple[str, list[Record]]) -> tuple[str, str]:
    return variant_name(version[1][0].identity), version[0]


def _about(record: Record) -> dict[str, str]:
    """Return what all cells of a table share, as text."""
    tuning = "" if record.tuned is None else f"{record.tuned.trials} trials for each method"
    return {**_scored_by(record.identity), "tuning": tuning}


def _scored_by(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return how maps became numbers, as text."""
    normalization = identity["recipe"].get("normalization", NORMALIZATION)
    return {"protocol version": identity["protocol"], "normalisation": normalization}


def _version(identity: Mapping[str, Any]) -> str:
    return canonical([identity["dataset_options"], identity["fingerprints"], _side(identity)])


def _side(identity: Mapping[str, Any]) -> int:
    side: int = identity["recipe"]["image_size"]
    return side


def _splits(identity: Mapping[str, Any]) -> list[str]:
    return [f"{split} {text}" for split, text in sorted(identity["fingerprints"].items())]


def _places(records: Iterable[Record], nulls: Iterable[Record]) -> list[Place]:
    groups: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.identity["dataset"], record.identity["backbone"]].append(record)
    return [
        Place(
            example=members[0].identity,
            rows={row.label: row for row in rows_apart(members)},
            nulls=_nulls(members[0].identity, nulls),
        )
        for _, members in sorted(groups.items())
    ]


def variant_name(identity: Mapping[str, Any]) -> str:
    """Return the dataset's name with its options."""
    options = ", ".join(f"{name}={text}" for name, text in flatten(identity["dataset_options"]).items())
    return f"{identity['dataset']} ({options})" if options else str(identity["dataset"])


def _nulls(identity: Mapping[str, Any], nulls: Iterable[Record]) -> dict[str, Row]:
    """Return the null rows that were scored on the same images in the same way, those with the finest maps."""
    alike = [null for null in nulls if _same_images(null.identity, identity)]
    finest = {null.identity["method"]: null for null in sorted(alike, key=lambda null: (null.map_size, null.run_id))}
    return {name: Row(label=name, records=(finest[name],)) for name in sorted(finest)}


def _same_images(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether something was scored on the images of a place in its way; splits that it does not name do not matter."""
    named = {split: text for split, text in theirs["fingerprints"].items() if split in mine["fingerprints"]}
    return (
        mine["dataset"] == theirs["dataset"]
        and _scored_by(mine) == _scored_by(theirs)
        and _version(mine) == _version({**theirs, "fingerprints": named})
    )


# --- the grid ---------------------------------------------------------------------------------------------------------


def wide_layout(name: str, heading: str, metric: str, *, mean: bool) -> Callable[[Leaderboard, Beside], list[Grid]]:
    """Return a layout with a line for each method and a column for each dataset and backbone.

    Args:
        name: of the layout.
        heading: what the numbers are.
        metric: key as in records.
        mean: whether a column holds the mean over the backbones of a dataset.
    """

    def lay_out(board: Leaderboard, beside: Beside) -> list[Grid]:
        tables = wide_tables(board.records)
        made = [_Layout(wide, name, heading, metric, mean, board, beside).grid() for wide in tables]
        if beside.published and not any(line.kind == "published" for grid in made for line in grid.lines):
            made.append(printed_grid(name, heading))
        return made

    return lay_out


class _Layout:
    """One table in the making: what every cell needs to know."""

    def __init__(  # noqa: PLR0913
        self, wide: Wide, name: str, heading: str, metric: str, mean: bool, board: Leaderboard, beside: Beside
    ) -> None:
        self.wide, self.name, self.heading, self.metric = wide, name, heading, metric
        self.board, self.beside = board, beside
        self.plan: list[list[Place]] = []
        self.heads: list[Head] = []
        for own in wide.variants():
            pixels = own[0].key(metric)[1] == PXAP
            group = own[0].variant + (", PxAP" if pixels and metric != PXAP else "")
            self.heads += [Head(group=group, title=place.backbone) for place in own]
            self.plan += [[place] for place in own]
            if mean and len(own) > 1:
                self.heads.append(Head(group=group, title="Mean"))
                self.plan.append(own)
        self.systems = {
            label: system_of(row.records[0].identity) for place in wide.places for label, row in place.rows.items()
        }

    def grid(self) -> Grid:
        lines = self._ranked(sorted(map(self._line, [*self.wide.labels(), *self._failed()]), key=_best_first))
        for name in sorted({name for place in self.wide.places for name in place.nulls}):
            lines.append(Line(label=name, kind="null", cells=self._cells(partial(self._null, name))))
        if self.beside.published:
            lines += published_lines([self._in_papers(own) for own in self.plan])
        tuning = self.wide.about["tuning"]
        groups = ", ".join(own[0].variant for own in self.wide.variants())
        return Grid(
            title=f"{self.heading}: {groups}{', ' if tuning else ''}{tuning}",
            stub="Method",
            heads=tuple(self.heads),
            lines=tuple(lines),
            caption=tuple(self._caption()),
            layout=self.name,
        )

    def _in_papers(self, own: Sequence[Place]) -> InPapers | None:
        """Return what papers call a column; no paper has a part of a dataset."""
        if own[0].example["dataset_options"]:
            return None
        return own[0].dataset, tuple(place.backbone for place in own), own[0].key(self.metric)

    def _caption(self) -> list[str]:
        counts = sorted({row.n for place in self.wide.places for row in place.rows.values()})
        seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
        return [
            f"{self.heading}, percent, all test images; mean ± sample standard deviation over seeds ({seeds}); best"
            f" bold, second best italic, of those that exceed {REFERENCE_ROW}'s and trained on labels alone.",
            *(["PxAP where there are masks."] if any("PxAP" in head.group for head in self.heads) else []),
            *(["Mean: over the backbones of a dataset."] if any(len(own) > 1 for own in self.plan) else []),
            *self.wide.said(),
            *(["In parentheses: measured minus published."] if self.beside.published else []),
        ]

    def _failed(self) -> list[str]:
        """Return the methods that failed here and have no record here."""
        failed = {
            system_of(f.identity) for f in self.beside.failures if any(self._here(f, p) for p in self.wide.places)
        }
        return sorted(failed - {*self.systems.values()})

    def _here(self, failure: Failure, place: Place) -> bool:
        """Whether a run would have stood in a column; which budget it was tuned with is not known of a failure."""
        alike = failure.identity["backbone"] == place.backbone and _same_images(failure.identity, place.example)
        return alike and not self.wide.about["tuning"]

    def _line(self, label: str) -> Line:
        rows = [place.rows[label] for place in self.wide.places if label in place.rows]
        notes = tuple(dict.fromkeys(note for row in rows for note in row_notes(row)))
        return Line(label=label, notes=notes, cells=self._cells(partial(self._cell, label), label))

    def _cells(self, of_place: Callable[[Place], Cell], label: str = "") -> tuple[Cell, ...]:
        """Make a line's cells: one for each place, and the mean over a dataset's backbones where all have a number."""
        made = []
        for own in self.plan:
            cells = [of_place(place) for place in own]
            made.append(cells[0] if len(own) == 1 else self._mean(cells, own, label))
        return tuple(made)

    def _mean(self, cells: Sequence[Cell], own: Sequence[Place], label: str) -> Cell:
        values = [cell.value for cell in cells if cell.value is not None]
        if len(values) < len(cells):
            return score_cell(None, reason="not for every backbone")
        cell = score_cell(Score(mean=math.fsum(values) / len(values), std=None, n=len(values)))
        rows = [place.rows[label] for place in own if label in place.rows]
        cell = beside_published_mean(cell, rows, own[0].key(self.metric)[1]) if self.beside.published and rows else cell
        return replace(cell, n=None)  # of backbones, not of seeds

    def _cell(self, label: str, place: Place) -> Cell:
        row, key = place.rows.get(label), place.key(self.metric)
        if row is None:
            return Cell(text=NOTHING, notes=self._why_empty(self.systems.get(label, label), place))
        own = settings_text(row.records[0].identity)
        cell = row_cell(row, key)
        lost = failure_notes(f for f in self.beside.failures if settings_text(f.identity) == own)
        cell = replace(cell, notes=(*cell.notes, *lost))
        return beside_published(cell, row, key) if self.beside.published else cell

    def _null(self, label: str, place: Place) -> Cell:
        if label not in place.nulls:
            return Cell(text="")
        row, key = place.nulls[label], place.key(self.metric)
        return beside_published(row_cell(row, key), row, key) if self.beside.published else row_cell(row, key)

    def _why_empty(self, system: str, place: Place) -> tuple[str, ...]:
        """Say why a method has no record in a column."""
        failed = [f for f in self.beside.failures if system_of(f.identity) == system and self._here(f, place)]
        if failed:
            return failure_notes(failed)
        alike = (
            record
            for record in self.board.records
            if system_of(record.identity) == system
            and record.identity["backbone"] == place.backbone
            and variant_name(record.identity) == place.variant
        )
        return (recorded_elsewhere(alike, self.wide.about["protocol version"]),)

    def _ranked(self, lines: Sequence[Line]) -> list[Line]:
        """Mark the best and the second best of each column, as :func:`~wsolbench.leaderboard.sections.mark` does."""
        supervised = {label for place in self.wide.places for label, row in place.rows.items() if row.supervision}
        floors = self._cells(partial(self._null, REFERENCE_ROW))
        cells = [list(line.cells) for line in lines]
        for column, floor in enumerate(floors):
            means = {
                line.label: round(value, 2)
                for line, own in zip(lines, cells, strict=True)
                if line.label not in supervised and (value := own[column].value) is not None
            }
            ranks = ranked(means, -math.inf if floor.value is None else round(floor.value, 2))
            for line, own in zip(lines, cells, strict=True):
                own[column] = replace(own[column], rank=ranks.get(line.label, 0))
        return [replace(line, cells=tuple(own)) for line, own in zip(lines, cells, strict=True)]


def _best_first(line: Line) -> tuple[bool, float, str]:
    """Sort by the mean over the columns; a line with an empty one after those without."""
    values = [cell.value for cell in line.cells if cell.value is not None]
    mean = math.fsum(values) / len(values) if values else 0.0
    return len(values) < len(line.cells), -mean, line.label
