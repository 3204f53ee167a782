"""Boxes and decisions: against OpenCV, against cases worked out by hand, and by their properties."""

import numpy as np
import opencv_oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from map_kinds import KINDS, true_boxes
from published_boxes import load

from wsolbench.protocols import (
    boxes_at,
    iou,
    level_hits,
    level_hits_batch,
    level_hits_both,
    level_ious,
    levels,
    scale_boxes,
)

CRITERIA = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
MAPS_A_KIND = 12  # `make bench` compares thousands


@pytest.mark.parametrize("kind", KINDS)
def test_no_decision_differs_from_opencv(kind):
    rng = np.random.default_rng([1, list(KINDS).index(kind)])
    for i in range(MAPS_A_KIND):
        score_map = KINDS[kind](rng)
        truth = true_boxes(rng, score_map)
        best = opencv_oracle.ious_by_level(score_map, truth)
        assert np.array_equal(level_ious(score_map, truth), best), (kind, i)
        assert np.array_equal(level_hits(score_map, truth, CRITERIA), best >= np.array(CRITERIA)[:, None]), (kind, i)


@pytest.mark.parametrize("kind", KINDS)
def test_levels_reproduce_the_loop_over_1000_thresholds(kind):
    rng = np.random.default_rng([2, list(KINDS).index(kind)])
    score_map = KINDS[kind](rng)
    truth = true_boxes(rng, score_map)
    hits = level_hits(score_map, truth, CRITERIA)
    expected = opencv_oracle.hits_by_threshold(score_map, truth, CRITERIA)
    assert np.array_equal(hits[:, levels(int(score_map.max()))], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_of_a_level_are_opencv_s(kind):
    rng = np.random.default_rng([3, list(KINDS).index(kind)])
    for _ in range(10):
        score_map = KINDS[kind](rng)
        level = int(rng.integers(0, int(score_map.max()) + 1))
        ours, theirs = boxes_at(score_map, level), opencv_oracle.boxes_at(score_map, level)
        assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_the_oracle_decides_both_ways():
    # Guards the comparison itself: with maps and boxes that never, or always, hit, equality would prove nothing.
    rng = np.random.default_rng(4)
    hits = []
    for kind in KINDS.values():
        score_map = kind(rng)
        hits.append(opencv_oracle.ious_by_level(score_map, true_boxes(rng, score_map)) >= 0.5)
    assert 0.1 < np.mean(hits) < 0.9


def test_box_ends_one_pixel_after_its_component_within_the_image():
    score_map = np.zeros((6, 8), dtype=np.uint8)
    score_map[1:3, 2:5] = 9
    assert boxes_at(score_map, 0).tolist() == [[2, 1, 5, 3]]
    score_map[:] = 0
    score_map[4:6, 5:8] = 9
    assert boxes_at(score_map, 0).tolist() == [[5, 4, 7, 5]]


def test_hole_box_runs_through_the_foreground_around_it():
    # A 7x7 frame, 1 pixel wide, at x 2..8, y 1..7: the frame's box ends at 9, 8. Its hole is 3..7, 2..6; the hole's
    # border is the frame itself, 2..8, 1..7, so the box is the same one.
    score_map = np.zeros((12, 12), dtype=np.uint8)
    score_map[1:8, 2:9] = 5
    score_map[2:7, 3:8] = 0
    assert boxes_at(score_map, 0).tolist() == [[2, 1, 9, 8], [2, 1, 9, 8]]
    # With a frame 3 wide on the left the hole is 5..7, 2..6 and its border 4..8, 1..7.
    score_map[2:7, 3:5] = 5
    assert boxes_at(score_map, 0).tolist() == [[2, 1, 9, 8], [4, 1, 9, 8]]
    assert level_ious(score_map, np.array([[4, 1, 9, 8]]))[:5].tolist() == [1.0] * 5


def test_hole_that_opens_to_the_edge_is_no_hole():
    score_map = np.zeros((5, 5), dtype=np.uint8)
    score_map[0:4, 0:4] = 5
    score_map[1:3, 1:3] = 0
    hole = np.array([[0, 0, 4, 4]])
    assert len(boxes_at(score_map, 0)) == 2
    score_map[0, 1] = 0  # above the hole: 4-connected to the outside
    assert boxes_at(score_map, 0).tolist() == [[0, 0, 4, 4]]
    score_map[0, 1], score_map[0, 0] = 5, 0  # at its corner: only 8-connected, the hole stays
    assert len(boxes_at(score_map, 0)) == 2
    assert level_ious(score_map, hole)[0] == 1.0


def test_diagonal_pixels_are_one_component():
    assert boxes_at(np.eye(5, dtype=np.uint8)[:, ::-1] * 7, 6).tolist() == [[0, 0, 4, 4]]


def test_no_foreground_gives_the_pixel_at_the_origin():
    truth = np.array([[0, 0, 1, 0]])  # IoU with [0, 0, 0, 0] is 1/2
    hits = level_hits(np.zeros((4, 4), dtype=np.uint8), truth, [0.5, 0.51])
    assert hits[0].all()
    assert not hits[1].any()
    below_its_maximum = level_hits(np.full((4, 4), 9, dtype=np.uint8), truth, [0.5])[0]
    assert not below_its_maximum[:9].any()  # there the box is the whole image, IoU 1/8
    assert below_its_maximum[9:].all()


def test_the_criterion_is_met_by_equality():
    score_map = np.zeros((10, 10), dtype=np.uint8)
    score_map[0:4, 0:9] = 1  # box 0 0 9 4: 50 pixels
    assert level_hits(score_map, np.array([[0, 0, 9, 9]]), [0.5, np.nextafter(0.5, 1)])[:, 0].tolist() == [True, False]


def test_batch_equals_single_maps_for_any_number_of_threads():
    rng = np.random.default_rng(5)
    maps = rng.integers(0, 20, (7, 16, 12)).astype(np.uint8)
    truths = [true_boxes(rng, m) for m in maps]
    offsets = np.cumsum([0, *map(len, truths)])
    expected = np.stack([level_hits(m, b, CRITERIA) for m, b in zip(maps, truths, strict=True)])
    before = maps.copy()
    boxes = np.concatenate(truths)
    for threads in (1, 2, 3, 16):
        assert np.array_equal(level_hits_batch(maps, boxes, offsets, CRITERIA, threads=threads), expected)
        every, largest = level_hits_both(maps, boxes, offsets, CRITERIA, threads=threads)
        assert np.array_equal(every, expected)
        for i, (score_map, truth) in enumerate(zip(maps, truths, strict=True)):
            alone = level_hits_both(score_map[None], truth, np.array([0, len(truth)]), CRITERIA)
            assert np.array_equal(largest[i], alone[1][0])
    assert np.array_equal(maps, before)
    strided = level_hits_batch(maps[::2], np.concatenate(truths[::2]), np.cumsum([0, *map(len, truths[::2])]), CRITERIA)
    assert np.array_equal(strided, expected[::2])


def test_batch_of_no_maps_is_empty():
    none = np.zeros((0, 8, 8), dtype=np.uint8)
    assert level_hits_batch(none, np.zeros((0, 4), dtype=np.int64), np.array([0]), CRITERIA).shape == (0, 6, 256)


MAPS = np.zeros((2, 4, 4), dtype=np.uint8)
BOX = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("maps", "boxes", "offsets", "message"),
    [
        (MAPS.astype(float), BOX, [0, 1, 2], "expected uint8"),
        (MAPS[0], BOX, [0, 1, 2], "expected uint8"),
        (MAPS, BOX.astype(float), [0, 1, 2], "expected integers"),
        (MAPS, BOX, [0, 2], "offsets must be"),
        (MAPS, BOX, [0, 1, 3], "offsets must be"),
        (MAPS, BOX, [0, 2, 2], "image 1 has no ground-truth box"),
        (MAPS, BOX[:, [2, 1, 0, 3]], [0, 1, 2], "box 0 is .* expected x0 <= x1"),
    ],
)
def test_malformed_input_is_named(maps, boxes, offsets, message):
    with pytest.raises(ValueError, match=message):
        level_hits_batch(maps, boxes, np.array(offsets), CRITERIA)


