"""The papers' numbers as data: complete, in our names, and every misprint among them known (results/published)."""

import csv
import re
import tomllib
from collections import Counter, defaultdict
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest

from wsolbench.backbones.registry import BACKBONES
from wsolbench.data.registry import DATASETS
from wsolbench.null_rows import NULL_ROWS
from wsolbench.papers import FILES, PROPERTIES, PublishedNumber, find_published, published_numbers
from wsolbench.plugins import find_methods, load_method

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "results" / "published"
NUMBERS = published_numbers()
CRITERIA = tuple(f"max_box_acc_v2_iou{d}" for d in (30, 50, 70))

SAME = {
    ("inca", "table2/baseline"): ("adl", ""),
    ("inca", "supplement1/baseline"): ("adl", ""),
    ("inca", "table2/full"): ("inca", ""),
    ("inca", "table3/pool3"): ("inca", ""),
    ("inca", "supplement1/triplet"): ("inca", ""),
}
"""Rows of ablations that are the method itself, or the method that the paper starts from."""


# --- arithmetic of printed numbers ------------------------------------------------------------------------------------


def exact(number):
    """Return a printed number as a fraction."""
    return Fraction(number.printed.replace(",", "."))


def half(number):
    """Return half a unit of a printed number's last decimal: how far from it the unrounded one may be."""
    return Fraction(1, 2 * 10**number.decimals)


def rounded(value, decimals):
    """Return what a value may be printed as: two numbers where it lies in the middle."""
    scaled = value * 10**decimals
    low, high = floor(scaled + Fraction(1, 2)), -floor(-scaled + Fraction(1, 2))
    return {Fraction(low, 10**decimals), Fraction(high, 10**decimals)}


def written(value, number):
    """Write a value with as many decimals as a printed number, and its sign if that has one."""
    sign = "+" if number.printed.startswith("+") else ""
    return f"{float(max(rounded(value, number.decimals))):{sign}.{number.decimals}f}"


def test_a_middle_may_be_rounded_either_way():
    assert rounded(Fraction("63.65"), 1) == {Fraction("63.6"), Fraction("63.7")}
    assert rounded(Fraction("-0.86"), 1) == {Fraction("-0.9")}
    assert rounded(Fraction("66.716"), 2) == {Fraction("66.72")}


# --- what a printed number should be ----------------------------------------------------------------------------------


def cells(**wanted):
    """Return the numbers whose fields are as wanted, without those of an empty cell."""
    return [
        number
        for number in NUMBERS
        if number.kind != "empty" and all(getattr(number, name) == value for name, value in wanted.items())
    ]


def parts_of_mean(mean):
    """Return the cells that a mean is of: three IoU criteria, or three backbones."""
    row = cells(table=mean.table, row=mean.row, dataset=mean.dataset, kind="value")
    if mean.backbone:
        return [number for number in row if number.metric in CRITERIA]
    return [number for number in row if number.metric == mean.metric]


def pair_of_delta(delta):
    """Return the two cells that a difference is of; nothing where one of them is not printed."""
    place = {"metric": delta.metric, "dataset": delta.dataset, "backbone": delta.backbone}
    own = [n for n in cells(table=delta.table, row=delta.row, **place) if n.kind != "delta"]
    other = [n for n in cells(table=delta.table, row=delta.against, **place) if n.kind != "delta"]
    return [*own, *other] if own and other else []


def finding(number, value, error, why):
    """Return a line of the README's list if a number is not what it should be, else None.

    Args:
        number: what is printed.
        value: what follows from other printed numbers.
        error: how far from the unrounded value that may be, because they are rounded.
        why: where it follows from.
    """
    if exact(number) in rounded(value, number.decimals):
        return None
    by_rounding = abs(exact(number) - value) < half(number) + error
    return (
        number.table,
        number.row,
        number.column,
        number.printed,
        written(value, number),
        why,
        "yes" if by_rounding else "no",
    )


def wrong_means():
    for mean in cells(kind="mean"):
        parts = parts_of_mean(mean)
        assert len(parts) == 3, mean
        value = sum(map(exact, parts)) / 3
        yield finding(mean, value, half(parts[0]), "mean of the row")


def wrong_deltas():
    for delta in cells(kind="delta"):
        if pair := pair_of_delta(delta):
            own, other = pair
            yield finding(delta, exact(own) - exact(other), half(own) + half(other), "difference of the cells")


def by_quantity():
    """Return the numbers that should be one and the same, by what they are of."""
    found = defaultdict(list)
    for number in (*cells(kind="value"), *cells(kind="mean")):
        if number.backbone:
            who = SAME.get((number.method, number.preset), (number.method, number.preset))
            found[number.dataset, number.backbone, who, number.metric].append(number)
    return found


