"""The leaderboard written down: markdown and CSV from the model, the generated files, and what is behind one record."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from wsolbench.differences import flatten
from wsolbench.errors import UserError
from wsolbench.files import atomic_write
from wsolbench.leaderboard_model import PXAP, V2, Key, Leaderboard, Row, Score, Section, Table, build
from wsolbench.protocols import SEEDS_FOR_A_CLAIM, smallest_difference
from wsolbench.record_schema import REFERENCE_ROW
from wsolbench.records import Record, Slice, load_records, record_files

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "Column",
    "Leaderboard",
    "Row",
    "Score",
    "Section",
    "Table",
    "build",
    "caption",
    "explain",
    "mark",
    "title",
    "to_csv",
    "to_frame",
    "to_markdown",
    "write_tables",
]

HEADER = "<!-- generated from records by `wsolbench leaderboard --write`; do not edit -->\n"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the printed table.

    Attributes:
        title: what stands above it.
        key: the number it shows.
    """

    title: str
    key: Key


SPLITS = ("test", "train-fullsup")
SLICE = "boxes_5_50"
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


# --- what every renderer says -----------------------------------------------------------------------------------------


def columns(table: Table) -> list[Column]:
    """Return the columns for which some row has a number or a reason for having none.

    The column that ranks the rows comes first among those of localisation, which are of boxes or of masks.
    """
    rows, ranking = (*table.rows, *table.nulls), headline(table)
    known = COLUMNS if ranking in COLUMNS else (*COLUMNS, ranking)
    alike = [column for column in known if _of_classes(column) or _of_masks(column) == _of_masks(ranking)]
    shown = [column for column in alike if any(row.mentions(column.key) for row in rows)]
    return sorted(shown, key=lambda column: (not _of_classes(column), column != ranking))


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
    section, shown, ranking = table.section, columns(table), headline(table)
    counts = sorted({row.n for row in table.rows})
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
    if any(column.key[1].endswith("_fullsup") for column in shown):
        parts.append(f"fullsup t: the threshold was chosen on train-fullsup ({images['train-fullsup']}) and frozen.")
    inside = [count for row in (*table.rows, *table.nulls) if (count := row.images(SLICE)) is not None]
    if inside:
        parts.append(f"Boxes 5–50 %: the {inside[0]:,} test images whose boxes cover 5 to 50 % of the image.")
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
    parts.append("Data: " + ", ".join(f"{split} {text}" for split, text in flatten(section.fingerprints).items()) + ".")
    return " ".join(parts)


def mark(table: Table, key: Key) -> dict[str, int]:
    """Rank the rows that have a metric: label -> 1 for the best, 2 for the second best.

    Rows that print the same mean share a rank. A single row is not ranked: it has beaten nobody. Nor is a row whose
    mean, as printed, does not exceed that of the ``center`` row (PROTOCOL: null rows), where it has the metric; nor one
    that trained on more than labels.
    """
    means = _means((row for row in table.rows if not row.supervision), key)
    if len(means) < 2:
        return {}
    floor = max(_means(_reference(table), key).values(), default=-math.inf)
    best = sorted({mean for mean in means.values() if mean > floor}, reverse=True)[:2]
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


# --- markdown ---------------------------------------------------------------------------------------------------------


def to_markdown(board: Leaderboard) -> str:
    """Write the tables in GitHub's markdown: title, table, footnotes for the absent metrics, caption; then warnings."""
    blocks = [_markdown_table(table) for table in board.tables]
    if board.warnings:
        blocks.append("Not shown:\n\n" + "\n".join(f"- {warning}" for warning in board.warnings))
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: Table) -> str:
    shown = columns(table)
    marks = {column.key: mark(table, column.key) for column in shown}
    notes: dict[str, int] = {}

    def line(row: Row, ranked: bool) -> list[str]:
        label = row.label.replace("|", "\\|") + _notes(row, notes)
        ranks = [marks[column.key].get(row.label, 0) if ranked else 0 for column in shown]
        cells = [_cell(row, column.key, rank, notes) for column, rank in zip(shown, ranks, strict=True)]
        return [label, str(row.n), *cells]

    lines = [line(row, ranked=True) for row in table.rows]
    if table.nulls:
        lines.append(["*null rows*", *[""] * (len(shown) + 1)])
        lines.extend(line(row, ranked=False) for row in table.nulls)
    head = ["Method", "n", *(column.title for column in shown)]
    align = ["left", *["right"] * (len(head) - 1)]
    body = tabulate(lines, headers=head, tablefmt="pipe", disable_numparse=True, colalign=align)
    footnotes = "\n".join(f"{_superscript(number)} {reason}  " for reason, number in notes.items())
    return "\n\n".join(part for part in (f"## {title(table.section)}", body, footnotes, caption(table)) if part)


