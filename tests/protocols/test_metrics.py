"""The metrics of a split, on cases small enough to work out by hand."""

import numpy as np
import pytest

from wsolbench.protocols import (
    CRITERIA,
    BoxAccumulator,
    BoxCounts,
    BoxHits,
    PixelCounts,
    SplitScores,
    between,
    box_counts,
    box_cover,
    box_hits,
    label_ranks,
    score,
    score_counts,
    score_pixels,
)

ONE_CURVE = ("gt_known", "max_box_acc", "top1_loc", "top5_loc", *(f"max_box_acc_v2_iou{d}" for d in (30, 50, 70)))
AT = ("gt_known_at_0.2", "top1_loc_at_0.2")
KEYS = {*ONE_CURVE, *AT, "max_box_acc_v2", "top1_cls", "top5_cls", "pxap"}
KEYS |= {f"{key}_fullsup" for key in (*ONE_CURVE, "max_box_acc_v2")}


def split(ranges, ranks=None, num_classes=10, largest=None):
    """Build a split from each image's levels [first, after) of hits for d = 0.3, 0.5, 0.7; all maxima are 255.

    ``largest`` is likewise for the largest contour; None: the hits are without it.
    """
    decisions = np.zeros((2, len(ranges), 3, 256), dtype=bool)
    for rule, images in enumerate((ranges, largest or [])):
        for i, image in enumerate(images):
            for d, (first, after) in enumerate(image):
                decisions[rule, i, d, first:after] = True
    maxima = np.full(len(ranges), 255, dtype=np.uint8)
    hits = BoxHits.from_levels(decisions[0], maxima, largest=None if largest is None else decisions[1])
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
    # t = 0.2 is level 51 on these maps.
    largest=[
        [(0, 200), (51, 200), (0, 0)],
        [(0, 200), (10, 52), (0, 0)],
        [(0, 200), (20, 51), (0, 0)],
        [(0, 200), (0, 0), (0, 0)],
    ],
)
FULLSUP = split(
    [[(100, 200), (150, 200), (0, 30)], [(0, 200), (150, 200), (0, 20)]],
    largest=[[(0, 0), (30, 200), (0, 0)], [(0, 0), (10, 20), (0, 0)]],
)


def test_oracle_metrics_by_hand():
    out = score(TEST, None)
    assert out.images == 4
    assert out.metrics == {
        "max_box_acc": 50.0,  # images 1 and 2 at levels 20 to 50; 0 and 1 at level 51
        "gt_known_at_0.2": 50.0,  # level 51: images 0 and 1
        "top1_loc_at_0.2": 25.0,  # without image 1
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
        "max_box_acc": 0.079,
        "gt_known_at_0.2": 0.2,
        "top1_loc_at_0.2": 0.2,
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
        "max_box_acc_fullsup": 25.0,  # on its own curve: level 10 on train-fullsup, image 1 of the test split
        "top1_loc_fullsup": 50.0,
        "top5_loc_fullsup": 50.0,
        "max_box_acc_v2_iou30_fullsup": 100.0,  # level 100
        "max_box_acc_v2_iou50_fullsup": 50.0,
        "max_box_acc_v2_iou70_fullsup": 0.0,  # level 0
        "max_box_acc_v2_fullsup": 50.0,
    }
    assert {key: out.thresholds[key + "_fullsup"] for key in ONE_CURVE} == {
        "gt_known": 0.589,
        "max_box_acc": 0.040,
        "top1_loc": 0.589,
        "top5_loc": 0.589,
        "max_box_acc_v2_iou30": 0.393,
        "max_box_acc_v2_iou50": 0.589,
        "max_box_acc_v2_iou70": 0.0,
    }
    assert out.absent == {"pxap": "the split has boxes, no masks"}


