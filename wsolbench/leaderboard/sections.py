"""The layouts of one dataset and backbone: what the numbers are, one IoU criterion at a time, and what they cost."""

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wsolbench.differences import flatten
from wsolbench.failures import Failure
from wsolbench.leaderboard.grid import Cell, Grid, Head, Line, row_cell, score_cell, signed, text_cell, with_difference
from wsolbench.leaderboard.model import PXAP, V2, Key, Leaderboard, Row, Section, Table, mean_score, shared_of_all
from wsolbench.leaderboard.published import published_lines, published_twin
from wsolbench.protocols import SEEDS_FOR_A_CLAIM, smallest_difference
from wsolbench.record_schema import REFERENCE_ROW, Record


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the printed table.

    Attributes:
        title: what stands above it.
        key: the number it shows.
        group: what it shares with its neighbours.
    """

    title: str
    key: Key
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the rows of a table stand to a baseline, in the metric that ranks them.

    Attributes:
        baseline: label of its row.
        ranks: label -> 95 % interval of the rank.
        differences: label -> row minus baseline, its 95 % interval, and 1 or -1 where it may be claimed, else 0.
        unclear: labels of rows that the null row's interval does not let rank.
        said: sentences for the caption; without ranks: why there are none.
    """

    baseline: str
    ranks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    differences: Mapping[str, tuple[float, tuple[float, float], int]] = field(default_factory=dict)
    unclear: frozenset[str] = frozenset()
    said: tuple[str, ...] = ()


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


SPLITS = ("test", "train-fullsup")
SLICE = "boxes_5_50"
FULLSUP = "_fullsup"
COLUMNS = (
    Column(title="Top-1 Cls", key=("", "top1_cls")),
    Column(title="Top-1 Loc", key=("", "top1_loc")),
    Column(title="Top-1 Loc (fullsup t)", key=("", "top1_loc_fullsup")),
    Column(title="GT-known", key=("", "gt_known")),
    Column(title="GT-known (fullsup t)", key=("", "gt_known_fullsup")),
    Column(title="V2", key=("", V2)),
    Column(title="V2 (fullsup t)", key=("", "max_box_acc_v2_fullsup")),
    Column(title="V2, boxes 5–50 %", key=(SLICE, V2)),
    Column(title="PxAP", key=("", PXAP)),
)


def _pair(group: str, name: str) -> tuple[Column, Column]:
    """Return a metric's oracle and, beside it, its threshold frozen on train-fullsup."""
    return (
        Column(group=group, title="oracle", key=("", name)),
        Column(group=group, title="fullsup t", key=("", name + FULLSUP)),
    )


CRITERIA = (
    *(column for d in (30, 50, 70) for column in _pair(f"IoU ≥ 0.{d // 10}", f"{V2}_iou{d}")),
    *_pair("V2", V2),
    *_pair("V1", "max_box_acc"),
    Column(group="t = 0.2", title="GT-known", key=("", "gt_known_at_0.2")),
    Column(group="t = 0.2", title="Top-1 Loc", key=("", "top1_loc_at_0.2")),
    Column(group="Top-5", title="Cls", key=("", "top5_cls")),
    Column(group="Top-5", title="Loc", key=("", "top5_loc")),
)


# --- what every layout says -------------------------------------------------------------------------------------------


def columns(table: Table) -> list[Column]:
    """Return the columns for which some row has a number or a reason for having none.

    The column that ranks the rows comes first among those of localisation, which are of boxes or of masks.
    """
    ranking = headline(table)
    known = COLUMNS if ranking in COLUMNS else (*COLUMNS, ranking)
    alike = [column for column in known if _of_classes(column) or _of_masks(column) == _of_masks(ranking)]
    return sorted(_mentioned(alike, table), key=lambda column: (not _of_classes(column), column != ranking))


def _mentioned(known: Iterable[Column], table: Table) -> list[Column]:
    rows = (*table.rows, *table.nulls)
    return [column for column in known if any(row.mentions(column.key) for row in rows)]


def _of_classes(column: Column) -> bool:
    return column.key[1].endswith("_cls")


def _of_masks(column: Column) -> bool:
    return column.key[1] == PXAP


