"""Scoring a split: boxes on a worker, in any order of batches, and the slices by box size."""

import dataclasses
import threading

import numpy as np
import pytest
from PIL import Image

from wsolbench.data.listed import Listed, mask_annotations
from wsolbench.data.splits import Masks
from wsolbench.errors import UserError
from wsolbench.protocols import (
    CRITERIA,
    MIN_MAX,
    BoxHits,
    Normalization,
    SplitScores,
    average_precision,
    level_hits_batch,
    pixel_counts,
    resize_nearest,
    score,
    unit_maps,
)
from wsolbench.scoring import BoxScorer, scaled_boxes, score_raw_maps, score_with_slices, slice_masks

SIDE = 24


@pytest.fixture
def split(make_dataset):
    """Return 23 images with one to three boxes each, and a map for each."""
    rng = np.random.default_rng(5)

    def box():
        x, y = np.sort(rng.integers(0, 48, 2)), np.sort(rng.integers(0, 36, 2))
        return x[0], y[0], x[1], y[1]

    per_image = [[box() for _ in range(1 + index % 3)] for index in range(23)]
    annotations = make_dataset({"test": per_image}, size=(36, 48)).annotations("test")
    maps = rng.integers(0, 256, (23, 3, 3)).astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    maps[4] = 0
    return annotations, maps


def scored(annotations, maps, starts, threads=1):
    with BoxScorer(annotations, SIDE, threads) as scorer:
        for start in starts:
            scorer.submit(start, maps[start : start + 5])
        return scorer.hits()


@pytest.mark.parametrize("starts", [[0, 5, 10, 15, 20], [20, 0, 15, 5, 10], [10, 20, 5, 0, 15]])
@pytest.mark.parametrize("threads", [1, 2])
def test_any_order_of_batches_gives_the_hits_of_each_image(split, starts, threads):
    annotations, maps = split
    hits = scored(annotations, maps, starts, threads)
    boxes = annotations.boxes * SIDE // [48, 36, 48, 36]
    for index in range(len(annotations)):
        own = boxes[annotations.offsets[index] : annotations.offsets[index + 1]]
        alone = level_hits_batch(maps[index][None], own, np.array([0, len(own)]), CRITERIA)[0]
        np.testing.assert_array_equal(hits.unpacked()[index], alone)
    assert hits.maxima.tolist() == maps.max(axis=(1, 2)).tolist()
    assert hits.unpacked().any()


