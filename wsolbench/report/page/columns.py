"""The columns of the report's tables: every metric that a record holds, and what a run cost.

The printed tables choose; the page has room for all and lets the reader choose. A family is one metric: its oracle and,
beside it, the number at the threshold that was frozen on train-fullsup.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from wsolbench.leaderboard.model import PXAP, V2, Table
from wsolbench.leaderboard.rows import Key, Row
from wsolbench.protocols import CRITERIA
from wsolbench.record_schema import Provenance, Record

ORACLE, FROZEN = "oracle", "fullsup t"
"""Titles of a metric's two columns, in the words of the leaderboard's caption."""

GROUPS: Mapping[str, str] = {
    "v2": "V2",
    "iou": "V2 by IoU",
    "gt": "GT-known",
    "loc": "Top-k Loc",
    "cls": "Top-k Cls",
    "classic": "V1 and t = 0.2",
    "pxap": "PxAP",
    "cost": "Cost",
}
"""Groups of columns that the reader switches, and what the switches are called."""

FOLDED = ("iou", "classic", "cost")
"""Groups that are folded away when the page opens."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run took, as its provenance tells.

    Attributes:
        name: in words, with the unit.
        digits: decimal places that are shown.
        read: takes it from the provenance; None where it was not measured.
    """

    name: str
    digits: int
    read: Callable[[Provenance], float | None]


COSTS = (
    Cost(name="images/s", digits=0, read=lambda origin: origin.train_images_per_s),
    Cost(name="minutes", digits=1, read=lambda origin: origin.wall_s / 60),
    Cost(name="memory, MiB", digits=0, read=lambda origin: origin.peak_memory_mb),
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        title: what stands above it, below the family's title.
        name: the same in full, for where it stands alone.
        source: the metric's key, or a cost.
    """

    title: str
    name: str
    source: Key | Cost


@dataclass(frozen=True, kw_only=True)
class Family:
    """Columns that belong together under one title.

    Attributes:
        title: stands above them.
        group: key of :data:`GROUPS`; empty for what is always shown.
        columns: one, or the oracle and the frozen one.
    """

    title: str
    group: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A number over the seeds that have it.

    Attributes:
        mean: None where no seed has it.
        std: sample standard deviation, None for fewer than two seeds.
        n: number of seeds that have it.
        reason: why the others lack it; empty if all have it.
    """

    mean: float | None = None
    std: float | None = None
    n: int = 0
    reason: str = ""


def families(table: Table) -> list[Family]:
    """Return the columns of a table: what ranks it first, then every metric that some row has a number of.

    Args:
        table: of the leaderboard.
    """
    rows = (*table.rows, *table.nulls)
    ranking = table.section.headline
    slices = sorted({part for row in rows for record in row.records for part in record.slices})
    found = [_metric(slice_title(part), (part, V2), "v2") for part in ("", *slices)]
    found += [_metric(f"V2 at IoU {d:g}", ("", f"{V2}_iou{round(100 * d)}"), "iou") for d in CRITERIA]
    found.append(_metric("GT-known", ("", "gt_known"), "gt"))
    found += [_metric(f"Top-{k} Loc", ("", f"top{k}_loc"), "loc") for k in (1, 5)]
    found += [_single(f"Top-{k} Cls", f"top{k}_cls", "cls") for k in (1, 5)]
    found.append(_metric("V1", ("", "max_box_acc"), "classic"))
    found.append(_single("GT-known, t = 0.2", "gt_known_at_0.2", "classic"))
    found.append(_single("Top-1 Loc, t = 0.2", "top1_loc_at_0.2", "classic"))
    found.append(_single("PxAP", PXAP, "pxap"))
    found.append(
        Family(
            title="Cost of a run",
            group="cost",
            columns=tuple(Column(title=cost.name, name=cost.name, source=cost) for cost in COSTS),
        )
    )
    kept = [each for each in found if any(summary(row, column).n for row in rows for column in each.columns)]
    ranked = [_always(each) for each in kept if each.columns[0].source == ranking]
    return ranked + [each for each in kept if each.columns[0].source != ranking]


def slice_title(part: str) -> str:
    """Return the title of V2 on a slice.

    >>> slice_title(""), slice_title("boxes_5_50"), slice_title("night")
    ('V2', 'V2, boxes 5–50 %', 'V2, night')
    """
    words = part.split("_")
    if words[0] == "boxes" and len(words) == 3:
        return f"V2, boxes {words[1]}–{words[2]} %"
    return f"V2, {part}" if part else "V2"


def _metric(title: str, key: Key, group: str) -> Family:
    part, name = key
    frozen = (part, f"{name}_fullsup")
    return Family(
        title=title,
        group=group,
        columns=(
            Column(title=ORACLE, name=f"{title}, {ORACLE}", source=key),
            Column(title=FROZEN, name=f"{title}, {FROZEN}", source=frozen),
        ),
    )


def _single(title: str, name: str, group: str) -> Family:
    return Family(title=title, group=group, columns=(Column(title=title, name=title, source=("", name)),))


def _always(family: Family) -> Family:
    return Family(title=family.title, group="", columns=family.columns)


# --- numbers ----------------------------------------------------------------------------------------------------------


def summary(row: Row, column: Column) -> Summary:
    """Return mean and spread of a column over the seeds of a row.

    Args:
        row: of a table.
        column: of the same table.
    """
    if isinstance(column.source, Cost):
        return _cost_summary(row.records, column.source)
    score, reason = row.score(column.source), row.reason(column.source)
    if score is None:
        return Summary(reason=reason)
    return Summary(mean=score.mean, std=score.std, n=score.n, reason=reason)


def _cost_summary(records: Iterable[Record], cost: Cost) -> Summary:
    known = [(record, cost.read(record.provenance)) for record in records]
    values = [value for _, value in known if value is not None]
    lacking = {
        "not measured on that device" if record.trainable else "it trains nothing"
        for record, value in known
        if value is None
    }
    reason = "; ".join(sorted(lacking))
    if not values:
        return Summary(reason=reason)
    std = statistics.stdev(values) if len(values) > 1 else None
    return Summary(mean=statistics.fmean(values), std=std, n=len(values), reason=reason)


def value(record: Record, column: Column) -> float | None:
    """Return a run's number, None where it has none."""
    if isinstance(column.source, Cost):
        return column.source.read(record.provenance)
    part, name = column.source
    if part and part not in record.slices:
        return None
    return (record.slices[part] if part else record).metrics.get(name)


def thresholds(record: Record, column: Column) -> list[float]:
    """Return the operating thresholds behind a run's number: none, one, or V2's three by rising IoU criterion."""
    if isinstance(column.source, Cost):
        return []
    part, name = column.source
    if part and part not in record.slices:
        return []
    known = (record.slices[part] if part else record).thresholds
    base, suffix = name.removesuffix("_fullsup"), "_fullsup" if name.endswith("_fullsup") else ""
    keys = [f"{base}_iou{round(100 * d)}{suffix}" for d in CRITERIA] if base == V2 else [name]
    return [known[key] for key in keys if key in known]


def shown(number: float, column: Column) -> str:
    """Write a number as the tables do: percent with two decimals, costs with their own."""
    digits = column.source.digits if isinstance(column.source, Cost) else 2
    return f"{number:,.{digits}f}"
