"""What papers print beside what was measured: twins by hand, every number once, nothing mixed."""

from collections import Counter

import pytest
from leaderboard_examples import INCA, V2, cub, lines_of, notes_of
from record_examples import make_null

from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import make_page
from wsolbench.leaderboard.published import TABLES, published_twin
from wsolbench.leaderboard.sections import Beside
from wsolbench.papers import published_numbers

SHOWN = Beside(published=True)
MINUS = "in parentheses: minus what is printed in "
CHOE = f"{MINUS}Choe et al., CVPR 2020, and its journal extension, as listed in our protocol"


def grid(records, layout="main"):
    (found,) = make_page(build(records), layout, SHOWN).grids
    return found


def twin(record, metric=V2):
    (row,) = build([record]).tables[0].rows or build([record]).tables[0].nulls
    found = published_twin(row, ("", metric))
    return None if found is None else (found.table, found.printed)


def of_kind(found, kind):
    return [line for line in found.lines if line.kind == kind]


def test_differences_from_the_papers_by_hand():
    records = [cub("cam", seed, v2=60.0 + seed, metrics={"top1_cls": 70.0}) for seed in (0, 2)]
    records += [cub("ccam", v2=64.0), cub("center", v2=60.7, make=make_null)]
    found = grid(records)
    # Choe et al. print 62.98 for CAM on ResNet50 and 59.7 for the Gaussian; Table 7 prints 71.50; ccam is in no paper.
    lines = {line.label: [cell.text + cell.rest for cell in line.cells] for line in found.lines[:3]}
    assert lines == {
        "cam": ["2", "70.00 ± 0.00 (−1.50)", "61.00 ± 1.41 (−1.98)"],
        "ccam": ["1", "–", "64.00"],
        "center": ["1", "–", "60.70 (+1.00)"],
    }
    assert notes_of(found, "cam")[1][2] == [CHOE]
    assert notes_of(found, "cam")[1][1] == [
        f"{MINUS}Ki et al., ACCV 2020, Table 7; not the paper's own method: a reproduction by Choe et al.; one decimal,"
        " to which the table appends a zero"
    ]


def test_published_lines_are_a_block_of_their_own_and_never_ranked():
    found = grid([cub("cam", v2=1.0), cub("has", v2=2.0)])
    kinds = [line.kind for line in found.lines]
    assert kinds == sorted(kinds, key=["measured", "null", "published"].index)
    published = of_kind(found, "published")
    assert all(line.notes and cell.rank == 0 for line in published for cell in line.cells)
    assert {line.label for line in published} >= {"CAM", "Ours", "few-shot learning (FSL)", "centre-Gaussian baseline"}
    assert not any(line.label.startswith(("Ours (full)", "Ours w/o", "+ pool")) for line in published)
    assert {line.label: line.cells[0].rank for line in found.lines if line.kind == "measured"} == {"has": 0, "cam": 0}
    assert [line.cells[1].rank for line in of_kind(found, "measured")] == [1, 2]


def test_every_number_of_the_columns_is_in_the_block():
    found = grid([cub("cam", metrics={"top1_cls": 5.0})])
    expected = Counter(
        number.printed
        for number in published_numbers()
        if number.dataset == "cub"
        and number.backbone in ("resnet50", "none")
        and not number.preset
        and number.kind in ("value", "mean")
        and number.metric in (V2, "top1_cls")
    )
    assert Counter(cell.text for line in of_kind(found, "published") for cell in line.cells if cell.value) == expected
    assert sum(expected.values()) > 20


@pytest.mark.parametrize("layout", TABLES)
def test_with_no_record_the_papers_table_is_printed_with_every_number_once(layout):
    found = grid([], layout)
    printed = Counter()
    for line in found.lines:
        for cell in line.cells:
            if cell.text != "–":
                printed.update(part for part in (cell.text + cell.rest).replace("(", " ").replace(")", " ").split())
    numbers = [number for number in published_numbers() if number.table == TABLES[layout]]
    assert printed == Counter(number.printed for number in numbers if number.kind != "empty")
    assert sum(cell.text == "–" for line in found.lines for cell in line.cells) == sum(
        n.kind == "empty" for n in numbers
    )
    assert {line.kind for line in found.lines} == {"published"}
    assert found.title.endswith(", as printed")


def test_layouts_of_ones_own_have_nothing_to_print_without_records():
    assert make_page(build([]), "main", SHOWN).grids == ()


