"""Tables 2, 3 and 5 of the InCA paper and its supplement's Table 1: the rows of an ablation, and two methods in detail.

A row of an ablation is told by the configuration that was run, whatever command asked for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wsolbench.leaderboard.grid import NOTHING, Cell, Grid, Head, Line, row_cell, with_difference
from wsolbench.leaderboard.model import V2, Key, Leaderboard, Row, Table
from wsolbench.leaderboard.published import printed_grid, published_lines
from wsolbench.leaderboard.sections import Beside, failed_sentences, title
from wsolbench.leaderboard.wide import Place, wide_tables

METHOD = "inca"
BASELINE = "adl"
CRITERIA = tuple(("", f"{V2}_iou{d}") for d in (30, 50, 70))
CRITERIA_HEADS = tuple(Head(group="V2, IoU ≥", title=f"0.{d}") for d in (3, 5, 7))


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of an ablation.

    Attributes:
        name: as the paper prints it.
        settings: field of the configuration -> the values that it may have.
        methods: whose runs it may be.
    """

    name: str
    settings: Mapping[str, Sequence[Any]]
    methods: Sequence[str] = (METHOD,)

    def holds(self, row: Row) -> bool:
        """Whether a row of the leaderboard is this one."""
        if row.method not in self.methods or row.extractor:
            return False
        return row.method != METHOD or all(row.config.get(name) in values for name, values in self.settings.items())


def _variant(name: str, **changes: Sequence[Any]) -> Variant:
    """Return a row that differs from the full method in some fields."""
    full: dict[str, Sequence[Any]] = {
        "attention": ("residual", "literal"),
        "mask": ("dropped-foreground",),
        "contrastive": ("triplet",),
        "fc": (True,),
    }
    return Variant(name=name, settings={**full, **changes})


