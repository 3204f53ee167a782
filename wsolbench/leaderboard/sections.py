"""The layouts of one dataset and backbone: what papers report, and one IoU criterion after the other."""

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wsolbench.differences import flatten
from wsolbench.failures import Failure
from wsolbench.leaderboard.columns import (
    CRITERIA,
    FULLSUP,
    SLICE,
    Column,
    columns,
    headline,
    mentioned,
    of_classes,
    of_masks,
)
from wsolbench.leaderboard.grid import NOTHING, Cell, Grid, Head, Line, row_cell, signed, text_cell
from wsolbench.leaderboard.missing import failure_notes, placed_failures
from wsolbench.leaderboard.model import PXAP, Section, Table
from wsolbench.leaderboard.published import beside_published, published_lines
from wsolbench.leaderboard.rows import Key, Row
from wsolbench.protocols import SEEDS_FOR_A_CLAIM, smallest_difference
from wsolbench.record_schema import REFERENCE_ROW


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the rows of a table stand to a baseline, in the metric that ranks them.

    Attributes:
        baseline: label of its row.
        ranks: label -> 95 % interval of the rank.
        differences: label -> row minus baseline, its 95 % interval, and 1 or -1 where it may be claimed, else 0.
        unclear: labels of rows that the null row's interval does not let rank.
        said: sentences for the caption; without ranks: why there are none.
        said_of_marks: sentences on rows that are not marked as best, for every table that has these rows.
    """

    baseline: str
    ranks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    differences: Mapping[str, tuple[float, tuple[float, float], int]] = field(default_factory=dict)
    unclear: frozenset[str] = frozenset()
    said: tuple[str, ...] = ()
    said_of_marks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a table shows beside its records.

    Attributes:
        published: show what papers print.
        standings: key of a section -> how its rows stand to a baseline.
        failures: runs that failed.
    """

    published: bool = False
    standings: Mapping[str, Standing] = field(default_factory=dict)
    failures: Sequence[Failure] = ()

    def standing(self, table: Table) -> Standing:
        """Return how the rows of a table stand to a baseline; nothing is known without one."""
        return self.standings.get(table.section.key, Standing(baseline=""))


SPLITS = ("test", "train-fullsup")


# --- what every layout says -------------------------------------------------------------------------------------------


def title(section: Section) -> str:
    """Return the table's title: dataset, backbone, sizes (height x width, pixels), and what tells it from its like."""
    options = ", ".join(f"{name}={text}" for name, text in flatten(section.options).items())
    return ", ".join(
        [
            f"{section.dataset} ({options})" if options else section.dataset,
            section.backbone if section.backbone != "none" else "no backbone",
            f"{section.image_size}×{section.image_size} px",
            f"{section.trials} trials each" if section.map_size is None else "maps {}×{}".format(*section.map_size),
            *(f"{name}={text}" for name, text in section.differences.items()),
        ]
    )


def caption(table: Table) -> str:
    """Return the sentences that say what the numbers are, in plain text."""
    return " ".join([*_what(table), *_how_many(table), _data(table.section)])


def _what(table: Table) -> list[str]:
    section, shown, ranking = table.section, columns(table), headline(table)
    images = {split: f"{section.images[split]:,} images" if split in section.images else "?" for split in SPLITS}
    below = f", nor means that do not exceed {REFERENCE_ROW}'s" if _reference(table) else ""
    supervised = any(row.supervision for row in table.rows)
    unranked = "null rows and rows that trained on boxes" if supervised else "null rows"
    parts = [
        f"Protocol version {section.protocol}, scored on test ({images['test']}).",
        "Percent, mean ± sample standard deviation over n seeds; best bold, second best italic,"
        f" {unranked} not ranked{below}.",
        *([f"Ranked by “{ranking.title}”."] if ranking in shown else []),
        "PxAP pools the pixels of all test images and has no threshold."
        if of_masks(ranking)
        else "Localisation columns are oracles: their threshold t is the best one on test itself.",
    ]
    if any(column.key[1].endswith(FULLSUP) for column in shown):
        parts.append(f"fullsup t: the threshold was chosen on train-fullsup ({images['train-fullsup']}) and frozen.")
    inside = [count for row in (*table.rows, *table.nulls) if (count := row.images(SLICE)) is not None]
    if inside and any(column.key[0] == SLICE for column in shown):
        parts.append(f"Boxes 5–50 %: the {inside[0]:,} test images whose boxes cover 5 to 50 % of the image.")
    return parts


