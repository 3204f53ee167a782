"""Which numbers the layouts of one dataset and backbone show."""

from collections.abc import Iterable
from dataclasses import dataclass

from wsolbench.leaderboard.model import PXAP, V2, Table
from wsolbench.leaderboard.rows import Key


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


SLICE = "boxes_5_50"
FULLSUP = "_fullsup"
COLUMNS = (
    Column(title="Top-1 Cls", key=("", "top1_cls")),
    Column(title="Top-1 Loc", key=("", "top1_loc")),
    Column(title="Top-1 Loc (fullsup t)", key=("", "top1_loc_fullsup")),
    Column(title="GT-known", key=("", "gt_known")),
    Column(title="GT-known (fullsup t)", key=("", "gt_known_fullsup")),
    Column(title="V2", key=("", V2)),
    Column(title="V2 (fullsup t)", key=("", V2 + FULLSUP)),
    Column(title="V2, boxes 5–50 %", key=(SLICE, V2)),
    Column(title="V2, boxes 5–50 % (fullsup t)", key=(SLICE, V2 + FULLSUP)),
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


def columns(table: Table) -> list[Column]:
    """Return the columns for which some row has a number or a reason for having none.

    The column that ranks the rows comes first among those of localisation, which are of boxes or of masks; then its
    frozen threshold. A slice that holds all test images has no columns of its own.
    """
    ranking = headline(table)
    part, name = ranking.key
    first = (ranking.key, (part, name + FULLSUP))
    known = COLUMNS if ranking in COLUMNS else (*COLUMNS, ranking)
    alike = [
        column
        for column in known
        if of_classes(column) or (of_masks(column) == of_masks(ranking) and not _repeats(column, ranking, table))
    ]
    return sorted(mentioned(alike, table), key=lambda column: (not of_classes(column), column.key not in first))


def _repeats(column: Column, ranking: Column, table: Table) -> bool:
    part = column.key[0]
    images = {(row.images(part), row.images("")) for row in table.rows}
    return part not in ("", ranking.key[0]) and all(inside == whole for inside, whole in images)


def mentioned(known: Iterable[Column], table: Table) -> list[Column]:
    """Keep the columns for which some row has a number or a reason for having none."""
    rows = (*table.rows, *table.nulls)
    return [column for column in known if any(row.mentions(column.key) for row in rows)]


def of_classes(column: Column) -> bool:
    """Whether it says how well images are classified."""
    return column.key[1].endswith("_cls")


def of_masks(column: Column) -> bool:
    """Whether it is measured on masks."""
    return column.key[1] == PXAP


def headline(table: Table) -> Column:
    """Return the column that ranks the rows."""
    key = table.section.headline
    return next((column for column in COLUMNS if column.key == key), Column(title=f"V2, {key[0]}", key=key))