def test_every_key_is_measured_or_absent_with_a_reason():
    bare = SplitScores(hits=TEST.hits)
    few = SplitScores(hits=TEST.hits, ranks=TEST.ranks, num_classes=4)
    old = SplitScores(hits=BoxHits(packed=TEST.hits.packed, maxima=TEST.hits.maxima))
    for test, fullsup in ((a, b) for a in (TEST, bare, few, old) for b in (FULLSUP, None, old)):
        out = score(test, fullsup)
        assert out.metrics.keys() | out.absent.keys() == KEYS
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
            split(
                np.sort(rng.integers(0, 257, (9, 3, 2)), axis=2),
                ranks=rng.integers(0, 10, 9),
                largest=np.sort(rng.integers(0, 257, (9, 3, 2)), axis=2).tolist(),
            )
            for _ in range(2)
        )
        out = score(test, fullsup)
        for key in (*ONE_CURVE, "max_box_acc_v2"):
            assert out.metrics[key] >= out.metrics[key + "_fullsup"]
        assert out.metrics["top1_loc"] <= out.metrics["top5_loc"] <= out.metrics["gt_known"]
        assert out.metrics["gt_known"] == out.metrics["max_box_acc_v2_iou50"]
        assert out.metrics["top1_loc_at_0.2"] <= out.metrics["gt_known_at_0.2"] <= out.metrics["max_box_acc"]


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
    for criteria in ((0.5, 0.6, 0.625), (0.5, 0.5, 0.7), (0.0, 0.5, 0.7), (0.3, 0.5, 50)):
        with pytest.raises(ValueError, match="IoU criteria"):
            SplitScores(hits=BoxHits(packed=TEST.hits.packed, maxima=TEST.hits.maxima, criteria=criteria))
    with pytest.raises(ValueError, match="ranks have shape"):
        SplitScores(hits=TEST.hits, ranks=np.zeros(3, dtype=int), num_classes=5)
    with pytest.raises(ValueError, match="number of classes"):
        SplitScores(hits=TEST.hits, ranks=np.zeros(4, dtype=int))
    assert CRITERIA == (0.3, 0.5, 0.7)


# --- other criteria ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    """Return 14 score maps with their boxes, offsets and ranks."""
    rng = np.random.default_rng(2)
    maps = rng.integers(0, 256, (14, 6, 6)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    corner, extent = rng.integers(0, 12, (20, 2)), rng.integers(1, 12, (20, 2))
    offsets = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20])
    ranks = label_ranks(rng.random((14, 7)), rng.integers(0, 7, 14))
    return maps, np.concatenate([corner, corner + extent], axis=1), offsets, ranks


def part_of(images, chosen):
    """Return the images of some indices."""
    maps, boxes, offsets, ranks = images
    own = [boxes[offsets[i] : offsets[i + 1]] for i in chosen]
    return maps[chosen], np.concatenate(own), np.cumsum([0, *map(len, own)]), ranks[chosen]


def test_other_criteria_get_keys_of_their_own(images):
    maps, boxes, offsets, ranks = images
    wide = (0.1, 0.3, 0.5, 0.55, 0.7)
    usual, more = (
        score(SplitScores(hits=box_hits(maps, boxes, offsets, criteria), ranks=ranks, num_classes=7), None)
        for criteria in (CRITERIA, wide)
    )
    assert more.metrics == usual.metrics | {
        f"max_box_acc_v2_iou{d}": more.metrics[f"max_box_acc_v2_iou{d}"] for d in (10, 55)
    }
    values = [more.metrics[f"max_box_acc_v2_iou{round(100 * d)}"] for d in wide]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_without_the_protocols_criteria_their_metrics_are_absent(images):
    maps, boxes, offsets, _ = images
    out = score(SplitScores(hits=box_hits(maps, boxes, offsets, (0.3, 0.9))), None)
    assert set(out.metrics) == {"max_box_acc_v2_iou30", "max_box_acc_v2_iou90"}
    assert out.absent["gt_known"] == out.absent["max_box_acc"] == "the IoU criterion 0.5 was not asked for"
    assert out.absent["max_box_acc_v2"] == "not all of the IoU criteria 0.3, 0.5, 0.7 are there"
    with pytest.raises(ValueError, match="expected the same"):
        score(SplitScores(hits=box_hits(maps, boxes, offsets, (0.3, 0.9))), FULLSUP)