def test_scales_each_box_by_its_own_picture(split):
    annotations, _ = split
    sizes = np.array([[36, 48]] * 22 + [[18, 30]])
    mixed = dataclasses.replace(annotations, sizes=sizes)
    per_box = sizes.repeat(np.diff(mixed.offsets), axis=0)
    expected = [
        [x0 * SIDE // w, y0 * SIDE // h, x1 * SIDE // w, y1 * SIDE // h]
        for (x0, y0, x1, y1), (h, w) in zip(mixed.boxes.tolist(), per_box.tolist(), strict=True)
    ]
    assert scaled_boxes(mixed, SIDE).tolist() == expected


def test_every_image_must_be_scored_once(split):
    annotations, maps = split
    with pytest.raises(AssertionError, match="scored once"):
        scored(annotations, maps, [0, 5, 15, 20])
    with pytest.raises(AssertionError, match="scored once"):
        scored(annotations, maps, [0, 5, 10, 10, 15, 20])


def test_an_error_on_the_worker_is_not_lost(split):
    annotations, maps = split
    with BoxScorer(annotations, SIDE) as scorer:
        scorer.submit(0, maps[:5].astype(np.float32))
        with pytest.raises(ValueError, match="uint8"):
            scorer.hits()


def test_submit_does_not_wait(split, monkeypatch):
    annotations, maps = split
    gate, plain = threading.Event(), BoxScorer._score
    monkeypatch.setattr("wsolbench.scoring._QUEUED", 5)
    monkeypatch.setattr(BoxScorer, "_score", lambda *args: (gate.wait(10), plain(*args)))
    with BoxScorer(annotations, SIDE) as scorer:
        for start in range(0, 23, 5):
            scorer.submit(start, maps[start : start + 5])
        assert not scorer._scored.any()  # would have blocked for seconds otherwise
        gate.set()
        assert len(scorer.hits()) == 23


def test_leaving_with_an_error_drops_what_is_queued(split, monkeypatch):
    annotations, maps = split
    begun, gate, calls = threading.Event(), threading.Event(), []
    monkeypatch.setattr("wsolbench.scoring._QUEUED", 5)
    monkeypatch.setattr(BoxScorer, "_score", lambda *args: (calls.append(1), begun.set(), gate.wait(10)))

    def work():
        with BoxScorer(annotations, SIDE) as scorer:
            for start in range(0, 23, 5):
                scorer.submit(start, maps[start : start + 5])
            begun.wait(10)
            threading.Timer(0.05, gate.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert calls == [1]


# --- slices -----------------------------------------------------------------------------------------------------------


def test_slices_by_the_largest_box(make_dataset):
    # On 20x20 pixels the boxes have 4x4=16 (4 %), 5x4=20 (5 %), 10x20=200 (50 %) and 11x20=220 (55 %) pixels.
    boxes = [[(0, 0, 3, 3)], [(0, 0, 4, 3)], [(0, 0, 9, 19), (0, 0, 1, 1)], [(5, 5, 6, 6), (0, 0, 10, 19)]]
    annotations = make_dataset({"test": boxes}, size=(20, 20)).annotations("test")
    masks = slice_masks(annotations, 20)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"boxes_5_50": [False, True, True, False]}


def scored_boxes(dataset):
    return {split: dataset.annotations(split) for split in ("test", "train-fullsup")}


def hits_of(decisions):
    """Return hits that hold at all levels or none: one row of decisions per image and criterion."""
    levels = np.repeat(np.array(decisions, dtype=bool)[:, :, None], 256, axis=2)
    return BoxHits.from_levels(levels, np.full(len(levels), 255, dtype=np.uint8))


def test_a_slice_is_scored_as_a_smaller_dataset(make_dataset):
    small, middle = (0, 0, 3, 3), (0, 0, 9, 9)
    dataset = make_dataset({"test": [[small], [middle], [middle]], "train-fullsup": [[middle], [small]]}, size=(20, 20))
    test = SplitScores(hits=hits_of([[1, 1, 1], [1, 1, 0], [1, 0, 0]]), ranks=np.array([9, 0, 3]), num_classes=10)
    fullsup = SplitScores(hits=hits_of([[1, 1, 1], [0, 0, 0]]), ranks=np.array([0, 0]), num_classes=10)
    whole, slices = score_with_slices({"test": test, "train-fullsup": fullsup}, scored_boxes(dataset), 20)
    assert whole == score(test, fullsup)
    assert whole.metrics["gt_known"] == pytest.approx(200 / 3)
    part = slices["boxes_5_50"]
    assert part.images == 2
    assert part.metrics["gt_known"] == 50
    assert part.metrics["max_box_acc_v2"] == pytest.approx((100 + 50 + 0) / 3)
    assert part.metrics["top1_cls"] == 50
    assert part.metrics["top5_cls"] == 100
    assert part.metrics["top1_loc_fullsup"] == 50


def empty_in(where, make_dataset, **scores):
    """Score two images a split, a small and a middle one, two small ones in ``where``; return whole and slice."""
    small, middle = (0, 0, 3, 3), (0, 0, 9, 9)
    boxes = {split: [[small]] * 2 if split == where else [[small], [middle]] for split in ("test", "train-fullsup")}
    dataset = make_dataset(boxes, size=(20, 20))
    test = SplitScores(hits=hits_of([[1, 1, 1], [1, 1, 0]]), **scores)
    fullsup = SplitScores(hits=hits_of([[1, 1, 1], [1, 0, 0]]))
    whole, slices = score_with_slices({"test": test, "train-fullsup": fullsup}, scored_boxes(dataset), 20)
    return whole, slices["boxes_5_50"]


def test_a_slice_has_the_thresholds_it_used(make_dataset):
    whole, part = empty_in(None, make_dataset)
    assert part.thresholds.keys() == whole.thresholds.keys() >= {"gt_known", "gt_known_fullsup"}
    assert part.absent == whole.absent


def test_a_slice_without_test_images_is_recorded_with_the_reason(make_dataset):
    whole, part = empty_in("test", make_dataset, ranks=np.array([0, 0]), num_classes=4)
    assert (part.images, part.metrics, part.thresholds) == (0, {}, {})
    assert part.absent == dict.fromkeys([*whole.metrics, *whole.absent], "no test image is in this slice")


def test_a_slice_without_fullsup_images_has_the_oracles_only(make_dataset):
    whole, part = empty_in("train-fullsup", make_dataset, ranks=np.array([0, 0]), num_classes=4)
    assert part.images == 1
    assert part.metrics["gt_known"] == part.metrics["top1_loc"] == part.metrics["top1_cls"] == 100
    assert part.metrics["max_box_acc_v2"] == pytest.approx(200 / 3)
    assert part.metrics.keys() == {key for key in whole.metrics if not key.endswith("_fullsup")}
    assert part.thresholds.keys() == {key for key in whole.thresholds if not key.endswith("_fullsup")}
    frozen = {key for key in whole.metrics if key.endswith("_fullsup")}
    assert part.absent == whole.absent | dict.fromkeys(frozen, "no train-fullsup image is in this slice")
    assert part.absent["top5_loc_fullsup"] == "top 5 of 4 classes says nothing"


@pytest.mark.parametrize("empty", [None, "test", "train-fullsup"])
def test_where_nothing_was_classified_the_classification_keys_say_so(make_dataset, empty):
    whole, part = empty_in(empty, make_dataset)
    keys = {f"top{k}_{what}" for k in (1, 5) for what in ("cls", "loc", "loc_fullsup")} | {"top1_loc_at_0.2"}
    for scores in (whole, part):
        assert {key for key, reason in scores.absent.items() if reason == "it does not classify"} == keys
        assert not keys & scores.metrics.keys()


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def masked(tmp_path):
    """Return five images with masks, every other with an ignore mask, and the masks as they are drawn."""
    rng = np.random.default_rng(3)
    drawn, ignored = rng.random((5, 10, 14)) < 0.4, rng.random((5, 10, 14)) < 0.3
    for index in range(5):
        for name, mask in (("o", drawn[index]), ("i", ignored[index])):
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"{name}{index}.png")
    masks = Masks(
        root=tmp_path,
        objects=tuple((f"o{index}.png",) for index in range(5)),
        ignored=tuple(f"i{index}.png" if index % 2 else None for index in range(5)),
    )
    images = Listed(tuple(f"{index}.jpg" for index in range(5)), np.arange(5))
    ignored[::2] = False
    return mask_annotations("test", images, masks), drawn, ignored


