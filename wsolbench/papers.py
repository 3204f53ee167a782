"""The numbers that papers print, as data: ``results/published``, one CSV file a table. No torch, no pandas here.

Its README says where each file comes from and which misprints it holds. Numbers stand as they are printed, misprints
too; nothing here is measured by this project.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any, Literal

Kind = Literal["value", "mean", "delta", "empty"]

FILES = (
    "choe2020.csv",
    "ki2020-table2.csv",
    "ki2020-table3.csv",
    "ki2020-table4.csv",
    "ki2020-table5.csv",
    "ki2020-table6.csv",
    "ki2020-table7.csv",
    "ki2020-supplement-table1.csv",
)
"""In the order in which equally precise numbers are preferred: a source before the papers that repeat it."""

PROPERTIES: Mapping[str, str] = {
    "selected-on-test": "an ablation of the paper, run on the test split",
    "reproduction": "not the paper's own method: a reproduction by Choe et al.",
    "own-paper": "copied from the method's own paper, measured as that paper measures",
    "unverified": "the method has no public code; ours is an unverified reimplementation",
    "trained-on-boxes": "not weakly supervised: trained on the boxes or masks of train-fullsup",
    "padded": "one decimal, to which the table appends a zero",
    "misprint": "contradicted by another table, see the note",
}
"""What a number may be besides a number, in words for a footnote."""


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One cell of a paper's table, or one difference that a cell prints in parentheses.

    Attributes:
        paper: authors, venue, year.
        table: which of its tables.
        row: as printed, with the block and the backbone where those are cells of the row.
        column: as printed, with the heading above it.
        kind: ``value``; ``mean``: a mean of other cells of the row, over IoU criteria where there is a backbone, else
            over backbones; ``delta``: the difference of the cell of the same place and that of the row ``against``;
            ``empty``: a dash or nothing.
        printed: the text of the cell.
        method: our name of it, ``cam``; ``center`` for the null row.
        preset: our name of an ablation's row, ``table2/full``; empty: the method itself.
        dataset: ``ilsvrc``, ``cub`` or ``openimages``.
        backbone: our name; ``none`` for a null row, empty for a mean over backbones.
        metric: key as in records, percent.
        against: the other row of a ``delta``, as printed.
        properties: keys of :data:`PROPERTIES`.
        note: why the cell is empty, or what is wrong with it.
    """

    paper: str
    table: str
    row: str
    column: str
    kind: Kind
    printed: str
    method: str
    preset: str
    dataset: str
    backbone: str
    metric: str
    against: str
    properties: tuple[str, ...]
    note: str

    @property
    def value(self) -> float | None:
        """The number, percent; None for an empty cell. A comma is read as the point."""
        return None if self.kind == "empty" else float(self.printed.replace(",", "."))

    @property
    def decimals(self) -> int:
        """How many decimals say something: a zero that the table appends to all numbers does not."""
        digits = len(self.printed.replace(",", ".").partition(".")[2])
        return digits - ("padded" in self.properties)

    @property
    def source(self) -> str:
        """Paper and table, for a footnote."""
        return f"{self.paper}, {self.table}"


@cache
def published_numbers() -> tuple[PublishedNumber, ...]:
    """Return every number of ``results/published``, file by file, row by row as printed.

    >>> first = published_numbers()[0]
    >>> first.method, first.dataset, first.backbone, first.metric, first.value
    ('cam', 'ilsvrc', 'vgg16', 'max_box_acc_v2', 60.02)
    """
    spec = util.find_spec("wsolbench.published")  # importlib.resources alone would take 20 ms to import
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return tuple(number for name in FILES for number in _read((folder / name).read_text(encoding="utf-8")))


def find_published(
    *, dataset: str, backbone: str, method: str, metric: str, preset: str = ""
) -> tuple[PublishedNumber, ...]:
    """Return what papers print for one quantity: the one to compare with first.

    Args:
        dataset: its name.
        backbone: its name; ``none`` for a null row.
        method: its name.
        metric: key as in records; ``top1_loc_at_0.2`` for the conventional Top-1 Loc.
        preset: a row of an ablation; empty: the method itself.

    Returns:
        Values and means over IoU criteria, the one with the most decimals first, of equal ones in the order of
        :data:`FILES`; what another table contradicts comes last. Empty where nothing is printed.

    >>> [number.printed for number in find_published(
    ...     dataset="cub", backbone="resnet50", method="adl", metric="max_box_acc_v2")]
    ['58.33', '58.34', '58.4']
    """
    return _by_quantity().get((dataset, backbone, method, preset, metric), ())


@cache
def _by_quantity() -> dict[tuple[str, str, str, str, str], tuple[PublishedNumber, ...]]:
    """Return (dataset, backbone, method, preset, metric) -> its numbers, the one to compare with first."""
    found: defaultdict[tuple[str, str, str, str, str], list[PublishedNumber]] = defaultdict(list)
    for number in published_numbers():
        if number.backbone and number.kind in ("value", "mean"):
            key = (number.dataset, number.backbone, number.method, number.preset, number.metric)
            found[key].append(number)
    return {key: tuple(sorted(numbers, key=_preference)) for key, numbers in found.items()}


def _preference(number: PublishedNumber) -> tuple[bool, int]:
    return "misprint" in number.properties, -number.decimals


def _read(text: str) -> list[PublishedNumber]:
    """Read one file: its columns are the fields of :class:`PublishedNumber`, properties separated by spaces."""
    rows: Iterable[dict[str, Any]] = csv.DictReader(text.splitlines())
    return [PublishedNumber(**{**row, "properties": tuple(row["properties"].split())}) for row in rows]
