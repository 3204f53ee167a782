"""Tables 2, 3 and 5 of the InCA paper and its supplement's Table 1: the rows of an ablation, and two methods in detail.

A row of an ablation is told by the configuration that was run, whatever command asked for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsolbench.failures import Failure
from wsolbench.leaderboard.grid import NOTHING, Grid, Head, Line, row_cell, text_cell, with_difference
from wsolbench.leaderboard.missing import failure_notes, placed_failures, recorded_elsewhere
from wsolbench.leaderboard.model import V2, Leaderboard, Section, Table
from wsolbench.leaderboard.published import printed_grid, published_lines
from wsolbench.leaderboard.rows import Key, Row
from wsolbench.leaderboard.sections import Beside, row_notes, title
from wsolbench.leaderboard.variants import METHOD, VARIANTS, Variant
from wsolbench.leaderboard.wide import Place, Wide, wide_tables

CRITERIA = tuple(("", f"{V2}_iou{d}") for d in (30, 50, 70))
CRITERIA_HEADS = tuple(Head(group="V2, IoU ≥", title=f"0.{d}") for d in (3, 5, 7))


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """How a table of variants is laid out.

    Attributes:
        heading: what it shows.
        keys: metrics of its columns.
        heads: of its columns.
        reference: name of the row that the last column's differences are taken from; empty: none.
    """

    heading: str
    keys: Sequence[Key] = (*CRITERIA, ("", V2))
    heads: Sequence[Head] = (*CRITERIA_HEADS, Head(title="Mean"))
    reference: str = ""


ABLATIONS: Mapping[str, Ablation] = {
    "table2": Ablation(heading="The elements of InCA", reference="Ours (full)"),
    "table3": Ablation(
        heading="Insertion points of InCA",
        keys=(("", "top1_cls"), ("", V2)),
        heads=(Head(title="Top-1 Cls"), Head(title="V2")),
    ),
    "supplement1": Ablation(heading="The contrastive loss of InCA"),
}


def ablation_layout(name: str) -> Callable[[Leaderboard, Beside], list[Grid]]:
    """Return the layout of one of :data:`ABLATIONS`: a grid for each table in which InCA was run as one of its rows."""

    def lay_out(board: Leaderboard, beside: Beside) -> list[Grid]:
        made = [
            _ablation_grid(name, table, board, beside)
            for table in board.tables
            if any(row.method == METHOD and _holds(variant, row) for variant in VARIANTS[name] for row in table.rows)
        ]
        if beside.published and not any(line.kind == "published" for grid in made for line in grid.lines):
            made.append(printed_grid(name, ABLATIONS[name].heading))
        return made

    return lay_out


def _ablation_grid(name: str, table: Table, board: Leaderboard, beside: Beside) -> Grid:
    ablation, section = ABLATIONS[name], table.section
    failed = placed_failures(table, beside.failures)
    rows = {variant.name: [row for row in table.rows if _holds(variant, row)] for variant in VARIANTS[name]}
    reference = rows.get(ablation.reference, [])
    base = reference[0].score(ablation.keys[-1]) if len(reference) == 1 else None
    lines = []
    for variant in VARIANTS[name]:
        for row in rows[variant.name]:
            label = variant.name if len(rows[variant.name]) == 1 else f"{variant.name}: {row.label}"
            lost = failure_notes(failed.get(row.label, ()))
            lines.append(_line(label, row, ablation, None if base is None or row in reference else base.mean, lost))
        if not rows[variant.name]:
            why = text_cell(NOTHING, _why_empty(variant, section, failed, board))
            lines.append(Line(label=variant.name, cells=(text_cell("0"), *[why] * len(ablation.keys))))
    said = [
        "Percent, mean ± sample standard deviation over n seeds; thresholds are oracles, as in the paper, whose own"
        " ablations were selected on test.",
        *([f"In parentheses: the difference from “{ablation.reference}”."] if base is not None else []),
        f"Protocol version {section.protocol}.",
    ]
    if beside.published and not section.options:
        places = [(section.dataset, (section.backbone,), key) for key in ablation.keys]
        printed = published_lines(places, tables=(name,))
        lines += [replace(line, cells=(text_cell(""), *line.cells)) for line in printed]
    return Grid(
        title=f"{ablation.heading}: {title(section)}",
        stub="Method",
        heads=(Head(title="n"), *ablation.heads),
        lines=tuple(lines),
        caption=tuple(said),
        layout=name,
    )


def _holds(variant: Variant, row: Row) -> bool:
    return variant.holds(row.records[0].identity)


def _line(label: str, row: Row, ablation: Ablation, base: float | None, lost: Sequence[str]) -> Line:
    """Return the line of a row that is a variant; ``base`` is what its last column is compared with."""
    cells = [text_cell(str(row.n)), *(row_cell(row, key) for key in ablation.keys)]
    cells[-1] = with_difference(cells[-1], base)
    other = () if row.method == METHOD else (f"the method {row.method}",)
    return Line(label=label, cells=tuple(cells), notes=(*other, *row_notes(row), *lost))


def _why_empty(
    variant: Variant, section: Section, failed: Mapping[str, Sequence[Failure]], board: Leaderboard
) -> tuple[str, ...]:
    """Say why no row of a table is a variant."""
    own = [failure for found in failed.values() for failure in found if variant.holds(failure.identity)]
    where = (section.dataset, section.options, section.backbone)
    alike = (
        record
        for record in board.records
        if variant.holds(record.identity)
        and tuple(record.identity[name] for name in ("dataset", "dataset_options", "backbone")) == where
    )
    return failure_notes(own) or (recorded_elsewhere(alike, section.protocol),)


# --- Table 5 ----------------------------------------------------------------------------------------------------------

DETAILS: Sequence[tuple[Head, Key]] = (
    (Head(title="Top-1 Cls"), ("", "top1_cls")),
    *zip(CRITERIA_HEADS, CRITERIA, strict=True),
    (Head(title="Mean"), ("", V2)),
)


def pair_layout(board: Leaderboard, beside: Beside) -> list[Grid]:
    """Lay out InCA, or else the best method, beside the runner-up of each dataset, backbone by backbone (Table 5)."""
    made = []
    for wide in wide_tables(board.records):
        made += [grid for own in wide.variants() if (grid := _pair_grid(own, wide, beside))]
    if beside.published and not any(line.kind == "published" for grid in made for line in grid.lines):
        made.append(printed_grid("table5", "The best two in detail"))
    return made


def _pair_grid(places: Sequence[Place], wide: Wide, beside: Beside) -> Grid | None:
    """Return the grid of one dataset, None where no two methods are in all of its places."""
    ours, other = _best_two(places)
    if not other:
        return None
    lines = []
    for place in places:
        base, mine = place.rows[other], place.rows[ours]
        cells = [row_cell(base, key) for _, key in DETAILS]
        lines.append(Line(label=f"{other}, {place.backbone}", cells=tuple(cells), notes=row_notes(base)))
        cells = [
            with_difference(row_cell(mine, key), below.value) for (_, key), below in zip(DETAILS, cells, strict=True)
        ]
        lines.append(Line(label=f"{ours}, {place.backbone}", cells=tuple(cells), notes=row_notes(mine)))
    for place in places if beside.published and not places[0].example["dataset_options"] else ():
        columns = [(place.dataset, (place.backbone,), key) for _, key in DETAILS]
        printed = published_lines(columns, tables=("table5",))
        lines += [replace(line, label=f"{line.label}, {place.backbone}") for line in printed]
    return Grid(
        title=f"The best two in detail: {places[0].variant}",
        stub="Method, backbone",
        heads=tuple(head for head, _ in DETAILS),
        lines=tuple(lines),
        caption=(
            "Percent, mean ± sample standard deviation over seeds; thresholds are oracles. In parentheses: the"
            f" difference from {other}, the best other method by its mean over the backbones.",
            *wide.said(),
        ),
        layout="table5",
    )


def _best_two(places: Sequence[Place]) -> tuple[str, str]:
    """Return the labels of InCA, or else the best method, and of the best other one; empty texts where there is none.

    By the mean of V2 over the places, of methods that trained on labels alone and are in all of them.
    """
    means = {}
    for label in set.intersection(*({*place.rows} for place in places)):
        scores = [score for place in places if (score := place.rows[label].score(("", V2)))]
        if len(scores) == len(places) and not any(place.rows[label].supervision for place in places):
            means[label] = sum(score.mean for score in scores) / len(scores)
    best = sorted(means, key=lambda label: (-means[label], label))
    ours = next((label for label in best if places[0].rows[label].method == METHOD), best[0] if best else "")
    return ours, next((label for label in best if label != ours), "")