def _how_many(table: Table) -> list[str]:
    """Say how many seeds there are and what they can tell."""
    counts, parts, ranking = sorted({row.n for row in table.rows}), [], headline(table)
    if len(counts) > 1:
        parts.append(f"n differs between rows ({counts[0]} to {counts[-1]}).")
    if counts and counts[0] < SEEDS_FOR_A_CLAIM:
        parts.append(f"Fewer than {SEEDS_FOR_A_CLAIM} seeds: differences between methods are not claims.")
    smallest = detectable(table, ranking.key)
    if smallest is not None:
        parts.append(
            f"With these seeds a difference from the best ranked row had to be {smallest:.2f} in “{ranking.title}” (the"
            " median row) to be found four times in five; `wsolbench compare` adds the images' share."
        )
    return parts


def _data(section: Section) -> str:
    return "Data: " + ", ".join(f"{split} {text}" for split, text in flatten(section.fingerprints).items()) + "."


def mark(table: Table, key: Key, without: Collection[str] = ()) -> dict[str, int]:
    """Rank the rows that have a metric: label -> 1 for the best, 2 for the second best.

    Rows that print the same mean share a rank. A single row is not ranked: it has beaten nobody. Nor is a row whose
    mean, as printed, does not exceed that of the ``center`` row (PROTOCOL: null rows), where it has the metric; nor one
    that trained on more than labels, nor one that is named in ``without``.
    """
    means = _means((row for row in table.rows if not row.supervision), key)
    return ranked(means, max(_means(_reference(table), key).values(), default=-math.inf), without)


def ranked(means: Mapping[str, float], floor: float, without: Collection[str] = ()) -> dict[str, int]:
    """Return label -> 1 for the best mean, 2 for the second best, of several that are above a floor and not left out.

    >>> ranked({"a": 50.0, "b": 50.0, "c": 40.0, "d": 30.0}, floor=35.0)
    {'a': 1, 'b': 1, 'c': 2}
    """
    able = {label: mean for label, mean in means.items() if mean > floor and label not in without}
    best = sorted({*able.values()}, reverse=True)[:2] if len(means) > 1 else []
    return {label: best.index(mean) + 1 for label, mean in able.items() if mean in best}


def detectable(table: Table, key: Key) -> float | None:
    """Return the smallest difference from the best row that the seeds could have shown, percentage points.

    Of one comparison, with a probability of 80 %; the median over the other rows that are ranked. Seeds are paired;
    None where no row has two in common with the first.
    """
    found, ranked = [], [row for row in table.rows if not row.supervision]
    for row in ranked[1:]:
        first, other = ranked[0].by_seed(key), row.by_seed(key)
        pairs = [other[seed] - first[seed] for seed in sorted(first.keys() & other.keys())]
        if len(pairs) > 1:
            sd = statistics.stdev(pairs)
            found.append(smallest_difference(len(pairs), sd / math.sqrt(len(pairs))))
    return statistics.median(found) if found else None


def _means(rows: Iterable[Row], key: Key) -> dict[str, float]:
    """Return label -> mean as printed, for the rows that have the metric."""
    return {row.label: round(score.mean, 2) for row in rows if (score := row.score(key)) is not None}


def _reference(table: Table) -> list[Row]:
    return [row for row in table.nulls if row.method == REFERENCE_ROW]


def row_notes(row: Row) -> tuple[str, ...]:
    """Say of a row that it trained on more than labels or was tuned, and how."""
    notes, used, tuned = [], row.supervision, row.tuned
    if used:
        masks = PXAP in row.records[0].metrics
        notes.append(
            f"not weakly supervised: trained on the {'masks' if masks else 'boxes'} of {used['train_images']:,} images"
            " of train-fullsup"
            + ("" if masks else f"; its thresholds were frozen on {used['threshold_images']:,} others of that split")
        )
    if tuned is not None:
        notes.append(str(tuned))
    return tuple(notes)


# --- layouts ----------------------------------------------------------------------------------------------------------


def main_layout(table: Table, beside: Beside) -> list[Grid]:
    """Lay out the numbers that papers report, oracle and frozen thresholds beside each other."""
    shown, standing = columns(table), beside.standing(table)
    extra = [Head(title=f"against {standing.baseline}, 95 %"), Head(title="rank, 95 %")] if standing.ranks else []

    def more(row: Row) -> list[Cell]:
        return _standing_cells(row, standing) if extra else []

    said = [caption(table), *standing.said, *standing.said_of_marks]
    return [_scored(table, shown, beside, more=more, extra=extra, said=said, layout="main")]