def headline(table: Table) -> Column:
    """Return the column that ranks the rows."""
    key = table.section.headline
    return next((column for column in COLUMNS if column.key == key), Column(title=f"V2, {key[0]}", key=key))


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
        if _of_masks(ranking)
        else "Localisation columns are oracles: their threshold t is the best one on test itself.",
    ]
    if any(column.key[1].endswith(FULLSUP) for column in shown):
        parts.append(f"fullsup t: the threshold was chosen on train-fullsup ({images['train-fullsup']}) and frozen.")
    inside = [count for row in (*table.rows, *table.nulls) if (count := row.images(SLICE)) is not None]
    if inside:
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
    if len(means) < 2:
        return {}
    floor = max(_means(_reference(table), key).values(), default=-math.inf)
    means = {label: mean for label, mean in means.items() if mean > floor and label not in without}
    best = sorted(set(means.values()), reverse=True)[:2]
    return {label: best.index(mean) + 1 for label, mean in means.items() if mean in best}


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
    shown, standing = columns(table), beside.standings.get(table.section.key, Standing(baseline=""))
    extra = [Head(title=f"against {standing.baseline}, 95 %"), Head(title="rank, 95 %")] if standing.ranks else []

    def more(row: Row) -> list[Cell]:
        return _standing_cells(row, standing) if extra else []

    said = [caption(table), *standing.said]
    return [_scored(table, shown, beside, more=more, extra=extra, said=said, layout="main")]


def criteria_layout(table: Table, beside: Beside) -> list[Grid]:
    """Lay out one IoU criterion after the other, the largest contour (V1), the fixed threshold, Top-5."""
    parts = [_mentioned(CRITERIA, table)]
    slice_name = table.section.headline[0]
    if slice_name:
        inside = [
            Column(title=column.title, group=column.group, key=(slice_name, column.key[1])) for column in CRITERIA[:8]
        ]
        parts.append(_mentioned(inside, table))
    said = [
        "V2: all contours, the mean over the three IoU criteria of the best accuracy over thresholds. V1: the largest"
        " contour, IoU ≥ 0.5. t = 0.2: the largest contour at that threshold, which is what older papers report.",
        f"oracle: the best threshold on test; fullsup t: frozen on train-fullsup. Protocol version"
        f" {table.section.protocol}.",
    ]
    grids = []
    for part in parts:
        name = part[0].key[0] if part else ""
        where = [f"Only the test images of the slice {name}."] if name else []
        if part:
            grids.append(_scored(table, part, beside, said=[*where, *said], layout="criteria", suffix=name))
    return grids


def cost_layout(table: Table, beside: Beside) -> list[Grid]:
    """Lay out what the runs cost: size of the network, speed of training, time, memory, and the search before it."""
    if not table.rows:
        return []
    kind = table.rows[0].records[0].identity.get("device_type")
    minutes = {"cuda": "GPU minutes", "cpu": "CPU minutes"}.get(str(kind), "minutes")
    heads = [Head(title=text) for text in ("n", "parameters, M", "training images/s", minutes, "peak memory, MiB")]
    tuned = any(row.tuned for row in table.rows)
    if tuned:
        heads.append(Head(title=f"search, {minutes}"))
    lines = tuple(Line(label=row.label, cells=_cost_cells(row, tuned)) for row in table.rows)
    devices = sorted({record.provenance.device for row in table.rows for record in row.records})
    said = (
        "Mean ± sample standard deviation over n seeds; minutes are those of the whole run, scoring included, times the"
        f" number of devices. Measured on: {'; '.join(devices)}.",
        *(["search: what the trials of the study trained for, before the n runs."] if tuned else []),
    )
    return [_grid(table, heads, lines, said, layout="cost", what="cost")]