def test_boxes_at_refuses_a_level_out_of_range():
    with pytest.raises(ValueError, match="level 256"):
        boxes_at(MAPS[0], 256)
    with pytest.raises(ValueError, match="expected uint8"):
        boxes_at(MAPS[0].astype(float), 0)


_corner = st.integers(0, 12)
_box = st.tuples(_corner, _corner, _corner, _corner).map(lambda v: [*map(min, v[:2], v[2:]), *map(max, v[:2], v[2:])])


@given(st.lists(_box, min_size=1, max_size=4), st.lists(_box, min_size=1, max_size=4))
@settings(deadline=None)
def test_iou_is_symmetric_and_one_only_for_the_same_box(a, b):
    a, b = np.array(a), np.array(b)
    values = iou(a, b)
    assert np.array_equal(values, iou(b, a).T)
    assert ((values >= 0) & (values <= 1)).all()
    assert np.array_equal(values == 1, (a[:, None] == b[None]).all(axis=2))


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4)),
    st.lists(_box, min_size=1, max_size=3),
)
@settings(deadline=None)
def test_every_level_equals_the_boxes_of_that_level(score_map, truth):
    truth = np.array(truth)
    best = level_ious(score_map, truth)
    assert best[:6].tolist() == [iou(boxes_at(score_map, level), truth).max() for level in range(6)]
    hits = level_hits(score_map, truth, CRITERIA)
    assert (hits[:-1] >= hits[1:]).all()  # a stricter criterion never gains