@pytest.mark.parametrize("normalization", [MIN_MAX, Normalization(name="ivr", percentile=40)])
def test_masks_are_scored_from_the_unquantised_maps(masked, normalization):
    annotations, drawn, ignored = masked
    raw = np.random.default_rng(4).standard_normal((5, 3, 4))
    raw[1], raw[2] = 7, np.nan
    done = []
    found = score_raw_maps(raw, annotations, SIDE, normalization, advance=done.append)
    assert found.constant.tolist() == [False, True, False, False, False]
    assert found.invalid.tolist() == [False, False, True, False, False]
    assert done == [5]
    resized = [np.stack([resize_nearest(each, (SIDE, SIDE)) for each in masks]) for masks in (drawn, ignored)]
    counts = pixel_counts(unit_maps(raw, (SIDE, SIDE), normalization).maps, *resized)
    splits = {"test": SplitScores(hits=found.hits), "train-fullsup": SplitScores(hits=found.hits)}
    scores, slices = score_with_slices(splits, dict.fromkeys(splits, annotations), SIDE)
    assert scores.metrics == {"pxap": 100 * average_precision(counts)}
    assert slices == {}
    assert scores.absent["top1_cls"] == "it does not classify"
    assert scores.absent["max_box_acc_v2_fullsup"] == "the split has masks, no boxes"


def test_masks_without_any_object_are_refused(masked):
    annotations, _, _ = masked
    for index in range(5):
        Image.fromarray(np.full((4, 4), 127, dtype=np.uint8)).save(annotations.masks.root / f"o{index}.png")
    with pytest.raises(UserError, match="no pixel of test belongs to an object; expected masks where the object is"):
        score_raw_maps(np.random.default_rng(4).standard_normal((5, 3, 4)), annotations, SIDE)