LAYOUTS: Mapping[str, Callable[[Table, Beside], list[Grid]]] = {
    "main": main_layout,
    "criteria": criteria_layout,
    "cost": cost_layout,
}
"""Layouts of one dataset and backbone."""


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
    standing = beside.standings.get(table.section.key, Standing(baseline=""))
    marks = {
        column.key: mark(table, column.key, standing.unclear if column.key == table.section.headline else ())
        for column in shown
    }
    twins = beside.published and not table.section.options

    def cell(row: Row, key: Key, ranked: bool) -> Cell:
        made = row_cell(row, key, marks[key].get(row.label, 0) if ranked else 0)
        twin = published_twin(row, key) if twins and row.n else None
        return with_difference(made, twin.value, f"minus {twin.printed}: {twin.source}") if twin else made

    lines = [
        Line(
            label=row.label,
            notes=row_notes(row),
            cells=(text_cell(str(row.n)), *more(row), *(cell(row, column.key, True) for column in shown)),
        )
        for row in table.rows
    ]
    blank = [text_cell("")] * len(extra)
    lines += [
        Line(
            label=row.label,
            kind="null",
            cells=(text_cell(str(row.n)), *blank, *(cell(row, column.key, False) for column in shown)),
        )
        for row in table.nulls
    ]
    said = [*said, *failed_sentences(table, beside.failures)]
    if beside.published:
        where = (table.section.dataset, table.section.backbone)
        found = published_lines([(*where, column.key) for column in shown]) if twins else []
        lines += [
            Line(label=line.label, kind="published", notes=line.notes, cells=(text_cell(""), *blank, *line.cells))
            for line in found
        ]
        said.append(
            "In parentheses: measured minus published, under another protocol where a footnote says so."
            if found
            else f"No published number in our collection is of {title(table.section)}."
        )
    heads = [Head(title="n"), *extra, *(Head(title=column.title, group=column.group) for column in shown)]
    return _grid(table, heads, tuple(lines), said, layout=layout, what=suffix)


def _grid(
    table: Table, heads: Sequence[Head], lines: tuple[Line, ...], said: Sequence[str], *, layout: str, what: str
) -> Grid:
    names = {"main": "", "criteria": "by criterion", "cost": ""}
    heading = ", ".join(text for text in (title(table.section), names[layout], what) if text)
    return Grid(title=heading, stub="Method", heads=tuple(heads), lines=lines, caption=tuple(said), layout=layout)


def _standing_cells(row: Row, standing: Standing) -> list[Cell]:
    low, high = standing.ranks.get(row.label, (0, 0))
    rank = text_cell(f"{low}–{high}" if low != high else str(low)) if low else text_cell("")
    if row.label not in standing.differences:
        return [text_cell("baseline" if row.label == standing.baseline else ""), rank]
    mean, (lower, upper), claim = standing.differences[row.label]
    sign = {1: " †", -1: " ‡", 0: ""}[claim]
    interval = f" [{lower:.2f}, {upper:.2f}]{sign}".replace("-", "−")
    return [Cell(text=signed(mean), rest=interval, value=mean), rank]


def _cost_cells(row: Row, tuned: bool) -> tuple[Cell, ...]:
    def cell(read: Callable[[Record], float | None], digits: int) -> Cell:
        values = [value for record in row.records if (value := read(record)) is not None]
        return score_cell(mean_score(values), reason="" if values else "not recorded", digits=digits, seeds=row.n)

    cells = [
        text_cell(str(row.n)),
        cell(lambda record: None if record.parameters is None else record.parameters / 1e6, 2),
        cell(lambda record: record.provenance.train_images_per_s, 0),
        cell(lambda record: record.provenance.wall_s / 60 * record.identity["recipe"].get("world_size", 1), 1),
        cell(lambda record: record.provenance.peak_memory_mb, 0),
    ]
    if tuned:
        cells.append(cell(lambda record: None if record.tuned is None else record.tuned.training_s / 60, 1))
    return tuple(cells)


def failed_sentences(table: Table, failures: Sequence[Failure]) -> list[str]:
    """Say which runs that belong into a table failed, and why."""
    records = [record for row in table.rows for record in row.records]
    if not records or table.section.map_size is None:
        return []
    alike = shared_of_all(records[0].identity)
    return [failed_sentence(failure) for failure in failures if shared_of_all(failure.identity) == alike]


def failed_sentence(failure: Failure) -> str:
    """Say which run failed, and why."""
    identity = failure.identity
    return f"Failed: {identity['method']}, seed {identity['recipe']['seed']} ({failure.run_id}): {failure.error}"


def unplaced_failures(board: Leaderboard, failures: Sequence[Failure]) -> list[str]:
    """Say which runs failed that belong into no table."""
    placed = {text for table in board.tables for text in failed_sentences(table, failures)}
    return [
        f"{failed_sentence(failure)} (on {failure.identity['dataset']}, {failure.identity['backbone']})"
        for failure in failures
        if failed_sentence(failure) not in placed
    ]