@given(
    st.permutations(range(5)),
    hnp.arrays(np.uint8, (5, 6, 7), elements=st.integers(0, 6)),
    st.lists(_box, min_size=5, max_size=5),
)
@settings(deadline=None)
def test_the_order_of_the_maps_decides_nothing_and_the_largest_contour_is_one_of_all(order, maps, truth):
    truth, offsets = np.array(truth), np.arange(6)
    every, largest = level_hits_both(maps, truth, offsets, CRITERIA)
    assert (every >= largest).all()  # a hit of V1 is a hit of V2
    assert (largest[:, :-1] >= largest[:, 1:]).all()
    shuffled = level_hits_both(maps[order], truth[order], offsets, CRITERIA)
    assert np.array_equal(shuffled[0], every[order])
    assert np.array_equal(shuffled[1], largest[order])


@given(hnp.arrays(np.uint8, (7, 6), elements=st.integers(0, 9)), st.lists(_box, min_size=1, max_size=3))
@settings(deadline=None)
def test_only_the_order_of_values_decides(score_map, truth):
    stretched = (score_map * 20).astype(np.uint8)  # a strictly monotone change moves levels, not boxes
    best, moved = level_ious(score_map, np.array(truth)), level_ious(stretched, np.array(truth))
    assert np.array_equal(moved[: 9 * 20 : 20], best[:9])


def test_boxes_are_scaled_by_multiplying_before_dividing():
    # 71 * 224 / 142 is 112, but 71 * (224 / 142) is 111.99999999999999; 55 of 110 likewise.
    scaled = scale_boxes(np.array([[71, 55, 141, 109]]), np.array([[110, 142]]), (224, 224))
    assert scaled.tolist() == [[112, 112, 222, 221]]
    outside = scale_boxes(np.array([[-3, -1, 120, 110]]), np.array([[100, 100]]), (50, 50))
    assert outside.tolist() == [[-1, 0, 60, 55]]  # truncated towards zero, never clipped


def test_scaling_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        scale_boxes(np.zeros((2, 4), dtype=int), np.ones((1, 2), dtype=int), (8, 8))
    with pytest.raises(ValueError, match="box 1 belongs to a picture of size 0"):
        scale_boxes(np.zeros((2, 4), dtype=int), np.array([[1, 1], [1, 0]]), (8, 8))


def test_scaling_of_the_published_boxes():
    other_order = 0
    for split in ("CUB/val", "CUB/test", "ILSVRC/val", "ILSVRC/test"):
        boxes, sizes, _ = load(split)
        scaled = scale_boxes(boxes, sizes, (224, 224))
        literal = [
            [int(float(v) * 224 / s) for v, s in zip(box, (w, h, w, h), strict=True)]
            for box, (h, w) in zip(boxes.tolist(), sizes.tolist(), strict=True)
        ]
        assert scaled.tolist() == literal
        other_order += int((scaled != (boxes * (224 / sizes[:, [1, 0, 1, 0]])).astype(int)).any(axis=1).sum())
    assert other_order == 72