def criteria_layout(table: Table, beside: Beside) -> list[Grid]:
    """Lay out one IoU criterion after the other, the largest contour (V1), the fixed threshold, Top-5."""
    masks = of_masks(headline(table))
    parts = [mentioned((column for column in CRITERIA if of_classes(column) or not masks), table)]
    slice_name = table.section.headline[0]
    if slice_name:
        inside = [
            Column(title=column.title, group=column.group, key=(slice_name, column.key[1])) for column in CRITERIA[:8]
        ]
        parts.append(mentioned(inside, table))
    said = [
        "V2: all contours, the mean over the three IoU criteria of the best accuracy over thresholds. V1: the largest"
        " contour, IoU ≥ 0.5. t = 0.2: the largest contour at that threshold, which is what older papers report.",
        f"oracle: the best threshold on test; fullsup t: frozen on train-fullsup. Protocol version"
        f" {table.section.protocol}.",
        *beside.standing(table).said_of_marks,
    ]
    grids = []
    for part in parts:
        name = part[0].key[0] if part else ""
        where = [f"Only the test images of the slice {name}."] if name else []
        if part:
            suffix = f"by criterion, {name}" if name else "by criterion"
            grids.append(_scored(table, part, beside, said=[*where, *said], layout="criteria", suffix=suffix))
    return grids


def _scored(
    table: Table,
    shown: Sequence[Column],
    beside: Beside,
    *,
    said: Sequence[str],
    layout: str,
    more: Callable[[Row], list[Cell]] = lambda row: [],
    extra: Sequence[Head] = (),
    suffix: str = "",
) -> Grid:
    """Lay out metrics: a line for each row, null rows and, if asked for, what papers print."""
    unclear = beside.standing(table).unclear
    marks = {
        column.key: mark(table, column.key, unclear if column.key == table.section.headline else ()) for column in shown
    }
    failed = placed_failures(table, beside.failures)
    blank = [text_cell("")] * len(extra)
    lines = [
        Line(
            label=row.label,
            notes=(*row_notes(row), *failure_notes(failed.get(row.label, ()))),
            cells=(text_cell(str(row.n)), *more(row), *_metric_cells(row, marks, beside)),
        )
        for row in table.rows
    ]
    lines += failed_lines(table, failed, len(blank), len(shown))
    for row in table.nulls:
        cells = _metric_cells(row, dict.fromkeys(marks, {}), beside)
        lines.append(Line(label=row.label, kind="null", cells=(text_cell(str(row.n)), *blank, *cells)))
    if beside.published:
        printed = _printed(table.section, marks)
        lines += [replace(line, cells=(text_cell(""), *blank, *line.cells)) for line in printed]
        none = f"No published number in our collection is of {title(table.section)}."
        said = [*said, "In parentheses: measured minus published." if printed else none]
    heads = [Head(title="n"), *extra, *(Head(title=column.title, group=column.group) for column in shown)]
    return section_grid(table, heads, lines, said, layout=layout, what=suffix)


def _metric_cells(row: Row, marks: Mapping[Key, Mapping[str, int]], beside: Beside) -> list[Cell]:
    """Write a row's metrics; ``marks`` are the ranks of the rows in each."""
    cells = {key: row_cell(row, key, ranks.get(row.label, 0)) for key, ranks in marks.items()}
    return [beside_published(cell, row, key) if beside.published else cell for key, cell in cells.items()]


def _printed(section: Section, keys: Iterable[Key]) -> list[Line]:
    """Return what papers print of some metrics; nothing of a part of a dataset."""
    where = (section.dataset, (section.backbone,))
    return published_lines([None if section.options else (*where, key) for key in keys])


def failed_lines(table: Table, failed: Mapping[str, Sequence[Failure]], blank: int, empty: int) -> list[Line]:
    """Return a line for each configuration of which no seed came to a record: blank cells, then empty ones.

    Args:
        table: where they belong.
        failed: as :func:`~wsolbench.leaderboard.missing.placed_failures` gives them.
        blank: number of cells that are no number's.
        empty: number of cells whose number is missing.
    """
    rows = {row.label for row in table.rows}
    return [
        Line(
            label=label,
            cells=(
                text_cell("0"),
                *[text_cell("")] * blank,
                *[text_cell(NOTHING, failure_notes(found))] * empty,
            ),
        )
        for label, found in sorted(failed.items())
        if label not in rows
    ]


def section_grid(
    table: Table, heads: Sequence[Head], lines: Sequence[Line], said: Sequence[str], *, layout: str, what: str
) -> Grid:
    """Put the grid of a table together; ``what`` it shows stands behind the table's own title."""
    heading = ", ".join(text for text in (title(table.section), what) if text)
    return Grid(
        title=heading, stub="Method", heads=tuple(heads), lines=tuple(lines), caption=tuple(said), layout=layout
    )


def _standing_cells(row: Row, standing: Standing) -> list[Cell]:
    low, high = standing.ranks.get(row.label, (0, 0))
    rank = text_cell(f"{low}–{high}" if low != high else str(low)) if low else text_cell("")
    if row.label not in standing.differences:
        return [text_cell("baseline" if row.label == standing.baseline else ""), rank]
    mean, (lower, upper), claim = standing.differences[row.label]
    sign = {1: " †", -1: " ‡", 0: ""}[claim]
    interval = f" [{lower:.2f}, {upper:.2f}]{sign}".replace("-", "−")
    return [Cell(text=signed(mean), rest=interval, value=mean), rank]
