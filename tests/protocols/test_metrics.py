"""The metrics of a split, on cases small enough to work out by hand."""

import numpy as np
import pytest

from wsolbench.protocols import CRITERIA, BoxHits, SplitScores, between, box_cover, score

LOCALISATION = ("gt_known", "top1_loc", "top5_loc", *(f"max_box_acc_v2_iou{d}" for d in (30, 50, 70)))


def split(ranges, ranks=None, num_classes=10):
    """Build a split from each image's levels [first, after) of hits for d = 0.3, 0.5, 0.7; all maxima are 255."""
    decisions = np.zeros((len(ranges), 3, 256), dtype=bool)
    for i, image in enumerate(ranges):
        for d, (first, after) in enumerate(image):
            decisions[i, d, first:after] = True
    hits = BoxHits.from_levels(decisions, np.full(len(ranges), 255, dtype=np.uint8))
    if ranks is None:
        return SplitScores(hits=hits)
    return SplitScores(hits=hits, ranks=np.array(ranks), num_classes=num_classes)


# Level L is reached at the first t with int(255 t) = L, that is t = ceil(1000 L / 255) / 1000: 10 -> 0.040 (10.2),
# 20 -> 0.079 (20.145), 30 -> 0.118 (30.09), 100 -> 0.393 (100.2), 150 -> 0.589 (150.2), 200 -> 0.785 (200.2).
TEST = split(
    [
        [(0, 200), (10, 200), (20, 100)],
        [(0, 200), (10, 100), (150, 200)],
        [(0, 200), (100, 200), (150, 200)],
        [(0, 200), (0, 0), (0, 0)],
    ],
    ranks=[0, 4, 0, 0],
)
FULLSUP = split([[(100, 200), (150, 200), (0, 30)], [(0, 200), (150, 200), (0, 20)]])


def test_oracle_metrics_by_hand():
    out = score(TEST, None)
    assert out.images == 4
    assert out.metrics == {
        "gt_known": 50.0,  # levels 10 to 99: images 0 and 1; 100 to 199: images 0 and 2
        "max_box_acc_v2_iou30": 100.0,
        "max_box_acc_v2_iou50": 50.0,
        "max_box_acc_v2_iou70": 50.0,  # levels 150 to 199: images 1 and 2
        "max_box_acc_v2": pytest.approx(200 / 3),
        "top1_cls": 75.0,
        "top5_cls": 100.0,
        "top1_loc": 50.0,  # without image 1: images 0 and 2, at levels 100 to 199 only
        "top5_loc": 50.0,
    }
    assert out.thresholds == {
        "gt_known": 0.040,
        "max_box_acc_v2_iou30": 0.0,
        "max_box_acc_v2_iou50": 0.040,
        "max_box_acc_v2_iou70": 0.589,
        "top1_loc": 0.393,
        "top5_loc": 0.040,
    }


def test_frozen_metrics_by_hand():
    out = score(TEST, FULLSUP)
    frozen = {key: value for key, value in out.metrics.items() if key.endswith("_fullsup")}
    assert frozen == {
        # d = 0.5 was best at level 150 on train-fullsup (t = 0.589): images 0 and 2 of the test split
        "gt_known_fullsup": 50.0,
        "top1_loc_fullsup": 50.0,
        "top5_loc_fullsup": 50.0,
        "max_box_acc_v2_iou30_fullsup": 100.0,  # level 100
        "max_box_acc_v2_iou50_fullsup": 50.0,
        "max_box_acc_v2_iou70_fullsup": 0.0,  # level 0
        "max_box_acc_v2_fullsup": 50.0,
    }
    assert {key: out.thresholds[key + "_fullsup"] for key in LOCALISATION} == {
        "gt_known": 0.589,
        "top1_loc": 0.589,
        "top5_loc": 0.589,
        "max_box_acc_v2_iou30": 0.393,
        "max_box_acc_v2_iou50": 0.589,
        "max_box_acc_v2_iou70": 0.0,
    }
    assert not out.absent


