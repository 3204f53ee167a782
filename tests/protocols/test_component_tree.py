"""All contours and the largest one at every level, against a union-find over all pixels, and the lives of the boxes."""

import numpy as np
import pytest
import union_find_oracle
from map_kinds import KINDS, true_boxes

from wsolbench.protocols import component_tree, pixel_order
from wsolbench.protocols.largest_contour import best_and_largest_ious
from wsolbench.protocols.pixel_order import COMPONENT, HOLE


@pytest.mark.parametrize("kind", KINDS)
def test_no_iou_differs_from_the_union_find_over_all_pixels(kind):
    rng = np.random.default_rng([5, list(KINDS).index(kind)])
    score_map = KINDS[kind](rng)[:24, :24]
    truth, best = true_boxes(rng, score_map), np.empty((2, 1, 256))
    best_and_largest_ious(np.ascontiguousarray(score_map)[None], truth, np.array([0, len(truth)]), *best)
    assert np.array_equal(best[:, 0], union_find_oracle.both_ious_by_level(score_map, truth))


def lives_of(score_map, sweep):
    canvas, tree = pixel_order.new_canvas(*score_map.shape), component_tree.new_tree(*score_map.shape)
    pixel_order.draw(score_map, canvas)
    listed = pixel_order.list_critical(*score_map.shape, canvas)
    swept = component_tree.sweep_critical(sweep, listed, canvas, tree)
    return swept, sorted(tree.lives[:, : swept.lives].T.tolist())


def test_the_lives_of_the_drawing_in_the_module():
    row = np.array([[0, 5, 9, 7, 0, 0, 6, 0, 0]], dtype=np.uint8)
    swept, lives = lives_of(row, COMPONENT)
    # Box (as reported, one more at the right and the bottom), first and last stage = 254 - level, component.
    assert lives == [
        [1, 0, 4, 1, 250, 254, 0],
        [2, 0, 3, 1, 246, 247, 0],
        [2, 0, 4, 1, 248, 249, 0],
        [6, 0, 7, 1, 249, 254, 1],
    ]
    assert swept.sole == 255  # B never meets A


def test_a_hole_lives_until_it_opens():
    score_map = np.full((6, 6), 9, dtype=np.uint8)
    score_map[2, 2], score_map[2, 3] = 3, 5
    score_map[1, 3], score_map[0, 3] = 7, 8  # at level 8 it reaches the edge
    swept, lives = lives_of(score_map, HOLE)
    assert lives == [[1, 0, 5, 4, 7, 7, 1], [1, 1, 4, 4, 3, 4, 1], [1, 1, 5, 4, 5, 6, 1]]
    assert swept.nodes == 2


def test_the_sweep_of_a_map_without_pits_finds_no_hole():
    y, x = np.mgrid[0:20, 0:30]
    two_domes = 250 - (y - 9) ** 2 - np.minimum((x - 7) ** 2, (x - 22) ** 2)  # the valley between them is open
    swept, lives = lives_of(two_domes.astype(np.uint8), HOLE)
    assert (swept.nodes, swept.swept, lives) == (1, 0, [])
    assert swept.pixels > 0  # it could have taken some


def test_many_boxes_and_long_lives_meet_in_the_ranges():
    rng = np.random.default_rng(6)
    for _ in range(20):
        score_map = (rng.integers(0, 3, (9, 9)) * rng.choice([1, 50, 120])).astype(np.uint8)
        truth, best = rng.integers(0, 5, (20, 4)), np.empty((1, 256))
        truth[:, 2:] += truth[:, :2]
        component_tree.best_ious(score_map[None], truth, np.array([0, 20]), best)
        assert np.array_equal(best[0], union_find_oracle.both_ious_by_level(score_map, truth)[0])