def _cell(row: Row, key: Key, rank: int, notes: dict[str, int]) -> str:
    """Write one number, or an en dash with a footnote; adds the reason to ``notes`` (reason -> number)."""
    score, reason = row.score(key), row.reason(key)
    note = _superscript(notes.setdefault(reason, len(notes) + 1)) if reason else ""
    if score is None:
        return "–" + note
    text = {0: "{:.2f}", 1: "**{:.2f}**", 2: "*{:.2f}*"}[rank].format(score.mean)
    if score.std is not None:
        text += f" ± {score.std:.2f}"
    if score.n < row.n:
        text += f" (n={score.n}){note}"
    return text


def _notes(row: Row, notes: dict[str, int]) -> str:
    """Mark a row that trained on more than labels or was tuned; adds how to ``notes`` (text -> number)."""
    reasons, used, tuned = [], row.supervision, row.tuned
    if used:
        masks = PXAP in row.records[0].metrics
        reasons.append(
            f"not weakly supervised: trained on the {'masks' if masks else 'boxes'} of {used['train_images']:,} images"
            " of train-fullsup"
            + ("" if masks else f"; its thresholds were frozen on {used['threshold_images']:,} others of that split")
        )
    if tuned is not None:
        reasons.append(str(tuned))
    return "".join(" " + _superscript(notes.setdefault(reason, len(notes) + 1)) for reason in reasons)


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


# --- CSV --------------------------------------------------------------------------------------------------------------


def to_frame(board: Leaderboard) -> "pd.DataFrame":
    """Return every metric in tidy form: one line per (section, row, slice, metric).

    ``extractor`` is empty for a method's own maps; ``supervision`` is what was trained on, ``labels`` or ``masks``;
    ``config``, ``dataset_options`` and ``tuned`` (the hyperparameters that were chosen) are JSON; ``slice`` is empty
    for all test images; ``images`` is the number of test images in the slice; ``std`` is empty for one seed; an absent
    metric has n = 0, no mean, and a ``reason``.
    """
    import pandas as pd  # half a second, which markdown need not wait for

    lines = [
        line
        for table in board.tables
        for rows, null in ((table.rows, False), (table.nulls, True))
        for row in rows
        for line in _tidy(table.section, row, null)
    ]
    names = "section title dataset dataset_options backbone image_size map_height map_width protocol test_fingerprint"
    more = "method extractor supervision label config null trials tuned slice images metric mean std n reason"
    return pd.DataFrame(lines, columns=[*names.split(), *more.split()])


def _tidy(section: Section, row: Row, null: bool) -> Iterable[tuple[object, ...]]:
    where = (section.key, title(section), section.dataset, _json(section.options), section.backbone)
    how = (section.image_size, *row.records[0].map_size, section.protocol, section.fingerprints.get("test", ""))
    who = (row.method, row.extractor, row.supervision.get("kind", "labels"), row.label, _json(row.config), null)
    tuned = (section.trials, "" if row.tuned is None else _json(row.tuned.drawn))
    for key in row.keys():  # noqa: SIM118 (not a mapping)
        part, metric = key
        score = row.score(key)
        numbers = (score.mean, score.std, score.n) if score else (None, None, 0)
        yield (*where, *how, *who, *tuned, part, row.images(part), metric, *numbers, row.reason(key))


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def to_csv(board: Leaderboard) -> str:
    """Write :func:`to_frame` as CSV with full precision."""
    return to_frame(board).to_csv(index=False, lineterminator="\n")


