"""Rows of another kind in the same table: post-hoc maps of a trained network, and methods that trained on boxes."""

import csv
import io

from record_examples import make_null, make_record

from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import to_markdown
from wsolbench.leaderboard.sections import caption, mark
from wsolbench.leaderboard.tidy import to_csv

V2 = ("", "max_box_acc_v2")
EXTRACTED = {"extractor": {"name": "gradcam", "point": "layer4.1"}}
FEW = {"supervision": {"kind": "masks", "train_images": 1320, "threshold_images": 80}}


def labels(rows):
    return [row.label for row in rows]


def test_post_hoc_maps_are_rows_of_their_own_in_the_same_table():
    records = [make_record("cam", seed, v2=50.0 + seed) for seed in range(2)]
    records += [make_record("cam", seed, v2=60.0 + seed, **EXTRACTED) for seed in range(2)]
    records.append(make_record("has", config={"cell": 4}, v2=40.0, **EXTRACTED))
    (table,) = build(records).tables
    assert [(row.label, row.n, row.extractor) for row in table.rows] == [
        ("cam + gradcam", 2, "gradcam"),
        ("cam", 2, ""),
        ("has + gradcam", 1, "gradcam"),
    ]
    assert mark(table, V2) == {"cam + gradcam": 1, "cam": 2}
    other = make_record("cam", v2=30.0, extractor={"name": "gradcam", "point": "layer3.0"})
    assert labels(build([*records[2:4], other]).tables[0].rows) == [
        "cam + gradcam (point=layer4.1)",
        "cam + gradcam (point=layer3.0)",
    ]


def test_a_row_that_trained_on_boxes_is_marked_and_never_ranked():
    records = [make_record("cam", v2=50.0), make_record("has", v2=40.0), make_record("few", v2=90.0, **FEW)]
    (table,) = build([*records, make_null()]).tables
    assert labels(table.rows) == ["few", "cam", "has"]
    assert mark(table, V2) == {"cam": 1, "has": 2}
    text = to_markdown(build([*records, make_null()]))
    assert "| few ¹ " in text
    assert " 90.00 " in text
    assert (
        "¹ not weakly supervised: trained on the boxes of 1,320 images of train-fullsup; its thresholds were frozen on"
        " 80 others of that split" in text
    )
    assert "second best italic, null rows and rows that trained on boxes not ranked, nor means" in caption(table)
    alone = build([records[0], records[2]]).tables[0]
    assert mark(alone, V2) == {}  # a single weakly supervised row has beaten nobody
    assert "trained on boxes" not in to_markdown(build(records[:2]))


def test_csv_names_extractor_and_supervision():
    records = [make_record("cam"), make_record("cam", **EXTRACTED), make_record("few", **FEW)]
    lines = csv.DictReader(io.StringIO(to_csv(build(records))))
    assert {(line["method"], line["extractor"], line["supervision"]) for line in lines} == {
        ("cam", "", "labels"),
        ("cam", "gradcam", "labels"),
        ("few", "", "masks"),
    }


def test_masks_are_ranked_by_pxap_in_a_column_of_their_own():
    reason = dict.fromkeys(("max_box_acc_v2", "gt_known"), "the split has masks, no boxes")

    def masked(method, pxap, make=make_record, **changes):
        return make(method, fields={"metrics": {"pxap": pxap, "top1_cls": 80.0}, "absent": reason}, **changes)

    records = [masked("cam", 50.0), masked("has", 60.0), masked("few", 70.0, **FEW), masked("center", 30.0, make_null)]
    board = build(records)
    (table,) = board.tables
    assert labels(table.rows) == ["few", "has", "cam"]
    assert mark(table, ("", "pxap")) == {"has": 1, "cam": 2}
    text = to_markdown(board)
    head = next(line for line in text.splitlines() if line.startswith("| Method"))
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["Method", "n", "Top-1 Cls", "PxAP"]
    assert "Ranked by “PxAP”. PxAP pools the pixels of all test images and has no threshold." in text
    assert "trained on the masks of 1,320 images of train-fullsup  " in text
    assert "the split has masks, no boxes" not in text
    of_boxes = to_markdown(build([make_record("cam", fields={"absent": {"pxap": "the split has boxes, no masks"}})]))
    assert "PxAP" not in of_boxes
