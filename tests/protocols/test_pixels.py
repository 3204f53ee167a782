"""PxAP: against a sort of all pixels, on closed forms, and added up in parts."""

import numpy as np
import pytest

from wsolbench.protocols import (
    THRESHOLDS,
    BoxHits,
    PixelAccumulator,
    PixelCounts,
    PixelHits,
    SplitScores,
    average_precision,
    pixel_counts,
    pixel_hits,
    resize_nearest,
    score,
)
from wsolbench.protocols.pixels import BINS, EDGES


def sorted_precision(values, positive):
    """Return AP from a sort of all pixels, no histogram; equal values are one step."""
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float((precision * np.diff(recall, prepend=0)).sum())


def binning_bounds(values, positive):
    """Return the lowest and highest AP that any order of the pixels inside the bins can give."""
    place = np.searchsorted(EDGES, values, side="right") - 1
    low = high = 0.0
    hits = misses = 0
    for k in range(BINS - 1, -1, -1):
        new = positive[place == k]
        right, wrong = int(new.sum()), int((~new).sum())
        ranks = np.arange(1, right + 1)
        low += ((hits + ranks) / (hits + ranks + misses + wrong)).sum()
        high += ((hits + ranks) / (hits + ranks + misses)).sum()
        hits, misses = hits + right, misses + wrong
    return low / hits, high / hits


def random_split(kind, seed):
    rng = np.random.default_rng(seed)
    objects = rng.random((7, 31, 17)) < 0.3
    signal = np.clip(0.3 * objects + 0.7 * rng.random(objects.shape), 0, 1)
    maps = {
        "smooth": signal,
        "crowded": signal * 0.01,
        "peaked": signal**20,
        "steps": np.floor(255 * signal) / 255,
        "edges": np.append(THRESHOLDS, 1.0)[rng.integers(0, 1001, objects.shape)],
    }[kind]
    return maps, objects, rng.random(objects.shape) < 0.2


@pytest.mark.parametrize("kind", ["smooth", "crowded", "peaked", "steps", "edges"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_a_sort_of_all_pixels(kind, seed):
    maps, objects, ignored = random_split(kind, seed)
    found = average_precision(pixel_counts(maps, objects, ignored))
    counted = objects | ~ignored
    values, positive = maps[counted], objects[counted]
    exact = sorted_precision(values, positive)
    low, high = binning_bounds(values, positive)
    assert low <= found <= high
    assert low <= exact <= high
    if kind in ("steps", "edges"):  # no two values share a bin
        assert found == pytest.approx(exact, rel=1e-12)
    elif kind == "smooth":
        assert abs(found - exact) < 1e-3


def test_bins_are_those_of_numpy():
    edges = np.append(THRESHOLDS, [1.0, 2.0])
    values = np.concatenate([edges[:-1], np.nextafter(edges[1:-1], 0), np.random.default_rng(0).random(5000)])
    counts = pixel_counts(values.reshape(1, 1, -1), np.ones((1, 1, len(values)), dtype=bool))
    assert counts.positive.tolist() == np.histogram(values, bins=edges)[0].tolist()
    assert len(counts.positive) == 1001
    assert counts.negative.sum() == 0


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_maps_that_are_all_alike_score_the_share_of_object_pixels(value):
    objects = np.zeros((2, 4, 4), dtype=bool)
    objects[0, :2] = objects[1, 0, 0] = True
    assert average_precision(pixel_counts(np.full(objects.shape, value), objects)) == 9 / 32


def test_closed_forms():
    objects = np.zeros((1, 2, 4), dtype=bool)
    objects[0, 0] = True
    perfect = objects.astype(np.float64)
    assert average_precision(pixel_counts(perfect, objects)) == 1
    # Upside down, all negatives come first: precision is 4 of 8 where recall jumps from 0 to 1.
    assert average_precision(pixel_counts(1 - perfect, objects)) == 0.5
    # 1 1 / 1 0 ...: half of the objects at precision 2/4, then the rest at 4/8.
    maps = np.array([[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
    assert average_precision(pixel_counts(maps, objects)) == 0.5 * 0.5 + 0.5 * 0.5


def test_ignored_pixels_are_left_out_unless_an_object_is_there():
    maps = np.array([[[0.9, 0.8, 0.5, 0.1]]])
    objects = np.array([[[True, False, False, False]]])
    ignored = np.array([[[True, True, False, False]]])
    counts = pixel_counts(maps, objects, ignored)
    assert np.flatnonzero(counts.positive).tolist() == [900]
    assert np.flatnonzero(counts.negative).tolist() == [100, 500]


def test_the_whole_is_the_sum_of_its_parts():
    maps, objects, ignored = random_split("smooth", 3)
    whole = pixel_counts(maps, objects, ignored)
    streamed = PixelAccumulator()
    for start in (0, 3, 6):
        part = slice(start, start + 3)
        streamed.update(maps[part], objects[part], ignored[part])
    shards = [pixel_counts(maps[rank::2], objects[rank::2], ignored[rank::2]) for rank in (0, 1)]
    for other in (streamed.counts, shards[0] + shards[1]):
        assert other.positive.tolist() == whole.positive.tolist()
        assert other.negative.tolist() == whole.negative.tolist()
        assert average_precision(other) == average_precision(whole)
    assert PixelAccumulator().counts.positive.sum() == 0


def test_a_split_without_an_object_pixel_is_refused():
    with pytest.raises(ValueError, match="no pixel of the split belongs to an object"):
        average_precision(pixel_counts(np.zeros((1, 2, 2)), np.zeros((1, 2, 2), dtype=bool)))


@pytest.mark.parametrize(
    ("maps", "objects", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), dtype=bool), r"score maps are float64 \(2, 2\)"),
        (np.zeros((1, 2, 2), dtype=np.float32), np.zeros((1, 2, 2), dtype=bool), "score maps are float32"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 3), dtype=bool), r"object masks are bool \(1, 2, 3\)"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), "object masks are float64"),
        (np.full((1, 2, 2), 1.1), np.zeros((1, 2, 2), dtype=bool), r"outside \[0, 1\] or NaN"),
        (np.full((1, 2, 2), -1e-9), np.zeros((1, 2, 2), dtype=bool), r"outside \[0, 1\] or NaN"),
        (np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2), dtype=bool), r"outside \[0, 1\] or NaN"),
    ],
)
def test_malformed_input(maps, objects, message):
    with pytest.raises(ValueError, match=message):
        pixel_counts(maps, objects)


