"""Methods against datasets and backbones: which records share such a table, and Tables 4, 6 and 7 of the InCA paper."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from wsolbench.differences import flatten
from wsolbench.failures import Failure
from wsolbench.leaderboard.grid import NOTHING, Cell, Grid, Head, Line, row_cell, score_cell, with_difference
from wsolbench.leaderboard.model import PXAP, V2, Key, Leaderboard, Row, mean_score, rows_with_recipes
from wsolbench.leaderboard.published import printed_grid, published_lines, published_twin
from wsolbench.leaderboard.sections import Beside, row_notes
from wsolbench.record_schema import REFERENCE_ROW, Record, canonical

# --- which records share a table --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One dataset and backbone.

    Attributes:
        dataset: its name.
        variant: dataset with its options, as text.
        backbone: its name.
        rows: label -> the runs of one method there, sorted by label.
        nulls: label -> a null row there.
    """

    dataset: str
    variant: str
    backbone: str
    rows: Mapping[str, Row]
    nulls: Mapping[str, Row]

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


def wide_tables(records: Sequence[Record]) -> list[Wide]:
    """Sort records into the tables that have several datasets and backbones side by side.

    A dataset of which there are several versions (other options, another fingerprint of test, another evaluation size)
    gets a table for each of them; all datasets with a single version share one.
    """
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.trainable:
            groups[canonical(_about(record))].append(record)
    tables = []
    for _, members in sorted(groups.items()):
        versions: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for record in members:
            versions[record.identity["dataset"]][_version(record)].append(record)
        single = [found for found in versions.values() if len(found) == 1]
        joint = [record for found in single for group in found.values() for record in group]
        several = [found for found in versions.values() if len(found) > 1]
        for group in ([joint] if joint else []) + [found[key] for found in several for key in sorted(found)]:
            tables.append(Wide(about=_about(group[0]), places=_places(group, records)))
    return tables


def _about(record: Record) -> dict[str, str]:
    """Return what all cells of a table share, as text."""
    return {
        "protocol version": record.identity["protocol"],
        "normalisation": record.identity["recipe"].get("normalization", ""),
        "tuning": "" if record.tuned is None else f"{record.tuned.trials} trials for each method",
    }


def _version(record: Record) -> str:
    identity = record.identity
    size = identity["recipe"]["image_size"]
    return canonical([identity["dataset_options"], identity["fingerprints"].get("test"), size])


def _places(records: Iterable[Record], everything: Sequence[Record]) -> list[Place]:
    groups: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.identity["dataset"], record.identity["backbone"]].append(record)
    return [
        Place(
            dataset=dataset,
            variant=variant_name(members[0].identity),
            backbone=backbone,
            rows={row.label: row for row in rows_with_recipes(members)},
            nulls=_nulls(members[0], everything),
        )
        for (dataset, backbone), members in sorted(groups.items())
    ]


def variant_name(identity: Mapping[str, Any]) -> str:
    """Return the dataset's name with its options."""
    options = ", ".join(f"{name}={text}" for name, text in flatten(identity["dataset_options"]).items())
    return f"{identity['dataset']} ({options})" if options else str(identity["dataset"])


def _nulls(record: Record, everything: Iterable[Record]) -> dict[str, Row]:
    """Return the null rows that were scored on the same images in the same way, those with the finest maps."""

    def scored(each: Record) -> tuple[str, ...]:
        return each.identity["dataset"], _version(each), *[_about(each)[name] for name in list(_about(each))[:2]]

    alike = [null for null in everything if not null.trainable and scored(null) == scored(record)]
    finest = {null.identity["method"]: null for null in sorted(alike, key=lambda null: (null.map_size, null.run_id))}
    return {name: Row(label=name, records=(finest[name],)) for name in sorted(finest)}


# --- the grid ---------------------------------------------------------------------------------------------------------