def disagreements():
    """Compare each quantity's numbers with the one of most decimals, of equal ones the first in the files' order."""
    for numbers in by_quantity().values():
        first, *others = sorted(numbers, key=lambda number: (-number.decimals, NUMBERS.index(number)))
        for number in others:
            paper = first.table if first.paper == number.paper else first.paper.partition(",")[0]
            yield finding(number, exact(first), half(first), f"{first.printed} in {paper}")


def found_misprints():
    return [each for each in (*wrong_means(), *wrong_deltas(), *disagreements()) if each]


def listed_misprints():
    """Return the lines of the README's table."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8").partition("## Misprints")[2]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line) for line in lines[2:]]


def test_the_misprints_are_those_that_the_readme_lists():
    found, listed = Counter(found_misprints()), Counter(listed_misprints())
    assert found - listed == Counter(), "the README does not list them"
    assert listed - found == Counter(), "the README lists what the numbers do not show"


def test_the_errata_that_the_protocol_names_are_found():
    found = {each[:5] for each in found_misprints()}
    assert ("Table 5", "ImageNet, Ours, VGG", "MaxBoxAccV2@IoU 0.7", "+2.2", "+0.5") in found
    assert ("Table 7", "Ours", "ImageNet Inc", "76.54", "71.31") in found
    assert ("Table 7", "Ours", "ImageNet Res", "71.31", "76.54") in found


def test_a_number_that_is_changed_is_found(monkeypatch):
    before = found_misprints()
    (wrong,) = cells(table="Table 2", row="Ours (full)", column="MaxBoxAccV2@IoU 0.5")
    changed = PublishedNumber(**{**vars(wrong), "printed": "72.97"})
    monkeypatch.setitem(globals(), "NUMBERS", tuple(changed if number is wrong else number for number in NUMBERS))
    new = Counter(found_misprints()) - Counter(before)
    assert {each[1:4] for each in new} >= {("Ours (full)", "Mean", "63.20")}
    assert len(new) > 2


def test_the_comparisons_that_the_tables_offer_are_made():
    assert len(list(wrong_means())) == 6 + 3 + 14 + 12 + 14  # Tables 2, supplement 1, 4, 5, 7
    assert len(list(wrong_deltas())) == 5 + 24  # Tables 2, 5; the one in the text has no cell
    twins = Counter(len(numbers) for numbers in by_quantity().values())
    assert sum((count - 1) * times for count, times in twins.items()) == len(list(disagreements()))
    (baseline,) = [
        numbers
        for key, numbers in by_quantity().items()
        if key[:3] == ("cub", "resnet50", ("adl", "")) and key[3] == "max_box_acc_v2"
    ]
    assert [number.table for number in baseline] == [
        "as listed in our protocol",
        "Table 4",
        "Table 2",
        "Table 5",
        "Supplement, Table 1",
    ]


def test_what_is_marked_as_a_misprint_is_one():
    places = {each[:4] for each in found_misprints()}
    marked = [number for number in NUMBERS if "misprint" in number.properties]
    assert len(marked) == 2
    assert all((number.table, number.row, number.column, number.printed) in places for number in marked)
    assert all(number.note for number in marked)


# --- the data ---------------------------------------------------------------------------------------------------------


def lines(name):
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_file_is_read_and_has_the_same_columns():
    assert set(FILES) == {path.name for path in FOLDER.glob("*.csv")}
    expected = list(PublishedNumber.__dataclass_fields__)
    for name in FILES:
        head, *rows = lines(name)
        assert head == expected
        assert all(len(row) == len(head) for row in rows)
    assert len(NUMBERS) == sum(len(lines(name)) - 1 for name in FILES) == 370


@pytest.mark.parametrize(
    ("table", "rows", "columns", "empty"),
    [
        ("as listed in our protocol", 8, 12, 0),  # three backbones of three datasets, and the three of the Gaussian
        ("Table 2", 6, 4, 0),
        ("Table 3", 5, 2, 3),
        ("Table 4", 7, 8, 0),
        ("Table 5", 12, 5, 0),
        ("Table 6", 8, 6, 22),
        ("Table 7", 8, 8, 4),
        ("Supplement, Table 1", 3, 4, 0),
    ],
)
def test_no_cell_is_missing_or_there_twice(table, rows, columns, empty):
    inside = [number for number in NUMBERS if number.table == table and number.kind != "delta"]
    places = {(number.row, number.column) for number in inside}
    assert len(places) == len(inside)
    assert len({row for row, _ in places}) == rows
    assert len({column for _, column in places}) == columns
    full = rows * columns if "protocol" not in table else 7 * 9 + 3
    assert len(places) == full
    assert sum(number.kind == "empty" for number in inside) == empty


def test_names_are_ours():
    methods = {*find_methods(), *NULL_ROWS}
    presets = load_method("inca").presets
    metrics = {"top1_cls", "pxap", "top1_loc_at_0.2", "max_box_acc_v2", *CRITERIA}
    for number in NUMBERS:
        assert number.method in methods
        assert number.preset in {"", *presets}
        assert number.preset == "" or presets[number.preset].backbone == number.backbone
        assert number.dataset in DATASETS
        assert number.backbone in {"", "none", *BACKBONES}
        assert number.metric in metrics
        assert set(number.properties) <= set(PROPERTIES)
    assert {number.preset for number in NUMBERS} == {"", *presets}
    assert {name for number in NUMBERS for name in number.properties} == set(PROPERTIES)


def test_numbers_are_percent_and_an_empty_cell_says_why():
    for number in NUMBERS:
        if number.kind == "empty":
            assert number.printed in ("", "-")
            assert number.note
            assert number.value is None
        else:
            assert re.fullmatch(r"\d+[.,]\d+" if number.kind != "delta" else r"[-+]?\d+\.\d+", number.printed)
            assert -10 < number.value < 100
        assert (number.kind == "delta") == bool(number.against)
        assert number.decimals in (0, 1, 2)
    assert {number.printed for number in NUMBERS if "," in number.printed} == {"46,20"}
    assert [number.value for number in NUMBERS if number.printed == "46,20"] == [46.2]


def test_a_padded_zero_is_a_zero():
    padded = [number for number in NUMBERS if "padded" in number.properties]
    assert len(padded) == 7 * 4
    assert all(number.printed.endswith("0") and number.decimals == 1 for number in padded)


def test_properties_stand_where_they_should():
    of = {name: {n.table for n in NUMBERS if name in n.properties} for name in PROPERTIES}
    assert of["selected-on-test"] == {"Table 2", "Section 4.2", "Table 3", "Supplement, Table 1"}
    assert of["reproduction"] == {"Table 4", "Table 5", "Table 7"}
    assert of["own-paper"] == {"Table 6", "Table 7"}
    assert {n.method for n in NUMBERS if "unverified" in n.properties} == {"meil"}
    assert {n.method for n in NUMBERS if "trained-on-boxes" in n.properties} == {"fsl"}
    assert not any(n.properties for n in NUMBERS if n.method == "inca" and n.table in ("Table 4", "Table 5", "Table 6"))


# --- finding a number -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "printed"),
    [
        (("cub", "vgg16", "cam", "max_box_acc_v2"), ["63.71", "63.7"]),
        (("cub", "resnet50", "inca", "max_box_acc_v2"), ["63.20", "63.2"]),
        (("cub", "resnet50", "inca", "max_box_acc_v2_iou70"), ["20.64"]),
        (("cub", "vgg16", "adl", "top1_cls"), ["54.95", "55.00"]),  # the second is 55.0 with a zero
        (("ilsvrc", "inception_v3", "inca", "top1_cls"), ["71.31", "76.54"]),  # the second is swapped with ResNet's
        (("openimages", "resnet50", "fsl", "pxap"), ["74.4"]),
        (("cub", "none", "center", "max_box_acc_v2"), ["59.7"]),
        (("ilsvrc", "resnet50", "adl", "top1_loc_at_0.2"), []),  # a dash
        (("ilsvrc", "resnet18", "cam", "max_box_acc_v2"), []),
        (("ilsvrc", "", "cam", "max_box_acc_v2"), []),  # a mean over backbones is nobody's twin
    ],
)
def test_the_number_to_compare_with_comes_first(what, printed):
    dataset, backbone, method, metric = what
    found = find_published(dataset=dataset, backbone=backbone, method=method, metric=metric)
    assert [number.printed for number in found] == printed


def test_a_row_of_an_ablation_is_found_by_its_preset():
    place = {"dataset": "cub", "backbone": "resnet50", "method": "inca", "metric": "max_box_acc_v2"}
    (number,) = find_published(**place, preset="supplement1/nt-xent")
    assert (number.value, number.source) == (63.43, "Ki et al., ACCV 2020, Supplement, Table 1")
    assert find_published(**place, preset="table2/baseline-with-m-dfg") == ()  # its difference alone is printed


def test_everything_that_has_a_backbone_can_be_found():
    for number in NUMBERS:
        if number.backbone and number.kind in ("value", "mean"):
            names = ("dataset", "backbone", "method", "metric", "preset")
            assert number in find_published(**{name: getattr(number, name) for name in names})


# --- the package ------------------------------------------------------------------------------------------------------


def test_the_data_are_part_of_the_package():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "wsolbench.published" in setup["packages"]
    assert ROOT / setup["package-dir"]["wsolbench.published"] == FOLDER
    assert setup["package-data"]["wsolbench.published"] == ["*.csv"]