def test_an_ablated_inca_is_compared_with_the_ablation_alone():
    assert twin(cub("inca")) == ("Table 5", "63.20")
    assert twin(cub("inca", config={**INCA, "contrastive": "none"})) == ("Table 2", "61.20")
    assert twin(cub("inca", config={**INCA, "contrastive": "nt-xent"})) == ("Supplement, Table 1", "63.43")
    assert twin(cub("inca", config={**INCA, "fc": False, "contrastive": "none"})) is None
    points = {**INCA, "points": ["pool4", "conv5_3"]}
    assert twin(cub("inca", config=points, backbone="vgg16")) == ("Table 3", "64.67")
    assert twin(cub("inca", config=points)) is None  # Table 3 is of VGG16
    assert twin(cub("inca", backbone="vgg16")) == ("Table 5", "66.72")


def test_what_has_no_twin():
    assert twin(cub("cam")) == ("as listed in our protocol", "62.98")
    assert twin(cub("cam", dataset_options={"classes": 3})) is None
    assert twin(cub("cam", extractor={"name": "gradcam", "point": "x"})) is None
    assert twin(cub("cam", dataset="parts")) is None
    assert twin(cub("cam", backbone="resnet18")) is None
    (row,) = build([cub("cam")]).tables[0].rows
    assert published_twin(row, ("boxes_5_50", V2)) is None


def test_the_conventional_top_1_loc_compares_with_t_0_2_alone():
    values = {"top1_loc": 50.0, "top1_loc_fullsup": 49.0, "top1_loc_at_0.2": 45.0}
    record = cub("cam", metrics=values)
    assert [twin(record, metric) for metric in values] == [None, None, ("Table 6", "49.4")]
    assert lines_of(grid([record], "table6"))["cam"] == ["45.00 (−4.40)"]
    main = of_kind(grid([record]), "measured")[0]
    assert ["(" in cell.rest for cell in main.cells] == [False, True, False, False]  # V2 alone has a twin


def test_the_misprint_of_table_7_is_asked_last():
    record = cub("inca", dataset="ilsvrc", metrics={"top1_cls": 76.0})
    assert twin(record, "top1_cls") == ("Table 5", "76.54")


def test_means_compare_over_the_same_backbones_only():
    records = [cub("cam", v2=60.0 + i, backbone=name) for i, name in enumerate(("vgg16", "inception_v3", "resnet50"))]
    found = grid(records, "table4")
    assert [head.title for head in found.heads] == ["inception_v3", "resnet50", "vgg16", "Mean"]
    assert lines_of(found)["cam"][-1] == "61.00 (−0.10)"  # Table 4 prints 61.1
    assert [line.cells[-1].text for line in of_kind(found, "published") if line.label == "CAM [6]"] == ["61.1"]
    two = grid(records[:2], "table4")
    assert lines_of(two)["cam"][-1] == "60.50"
    means = {line.label for line in of_kind(two, "published") if line.cells[-1].value is not None}
    assert means == {"centre-Gaussian baseline"}  # which has no backbone
    ablated = [
        cub("inca", config={**INCA, "fc": False}, backbone=name) for name in ("vgg16", "inception_v3", "resnet50")
    ]
    assert "(" not in lines_of(grid(ablated, "table4"))["inca"][-1]


def test_part_of_a_dataset_has_no_published_numbers_anywhere():
    part = {"dataset_options": {"classes": 3}}
    for layout in ("main", "table4"):
        found = make_page(build([cub("cam", **part)]), layout, SHOWN).grids[0]
        assert [line.kind for line in found.lines] == ["measured"]
        assert not any("(−" in cell.rest for line in found.lines for cell in line.cells)
    said = " ".join(grid([cub("cam", **part)]).caption)
    assert "No published number in our collection is of cub (classes=3), resnet50" in said


def test_a_part_beside_a_whole_dataset_hides_no_published_number():
    found = grid([cub("cam", dataset_options={"classes": 3}), cub("cam", dataset="ilsvrc")], "table4")
    cam = next(line for line in of_kind(found, "published") if line.label == "CAM")
    assert [cell.text for cell in cam.cells] == ["", "63.65"]


def test_tables_5_and_2_show_the_papers_rows_of_that_table():
    metrics = {"top1_cls": 70.0} | {f"{V2}_iou{d}": 50.0 for d in (30, 50, 70)}
    found = grid([cub("inca", metrics=metrics), cub("adl", metrics=metrics)], "table5")
    assert {line.label: line.cells[0].text for line in of_kind(found, "published")} == {
        "ADL, resnet50": "66.60",
        "Ours, resnet50": "80.35",
    }
    found = grid([cub("inca", metrics=metrics)], "table2")
    rows = {line.label: line.cells[-1].text for line in of_kind(found, "published")}
    assert (len(rows), rows["Ours (full)"], rows["Baseline [9]"]) == (6, "63.20", "58.34")
    assert all(
        "selected" in line.notes[0] or "run on the test split" in line.notes[0] for line in of_kind(found, "published")
    )
