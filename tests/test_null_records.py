"""The records of the null rows, on boxes whose scores follow by hand."""

import pytest

from wsolbench.null_rows import write_null_rows
from wsolbench.records import read_record

# On 20x20 pixels: all of it; 36 % of it, in the centre; 36 %, in a corner; a centred strip of 20 %.
WHOLE, MIDDLE, CORNER, STRIP = (0, 0, 19, 19), (4, 4, 15, 15), (0, 0, 11, 11), (8, 0, 11, 19)

CODE = ("a" * 40, False)


@pytest.fixture
def dataset(make_dataset):
    return make_dataset({"test": [[WHOLE], [MIDDLE], [CORNER], [STRIP]], "train-fullsup": [[MIDDLE]]}, size=(20, 20))


@pytest.fixture
def records(dataset, tmp_path):
    paths = write_null_rows(dataset, 20, (5, 5), tmp_path, "wsolbench run cam boxed", CODE)
    assert {(read_record(path).provenance.commit, read_record(path).provenance.dirty) for path in paths} == {CODE}
    return {record.identity["method"]: record for record in map(read_record, paths)}


def test_three_records_that_train_nothing(records):
    assert set(records) == {"center", "full-image", "ceiling"}
    for record in records.values():
        assert not record.trainable
        assert record.map_size == (5, 5)
        assert record.identity["backbone"] == "none"
        assert record.provenance.command == "wsolbench run cam boxed"
        assert record.provenance.train_images_per_s is None
        assert record.history == []
        assert record.images == {"train-weaksup": 1, "train-fullsup": 1, "test": 4}
        assert record.absent["top1_cls"] == record.absent["top5_loc_fullsup"] == "it does not classify"


def test_full_image_scores_the_share_of_the_image(records):
    # Its IoU is the box's share: 1, .36, .36, .2; the threshold makes no difference.
    metrics, part = records["full-image"].metrics, records["full-image"].slices["boxes_5_50"]
    for suffix in ("", "_fullsup"):
        assert [metrics[f"max_box_acc_v2_iou{d}{suffix}"] for d in (30, 50, 70)] == [75, 25, 25]
        assert metrics["max_box_acc_v2" + suffix] == pytest.approx(125 / 3)
        assert metrics["gt_known" + suffix] == 25
    assert part.images == 3  # all but WHOLE
    assert part.metrics["max_box_acc_v2_iou30"] == pytest.approx(200 / 3)
    assert part.metrics["gt_known"] == 0


def test_center_finds_what_is_centred(records):
    # Its boxes are centred squares of side s. IoU with WHOLE is s^2 / 400; with MIDDLE 144 / s^2 from s = 12 on; with
    # CORNER (12 - o)^2 / (144 + s^2 - (12 - o)^2), o = (20 - s) / 2, at most .36; with STRIP 4s / (s^2 + 80 - 4s).
    metrics = records["center"].metrics
    assert metrics["max_box_acc_v2_iou30"] == 75  # from s = 19 on: all but STRIP, which needs s <= 12
    assert metrics["gt_known"] == 50  # s = 15 or 16: WHOLE and MIDDLE
    assert metrics["max_box_acc_v2_iou70"] == 25  # WHOLE needs s >= 17, MIDDLE s <= 14
    assert metrics["gt_known_fullsup"] == 50  # the largest s at which MIDDLE is found is one that finds WHOLE


def test_the_ceiling_loses_only_to_resolution(dataset, records, tmp_path):
    assert records["ceiling"].metrics["max_box_acc_v2_iou50"] == 100  # every box is made of whole cells
    exact, coarse = (write_null_rows(dataset, 20, size, tmp_path, "x", CODE)[2] for size in ((20, 20), (1, 1)))
    assert read_record(exact).metrics["max_box_acc_v2"] == 100
    assert read_record(coarse).metrics["max_box_acc_v2"] == 0  # one cell is a constant map, which is no answer


def test_written_once_for_each_size(dataset, tmp_path):
    first = write_null_rows(dataset, 20, (5, 5), tmp_path, "a", CODE)
    written = [path.read_bytes() for path in first]
    assert write_null_rows(dataset, 20, (5, 5), tmp_path, "b", CODE) == first
    assert [path.read_bytes() for path in first] == written
    for side, size in ((20, (4, 4)), (24, (5, 5))):
        assert not set(write_null_rows(dataset, side, size, tmp_path, "a", CODE)) & set(first)
    assert len(list(tmp_path.rglob("*.json"))) == 9


def test_a_changed_box_is_another_row(make_dataset, tmp_path):
    for box in (MIDDLE, CORNER):
        write_null_rows(
            make_dataset({"test": [[WHOLE]], "train-fullsup": [[box]]}, size=(20, 20)), 20, (5, 5), tmp_path, "a", CODE
        )
    assert len(list(tmp_path.rglob("*.json"))) == 6