def test_every_key_is_measured_or_absent_with_a_reason():
    keys = {"top1_cls", "top5_cls", "max_box_acc_v2", "max_box_acc_v2_fullsup"}
    keys |= {key + suffix for key in LOCALISATION for suffix in ("", "_fullsup")}
    bare = SplitScores(hits=TEST.hits)
    few = SplitScores(hits=TEST.hits, ranks=TEST.ranks, num_classes=4)
    for test, fullsup in ((TEST, FULLSUP), (TEST, None), (bare, FULLSUP), (bare, None), (few, FULLSUP), (few, None)):
        out = score(test, fullsup)
        assert out.metrics.keys() | out.absent.keys() == keys
        assert not out.metrics.keys() & out.absent.keys()
        assert all(out.absent.values())
        assert out.thresholds.keys() == {k for k in out.metrics if "cls" not in k} - {
            "max_box_acc_v2",
            "max_box_acc_v2_fullsup",
        }


def test_reasons():
    out = score(SplitScores(hits=TEST.hits, ranks=TEST.ranks, num_classes=4), None)
    assert out.absent["top5_loc"] == out.absent["top5_cls"] == "top 5 of 4 classes says nothing"
    assert "train-fullsup" in out.absent["gt_known_fullsup"]
    assert "top1_loc" in out.metrics
    assert "no logits" in score(SplitScores(hits=TEST.hits), None).absent["top1_cls"]


def test_an_oracle_is_never_below_its_frozen_twin():
    rng = np.random.default_rng(1)
    for _ in range(20):
        test, fullsup = (
            split(np.sort(rng.integers(0, 257, (9, 3, 2)), axis=2), ranks=rng.integers(0, 10, 9)) for _ in range(2)
        )
        out = score(test, fullsup)
        for key in (*LOCALISATION, "max_box_acc_v2"):
            assert out.metrics[key] >= out.metrics[key + "_fullsup"]
        assert out.metrics["top1_loc"] <= out.metrics["top5_loc"] <= out.metrics["gt_known"]
        assert out.metrics["gt_known"] == out.metrics["max_box_acc_v2_iou50"]


def test_a_slice_is_the_split_of_those_images():
    images = np.array([True, False, True, True])
    part = score(TEST.select(images), None)
    assert part.images == 3
    assert part.metrics["top1_cls"] == 100.0
    assert part.metrics["gt_known"] == pytest.approx(200 / 3)
    assert SplitScores(hits=TEST.hits).select(images).ranks is None


def test_malformed_splits_are_refused():
    with pytest.raises(ValueError, match="no images"):
        SplitScores(hits=TEST.hits.select(np.zeros(4, dtype=bool)))
    with pytest.raises(ValueError, match="IoU criteria"):
        SplitScores(hits=BoxHits(packed=TEST.hits.packed, maxima=TEST.hits.maxima, criteria=(0.5, 0.6, 0.7)))
    with pytest.raises(ValueError, match="ranks have shape"):
        SplitScores(hits=TEST.hits, ranks=np.zeros(3, dtype=int), num_classes=5)
    with pytest.raises(ValueError, match="number of classes"):
        SplitScores(hits=TEST.hits, ranks=np.zeros(4, dtype=int))
    assert CRITERIA == (0.3, 0.5, 0.7)


def test_cover_is_the_largest_box_within_the_image():
    boxes = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [-5, -5, 4, 9], [20, 20, 30, 30]])
    cover = box_cover(boxes, np.array([0, 2, 3, 4]), (10, 10))
    assert cover.tolist() == [0.04, 0.5, 0.0]
    assert between(cover, 0.04, 0.5).tolist() == [True, True, False]
    assert between(cover, 0.05, 0.49).tolist() == [False, False, False]
    with pytest.raises(ValueError, match="image 1 has no ground-truth box"):
        box_cover(boxes, np.array([0, 4, 4]), (10, 10))