# --- in parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criteria", [CRITERIA, (0.5,)])
def test_whole_is_streamed_is_sharded(images, criteria):
    maps, boxes, offsets, ranks = images
    split = SplitScores(hits=box_hits(maps, boxes, offsets, criteria), ranks=ranks, num_classes=7)
    whole = box_counts(split)
    streamed = BoxAccumulator(criteria, num_classes=7)
    for start in (0, 5, 10):
        streamed.update(*part_of(images, np.arange(start, min(start + 5, 14))))
    shards = []
    for rank in range(3):
        shard = BoxAccumulator(criteria, num_classes=7, threads=2)
        shard.update(*part_of(images, np.arange(rank, 14, 3)))
        shards.append(shard.counts)
    summed = sum(shard.counters() for shard in shards)
    assert summed.dtype == np.int64
    for counts in (streamed.counts, shards[0] + shards[1] + shards[2], shards[1].with_counters(summed)):
        np.testing.assert_array_equal(counts.counters(), whole.counters())
        assert score_counts(counts, whole) == score(split, split)
    assert whole.images[0] == 14
    assert whole.found[:, 0].any()
    assert not np.array_equal(whole.found[0], whole.found[1])  # the two rules differ


def test_counts_of_different_kinds_do_not_add_up(images):
    maps, boxes, offsets, ranks = images
    plain = box_counts(SplitScores(hits=box_hits(maps, boxes, offsets)))
    for other in (
        BoxCounts.none(num_classes=7),
        BoxCounts.none((0.5, 0.6, 0.7)),
        box_counts(split(np.zeros((1, 3, 2), int))),
    ):
        with pytest.raises(ValueError, match="counts of different kinds cannot be added"):
            plain + other
    with pytest.raises(ValueError, match="no image was counted"):
        score_counts(BoxCounts.none(), None)
    with pytest.raises(ValueError, match="counts have shapes"):
        BoxCounts(images=plain.images, found=plain.found[..., :5])
    classified = BoxAccumulator(num_classes=7)
    with pytest.raises(ValueError, match="counts of different kinds"):
        classified.update(maps, boxes, offsets)
    with pytest.raises(ValueError, match="without the number of classes"):
        BoxAccumulator().update(maps, boxes, offsets, ranks)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_a_split_with_masks_has_pxap_and_classification_only():
    counts = PixelCounts(
        positive=np.eye(1, 1001, 5, dtype=np.int64)[0], negative=np.eye(1, 1001, 5, dtype=np.int64)[0] * 3
    )
    out = score_pixels(counts, 4, ranks=np.array([0, 1, 4, 9]), num_classes=10)
    assert out.metrics == {"pxap": 25.0, "top1_cls": 25.0, "top5_cls": 75.0}
    assert out.absent == dict.fromkeys(KEYS - out.metrics.keys(), "the split has masks, no boxes")
    assert score_pixels(counts, 4).absent["top1_cls"] == "no logits: only score maps were given"


# --- slices -----------------------------------------------------------------------------------------------------------


def test_cover_is_the_largest_box_within_the_image():
    boxes = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [-5, -5, 4, 9], [20, 20, 30, 30]])
    cover = box_cover(boxes, np.array([0, 2, 3, 4]), (10, 10))
    assert cover.tolist() == [0.04, 0.5, 0.0]
    assert between(cover, 0.04, 0.5).tolist() == [True, True, False]
    assert between(cover, 0.05, 0.49).tolist() == [False, False, False]
    with pytest.raises(ValueError, match="image 1 has no ground-truth box"):
        box_cover(boxes, np.array([0, 4, 4]), (10, 10))