# --- files ------------------------------------------------------------------------------------------------------------


def write_tables(results: Path) -> list[Path]:
    """Write ``leaderboard.md`` and ``leaderboard.csv`` into the folder of each dataset, from its records alone.

    The same records give the same bytes. CSV has no header comment: readers would take it for data.

    Args:
        results: as for :func:`~wsolbench.records.record_files`.

    Returns:
        The files written.

    Raises:
        UserError: there is no such folder, or no record in it.
    """
    folders = sorted({path.parent for path in record_files(results)})
    if not folders:
        raise UserError(f"there is no record below '{results}'; `wsolbench run` writes them to DATASET/records")
    written = []
    for folder in folders:
        board = build(*load_records(folder))
        for name, text in (("leaderboard.md", HEADER + "\n" + to_markdown(board)), ("leaderboard.csv", to_csv(board))):
            atomic_write(folder.parent / name, text.encode())
            written.append(folder.parent / name)
    return written


# --- one record -------------------------------------------------------------------------------------------------------


def explain(record: Record) -> str:
    """Return what is behind a cell as readable text: config, seed, commit, data, versions, metrics, how to re-run."""
    identity, origin = record.identity, record.provenance
    lines = [f"run {record.run_id}: {identity['method']} on {identity['dataset']}, backbone {identity['backbone']}"]
    shown = ("method", "dataset", "backbone", "fingerprints")
    for name, value in identity.items():
        if name not in shown:
            text = _fields(value) if isinstance(value, Mapping) else str(value)
            lines.append(f"{name.replace('_', ' ')}: {text or '(none)'}")
    for split, count in record.images.items():
        lines.append(f"{split}: {count:,} images, fingerprint {identity['fingerprints'].get(split, 'not recorded')}")
    percentile = "" if record.percentile is None else f", percentile {record.percentile}, chosen on train-fullsup"
    lines.append("maps: {}×{}".format(*record.map_size) + percentile)
    lines.extend(f"{name.replace('_', ' ')}: {count:,}" for name, count in record.counts.items())
    if record.tuned is not None:
        lines.append(f"tuned by {record.tuned.study}: {record.tuned}")
    lines += ["", _metric_lines(record), ""]
    lines.append(f"commit: {origin.commit or 'unknown'}{' with uncommitted changes' if origin.dirty else ''}")
    lines.append(f"versions: {_fields(origin.versions)}")
    rate = "" if origin.train_images_per_s is None else f", {origin.train_images_per_s:,.0f} training images/s"
    memory = "" if origin.peak_memory_mb is None else f", peak memory {origin.peak_memory_mb:,.0f} MiB"
    lines.append(f"cost: {origin.wall_s:,.1f} s on {origin.device}{rate}{memory}")
    lines.append(f"time: {origin.started} to {origin.finished}")
    lines += ["", "to run it again:"]
    if origin.commit:
        note = "  # its uncommitted changes are not recorded" if origin.dirty else ""
        lines.append(f"  git checkout {origin.commit}{note}")
    return "\n".join([*lines, f"  {origin.command}"]) + "\n"


def _fields(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={text}" for name, text in flatten(values).items())


def _metric_lines(record: Record) -> str:
    """Write the metrics in percent with the thresholds they used, also on the slices, and why others are absent."""
    parts: list[tuple[str, Record | Slice]] = [("", record)]
    parts += [(f" on {name} ({part.images:,} images)", part) for name, part in record.slices.items()]
    rows = []
    for where, part in parts:
        for name, value in part.metrics.items():
            t = f"{part.thresholds[name]:.3f}" if name in part.thresholds else ""
            rows.append([name + where, f"{value:.2f}", t])
        rows += [[f"{name}{where} ({reason})", "–", ""] for name, reason in part.absent.items()]
    align = ("left", "right", "right")
    return tabulate(rows, headers=["metric", "percent", "t"], disable_numparse=True, colalign=align)