_PLAIN = {"attention": ("channel-mean",), "mask": ("drop",), "contrastive": ("none",), "fc": (False,)}
_LAYERS = ("conv5_3", "pool4", "pool3", "pool2", "pool1")


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A table of variants.

    Attributes:
        heading: what it shows.
        variants: its rows, in the paper's order.
        keys: metrics of its columns.
        heads: of its columns.
        reference: name of the row that the last column's differences are taken from; empty: none.
    """

    heading: str
    variants: Sequence[Variant]
    keys: Sequence[Key]
    heads: Sequence[Head]
    reference: str = ""


ABLATIONS: Mapping[str, Ablation] = {
    "table2": Ablation(
        heading="The elements of InCA",
        variants=(
            Variant(name="Baseline", settings=_PLAIN, methods=(METHOD, BASELINE)),
            _variant("Ours w/o contrastive", contrastive=("none",)),
            _variant("Ours w/o L_fc", fc=(False,)),
            _variant("Ours w/o non-local", attention=("channel-mean",)),
            _variant("Ours w/o M_dfg", mask=("drop",)),
            _variant("Ours (full)"),
        ),
        keys=(*CRITERIA, ("", V2)),
        heads=(*CRITERIA_HEADS, Head(title="Mean")),
        reference="Ours (full)",
    ),
    "table3": Ablation(
        heading="Insertion points of InCA",
        variants=tuple(
            _variant(("+ " if count > 1 else "") + _LAYERS[count - 1], points=(list(reversed(_LAYERS[:count])),))
            for count in range(1, len(_LAYERS) + 1)
        ),
        keys=(("", "top1_cls"), ("", V2)),
        heads=(Head(title="Top-1 Cls"), Head(title="V2")),
    ),
    "supplement1": Ablation(
        heading="The contrastive loss of InCA",
        variants=(
            Variant(name="Baseline", settings=_PLAIN, methods=(METHOD, BASELINE)),
            _variant("Ours (full) w NT-Xent", contrastive=("nt-xent",)),
            _variant("Ours (full) w triplet"),
        ),
        keys=(*CRITERIA, ("", V2)),
        heads=(*CRITERIA_HEADS, Head(title="Mean")),
    ),
}


def ablation_layout(name: str) -> Callable[[Leaderboard, Beside], list[Grid]]:
    """Return the layout of one of :data:`ABLATIONS`: a grid for each table in which one of its rows is."""
    ablation = ABLATIONS[name]

    def lay_out(board: Leaderboard, beside: Beside) -> list[Grid]:
        made = [
            _ablation_grid(name, ablation, table, beside)
            for table in board.tables
            if any(variant.holds(row) for variant in ablation.variants for row in table.rows if row.method == METHOD)
        ]
        if beside.published and not any(line.kind == "published" for grid in made for line in grid.lines):
            made.append(printed_grid(name, ablation.heading))
        return made

    return lay_out


def _ablation_grid(name: str, ablation: Ablation, table: Table, beside: Beside) -> Grid:
    found = {variant.name: [row for row in table.rows if variant.holds(row)] for variant in ablation.variants}
    reference = found.get(ablation.reference, [])
    base = reference[0].score(ablation.keys[-1]) if len(reference) == 1 else None
    failed = failed_sentences(table, beside.failures)
    lines = []
    for variant, rows in found.items():
        for row in rows:
            label = variant if len(rows) == 1 else f"{variant}: {row.label}"
            cells = [Cell(text=str(row.n)), *(row_cell(row, key) for key in ablation.keys)]
            if base is not None and row not in reference:
                cells[-1] = with_difference(cells[-1], base.mean)
            other = () if row.method == METHOD else (f"the method {row.method}",)
            lines.append(Line(label=label, cells=tuple(cells), notes=other))
        if not rows:
            empty = Cell(text=NOTHING, notes=("not run" + (", or failed: see below" if failed else ""),))
            lines.append(Line(label=variant, cells=(Cell(text="0"), *[empty] * len(ablation.keys))))
    said = [
        "Percent, mean ± sample standard deviation over n seeds; thresholds are oracles, as in the paper, whose own"
        " ablations were selected on test.",
        *([f"In parentheses: the difference from “{ablation.reference}”."] if base is not None else []),
        f"Protocol version {table.section.protocol}.",
        *failed,
    ]
    if beside.published:
        section = table.section
        places = [(section.dataset, section.backbone, key) for key in ablation.keys]
        printed = [] if section.options else published_lines(places, tables=(name,))
        lines += [replace(line, cells=(Cell(text=""), *line.cells)) for line in printed]
    return Grid(
        title=f"{ablation.heading}: {title(table.section)}",
        stub="Method",
        heads=(Head(title="n"), *ablation.heads),
        lines=tuple(lines),
        caption=tuple(said),
        layout=name,
    )


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
        for variant in dict.fromkeys(place.variant for place in wide.places):
            own = [place for place in wide.places if place.variant == variant]
            grid = _pair_grid(variant, own, wide.about, beside)
            if grid is not None:
                made.append(grid)
    if beside.published and not any(line.kind == "published" for grid in made for line in grid.lines):
        made.append(printed_grid("table5", "The best two in detail"))
    return made


def _pair_grid(variant: str, places: Sequence[Place], about: Mapping[str, str], beside: Beside) -> Grid | None:
    """Return the grid of one dataset, None where no two methods are in all of its places."""
    everywhere = set.intersection(*({*place.rows} for place in places))
    means = {}
    for label in everywhere:
        scores = [place.rows[label].score(("", V2)) for place in places]
        if all(scores) and not any(place.rows[label].supervision for place in places):
            means[label] = sum(score.mean for score in scores if score) / len(scores)
    best = sorted(means, key=lambda label: (-means[label], label))
    ours = next((label for label in best if places[0].rows[label].method == METHOD), best[0] if best else "")
    others = [label for label in best if label != ours]
    if not others:
        return None
    lines = []
    for place in places:
        base = place.rows[others[0]]
        mine = place.rows[ours]
        lines.append(
            Line(label=f"{others[0]}, {place.backbone}", cells=tuple(row_cell(base, key) for _, key in DETAILS))
        )
        cells = []
        for _, key in DETAILS:
            score = base.score(key)
            cells.append(with_difference(row_cell(mine, key), None if score is None else score.mean))
        lines.append(Line(label=f"{ours}, {place.backbone}", cells=tuple(cells)))
    if beside.published and places[0].variant == places[0].dataset:
        for place in places:
            printed = published_lines([(place.dataset, place.backbone, key) for _, key in DETAILS], tables=("table5",))
            lines += [replace(line, label=f"{line.label}, {place.backbone}") for line in printed]
    return Grid(
        title=f"The best two in detail: {variant}",
        stub="Method, backbone",
        heads=tuple(head for head, _ in DETAILS),
        lines=tuple(lines),
        caption=(
            f"Percent, mean ± sample standard deviation over seeds; thresholds are oracles. In parentheses: the"
            f" difference from {others[0]}, the best other method by its mean over the backbones.",
            ", ".join(f"{what} {text}" for what, text in about.items() if text).capitalize() + ".",
        ),
        layout="table5",
    )