def test_pixels_of_each_image_add_up_and_are_stored():
    maps, objects, ignored = random_split("smooth", 3)
    hits = pixel_hits(maps, objects, ignored)
    whole = pixel_counts(maps, objects, ignored)
    assert len(hits) == 7
    assert hits.counts.positive.tolist() == whole.positive.tolist()
    assert hits.counts.negative.tolist() == whole.negative.tolist()
    for image in range(7):
        alone = pixel_counts(maps[[image]], objects[[image]], ignored[[image]])
        assert hits.select(np.array([image])).counts.positive.tolist() == alone.positive.tolist()
        assert hits.select(np.arange(7) == image).counts.negative.tolist() == alone.negative.tolist()
    again = PixelHits.from_arrays(hits.arrays())
    assert again.pixels.dtype == np.uint32
    assert np.array_equal(again.pixels, hits.pixels)
    with pytest.raises(ValueError, match=r"pixels are float64 \(7, 2, 1001\); expected uint32 \(N, 2, 1001\)"):
        PixelHits(pixels=hits.pixels.astype(np.float64))
    with pytest.raises(ValueError, match="expected uint32"):
        PixelHits(pixels=hits.pixels[:, :, 1:])
    with pytest.raises(ValueError, match="stored pixels lack their array"):
        PixelHits.from_arrays({})


def test_scores_of_masks_have_no_boxes():
    maps, objects, ignored = random_split("smooth", 3)
    test = SplitScores(hits=pixel_hits(maps, objects, ignored))
    found = score(test, None)
    assert found.metrics == {"pxap": 100 * average_precision(test.hits.counts)}
    assert found.images == 7
    boxes = SplitScores(hits=BoxHits(packed=np.zeros((2, 3, 32), np.uint8), maxima=np.zeros(2, np.uint8)))
    assert score(test, boxes).metrics == found.metrics  # nothing is frozen
    with pytest.raises(ValueError, match="these are scores of masks; expected those of boxes"):
        score(boxes, test)


def test_malformed_counts_and_masks():
    with pytest.raises(ValueError, match=r"negative pixels are int64 \(3,\); expected int64 \(1001,\)"):
        PixelCounts(positive=np.zeros(1001, dtype=np.int64), negative=np.zeros(3, dtype=np.int64))
    for mask in (np.zeros((0, 3), dtype=bool), np.zeros((2, 2)), np.zeros(4, dtype=bool)):
        with pytest.raises(ValueError, match="cannot resize a mask"):
            resize_nearest(mask, (2, 2))


@pytest.mark.parametrize(
    ("old", "new"), [((5, 7), (3, 4)), ((3, 4), (8, 9)), ((6, 6), (6, 6)), ((640, 480), (224, 224))]
)
def test_nearest_neighbour_like_opencv(old, new):
    import cv2

    mask = np.random.default_rng(1).random(old) < 0.5
    expected = cv2.resize(mask.astype(np.uint8), new[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    np.testing.assert_array_equal(resize_nearest(mask, new), expected)
    by_hand = [[mask[y * old[0] // new[0], x * old[1] // new[1]] for x in range(new[1])] for y in range(new[0])]
    assert resize_nearest(mask, new).tolist() == by_hand