Plan = Sequence[tuple[Place | None, Sequence[Place]]]
"""What each column is made of: a place, or the mean of several."""


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
        self.plan: list[tuple[Place | None, list[Place]]] = []
        self.heads: list[Head] = []
        for variant in dict.fromkeys(place.variant for place in wide.places):
            own = [place for place in wide.places if place.variant == variant]
            self.heads += [Head(group=variant, title=place.backbone) for place in own]
            self.plan += [(place, [place]) for place in own]
            if mean and len(own) > 1:
                self.heads.append(Head(group=variant, title="Mean"))
                self.plan.append((None, own))

    def grid(self) -> Grid:
        labels, published = self.wide.labels(), self.beside.published
        lines = self._ranked(sorted((self._line(label) for label in [*labels, *self._failed()]), key=_best_first))
        for name in sorted({name for place in self.wide.places for name in place.nulls}):
            lines.append(Line(label=name, kind="null", cells=self._cells(partial(_null, name, self.metric))))
        if published:
            lines += published_lines([(p.dataset, p.backbone, p.key(self.metric)) if p else None for p, _ in self.plan])
        tuning = self.wide.about["tuning"]
        return Grid(
            title=f"{self.heading}: {', '.join(dict.fromkeys(head.group for head in self.heads))}"
            + (f", {tuning}" if tuning else ""),
            stub="Method",
            heads=tuple(self.heads),
            lines=tuple(lines),
            caption=tuple(self._caption()),
            layout=self.name,
        )

    def _caption(self) -> list[str]:
        said = [
            f"{self.heading}, percent, all test images; mean ± sample standard deviation over seeds; best bold, second"
            f" best italic, of those that exceed {REFERENCE_ROW}'s and trained on labels alone.",
            ", ".join(f"{what} {text}" for what, text in self.wide.about.items() if text).capitalize() + ".",
        ]
        counts = sorted({row.n for place in self.wide.places for row in place.rows.values()})
        said.append(f"{counts[0] if len(counts) == 1 else f'{counts[0]} to {counts[-1]}'} seeds.")
        if any(place is None for place, _ in self.plan):
            said.append("Mean: over the backbones of a dataset.")
        if self.beside.published:
            said.append("In parentheses: measured minus published, of what the footnote names.")
        return said

    def _failed(self) -> list[str]:
        """Return the methods that failed here and have no record here."""
        known = {row.method for place in self.wide.places for row in place.rows.values()}
        failed = {f.identity["method"] for f in self.beside.failures if any(_belongs(f, p) for p in self.wide.places)}
        return sorted(failed - known)

    def _line(self, label: str) -> Line:
        rows = [place.rows[label] for place in self.wide.places if label in place.rows]
        notes = tuple(dict.fromkeys(note for row in rows for note in row_notes(row)))
        return Line(label=label, notes=notes, cells=self._cells(lambda place: self._cell(label, place)))

    def _cells(self, of_place: Callable[[Place], Cell]) -> tuple[Cell, ...]:
        """Make a line's cells: one for each place, and the mean over a dataset's backbones where all have a number."""
        made = []
        for place, own in self.plan:
            if place is not None:
                made.append(of_place(place))
                continue
            values = [value for each in own if (value := of_place(each).value) is not None]
            missing = "" if len(values) == len(own) else "not for every backbone"
            score = None if missing else mean_score(values)
            made.append(score_cell(None if score is None else replace(score, std=None), reason=missing))
        return tuple(made)

    def _cell(self, label: str, place: Place) -> Cell:
        row, key = place.rows.get(label), place.key(self.metric)
        if row is None:
            return Cell(text=NOTHING, notes=(self._why_empty(label.partition(" (")[0], place),))
        cell = row_cell(row, key)
        twin = published_twin(row, key) if self.beside.published and place.variant == place.dataset else None
        return with_difference(cell, twin.value, f"minus {twin.printed}: {twin.source}") if twin else cell

    def _why_empty(self, method: str, place: Place) -> str:
        for failure in self.beside.failures:
            if _belongs(failure, place) and failure.identity["method"] == method:
                return f"failed: {failure.error}"
        versions = {
            record.identity["protocol"]
            for record in self.board.records
            if record.identity["method"] == method
            and record.identity["backbone"] == place.backbone
            and variant_name(record.identity) == place.variant
        } - {self.wide.about["protocol version"]}
        if versions:
            return f"recorded under protocol version {', '.join(sorted(versions))} only"
        return "not run"

    def _ranked(self, lines: Sequence[Line]) -> list[Line]:
        """Mark the best and the second best of each column, as :func:`~wsolbench.leaderboard.sections.mark` does."""
        supervised = {label for place in self.wide.places for label, row in place.rows.items() if row.supervision}
        cells = [list(line.cells) for line in lines]
        for column, (place, _) in enumerate(self.plan):
            floor = _null(REFERENCE_ROW, self.metric, place).value if place else None
            means = [
                None if line.label in supervised or (value := own[column].value) is None else round(value, 2)
                for line, own in zip(lines, cells, strict=True)
            ]
            known = {mean for mean in means if mean is not None and (floor is None or mean > round(floor, 2))}
            best = sorted(known, reverse=True)[:2] if sum(mean is not None for mean in means) > 1 else []
            for own, mean in zip(cells, means, strict=True):
                if mean in best:
                    own[column] = replace(own[column], rank=best.index(mean) + 1)
        return [replace(line, cells=tuple(own)) for line, own in zip(lines, cells, strict=True)]


def _null(label: str, metric: str, place: Place) -> Cell:
    return row_cell(place.nulls[label], place.key(metric)) if label in place.nulls else Cell(text="")


def _best_first(line: Line) -> tuple[bool, float, str]:
    """Sort by the mean over the columns; a line with an empty one after those without."""
    values = [cell.value for cell in line.cells if cell.value is not None]
    mean = math.fsum(values) / len(values) if values else 0.0
    return len(values) < len(line.cells), -mean, line.label


def _belongs(failure: Failure, place: Place) -> bool:
    return failure.identity["backbone"] == place.backbone and variant_name(failure.identity) == place.variant
