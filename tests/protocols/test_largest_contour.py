"""The largest contour: against OpenCV, and by cases worked out by hand."""

import cv2
import numpy as np
import opencv_oracle
import pytest
from map_kinds import KINDS, LARGE, true_boxes
from union_find_oracle import fill_holes

from wsolbench.protocols import component_tree, largest_contour, level_hits_both, pixel_order

MAPS_A_KIND = 12


def largest_ious(score_map, truth):
    best = np.empty((2, 1, 256))
    largest_contour.best_and_largest_ious(score_map[None], truth, np.array([0, len(truth)]), *best)
    return best[1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_decision_differs_from_opencv(kind):
    rng = np.random.default_rng([7, list(KINDS).index(kind)])
    for i in range(MAPS_A_KIND):
        score_map = KINDS[kind](rng)
        truth = true_boxes(rng, score_map)
        expected = opencv_oracle.both_ious_by_level(score_map, truth)[1]
        assert np.array_equal(largest_ious(score_map, truth), expected), (kind, i)


@pytest.mark.parametrize("kind", ["300x400 sparse noise", "1x512", "512x1", "2x512"])
def test_no_decision_differs_on_larger_maps(kind):
    rng = np.random.default_rng([8, list(LARGE).index(kind)])
    score_map = LARGE[kind](rng)
    truth = true_boxes(rng, score_map)
    assert np.array_equal(largest_ious(score_map, truth), opencv_oracle.both_ious_by_level(score_map, truth)[1])


def two_squares(first, second):
    score_map = np.zeros((9, 16), dtype=np.uint8)
    score_map[1:4, 1:4], score_map[5 : 5 + second, 8 : 8 + second] = first, 8
    return score_map


def test_the_larger_polygon_wins_not_the_first_or_the_brighter():
    score_map = two_squares(9, 4)
    right = largest_ious(score_map, np.array([[8, 5, 12, 8]]))
    assert right[8] == 0  # only the bright one is there
    assert (right[:8] == 1).all()


def test_of_equal_areas_the_one_that_begins_last_wins():
    assert (largest_ious(two_squares(8, 3), np.array([[8, 5, 11, 8]]))[:8] == 1).all()
    beside = np.zeros((5, 12), dtype=np.uint8)
    beside[1:3, 1:3], beside[1:3, 6:8] = 7, 7  # the same rows: the right one
    assert (largest_ious(beside, np.array([[6, 1, 8, 3]]))[:7] == 1).all()
    lines = np.zeros((9, 9), dtype=np.uint8)
    lines[1, 1:8], lines[5, 3] = 5, 5  # areas 0: the point begins after the line
    assert (largest_ious(lines, np.array([[3, 5, 4, 6]]))[:5] == 1).all()


def test_a_ring_counts_with_all_that_it_surrounds():
    score_map = np.zeros((12, 24), dtype=np.uint8)
    score_map[1:10, 1:10] = 5
    score_map[2:9, 2:9] = 0  # a ring, 8 x 8 square units, 32 pixels
    score_map[4:7, 4:7] = 9  # an island in it
    score_map[2:9, 14:21] = 5  # 49 pixels, 6 x 6 square units
    ring, island = np.array([[1, 1, 10, 10]]), np.array([[4, 4, 7, 7]])
    assert (largest_ious(score_map, ring)[:5] == 1).all()
    assert (largest_ious(score_map, island)[5:9] == 1).all()
    score_map[1, 5] = 0  # opened: the ring is 32 - 1 pixels without an area
    assert (largest_ious(score_map, np.array([[14, 2, 21, 9]]))[:5] == 1).all()


def test_holes_are_filled_to_the_level_at_which_they_open():
    rng = np.random.default_rng(9)
    for kind in KINDS:
        score_map = KINDS[kind](rng)
        height, width = score_map.shape
        canvas, tree = pixel_order.new_canvas(height, width), component_tree.new_tree(height, width)
        outlines = largest_contour._new_outlines(canvas, height, width)
        pixel_order.draw(score_map, canvas)
        listed = pixel_order.list_critical(height, width, canvas)
        holes = component_tree.sweep_critical(pixel_order.HOLE, listed, canvas, tree)
        largest_contour._fill_holes(holes, canvas, tree, outlines)
        filled = outlines.filled.reshape(height + 2, -1)[1:-1, 1 : width + 1]
        assert np.array_equal(filled, fill_holes(score_map)), kind


@pytest.mark.parametrize("bits", range(16))
def test_half_units_make_up_the_polygon_of_a_square_of_pixels(bits):
    square = np.zeros((4, 4), dtype=np.uint8)
    square[1:3, 1:3].flat = [bits >> k & 1 for k in range(4)]
    contours, _ = cv2.findContours(square, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = pixel_order.new_canvas(4, 4)
    pixel_order.draw(square, canvas)
    pixel_order.list_critical(4, 4, canvas)
    halves = largest_contour._HALF_UNITS[canvas.earlier][canvas.value > 0].sum()
    assert halves / 2 == sum(cv2.contourArea(contour) for contour in contours)


def test_the_larger_contour_decides_both_ways():
    # Guards the comparison: the two rules must differ somewhere, and neither be always right or wrong.
    rng = np.random.default_rng(10)
    every, largest = [], []
    for kind in KINDS.values():
        score_map = kind(rng)
        truth = true_boxes(rng, score_map)
        both = level_hits_both(score_map[None], truth, np.array([0, len(truth)]), [0.5])
        every.append(both[0].mean())
        largest.append(both[1].mean())
    assert 0.1 < np.mean(largest) < np.mean(every) < 0.9
