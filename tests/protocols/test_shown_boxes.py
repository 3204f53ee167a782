"""Boxes to show: the largest contour's against the scoring of V1, and boxes brought back to a picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_kinds import KINDS, true_boxes

from wsolbench.protocols import boxes_at, iou, largest_contour, scale_boxes
from wsolbench.protocols.shown_boxes import largest_box_at, unscale_boxes


@pytest.mark.parametrize("kind", KINDS)
def test_the_box_is_the_one_that_v1_scores(kind):
    rng = np.random.default_rng([11, list(KINDS).index(kind)])
    for _ in range(4):
        score_map = KINDS[kind](rng)
        truth = true_boxes(rng, score_map)
        expected = np.empty((2, 1, 256))
        largest_contour.best_and_largest_ious(score_map[None], truth, np.array([0, len(truth)]), *expected)
        for level in {0, 1, 60, 127, 200, 254, int(score_map.max()) - 1} - {-1}:
            box = largest_box_at(score_map, level)
            assert iou(box[None], truth).max() == expected[1, 0, level], (kind, level)
            assert box.tolist() in boxes_at(score_map, level).tolist()


def test_a_component_inside_a_hole_and_the_hole_itself_lose():
    score_map = np.full((9, 9), 5, dtype=np.uint8)
    score_map[1:8, 1:8] = 0
    score_map[3:6, 3:6] = 9
    assert largest_box_at(score_map, 0).tolist() == [0, 0, 8, 8]
    assert largest_box_at(score_map, 5).tolist() == [3, 3, 6, 6]


def test_of_equal_ones_the_last():
    score_map = np.zeros((8, 12), dtype=np.uint8)
    for y, x in ((0, 6), (4, 1), (4, 8)):
        score_map[y : y + 3, x : x + 3] = 7
    assert largest_box_at(score_map, 0).tolist() == [8, 4, 11, 7]


def test_nothing_in_the_foreground_is_the_box_of_scoring():
    assert largest_box_at(np.zeros((4, 5), dtype=np.uint8), 0).tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="level 256 is out of range"):
        largest_box_at(np.zeros((4, 5), dtype=np.uint8), 256)


# --- back to the picture ----------------------------------------------------------------------------------------------

SIDES = st.integers(1, 300)


@given(evaluation=st.tuples(SIDES, SIDES), picture=st.tuples(SIDES, SIDES), data=st.data())
def test_what_comes_back_lies_in_the_picture_and_covers_the_box(evaluation, picture, data):
    (high, wide), corners = evaluation, []
    for length in (wide, high):
        first = data.draw(st.integers(0, length - 1))
        corners.append((first, data.draw(st.integers(first, length - 1))))
    (x0, x1), (y0, y1) = corners
    (back,) = unscale_boxes(np.array([[x0, y0, x1, y1]]), evaluation, picture).tolist()
    for first, last, low, end, to, at in (
        (back[0], back[2], x0, x1 + 1, picture[1], wide),
        (back[1], back[3], y0, y1 + 1, picture[0], high),
    ):
        assert 0 <= first <= last < to
        assert first * at <= low * to < (first + 1) * at  # its first pixel holds the box's edge
        assert last * at < end * to <= (last + 1) * at


def test_the_same_size_and_whole_multiples():
    boxes = np.array([[3, 0, 9, 19], [0, 5, 19, 6]])
    assert unscale_boxes(boxes, (20, 20), (20, 20)).tolist() == boxes.tolist()
    assert unscale_boxes(boxes, (20, 20), (40, 60)).tolist() == [[9, 0, 29, 39], [0, 10, 59, 13]]
    sizes = np.array([[40, 60]] * 2)
    assert scale_boxes(unscale_boxes(boxes, (20, 20), (40, 60)), sizes, (20, 20)).tolist() == boxes.tolist()


@pytest.mark.parametrize("changes", [{"boxes": np.zeros(4, dtype=int)}, {"size": (0, 4)}, {"picture": (4, 0)}])
def test_malformed_boxes_and_sizes(changes):
    arguments = {"boxes": np.zeros((1, 4), dtype=int), "size": (4, 4), "picture": (4, 4), **changes}
    with pytest.raises(ValueError, match="expected"):
        unscale_boxes(**arguments)
