"""The neighbour tables that decide which pixels the sweep may skip."""

import itertools

import numpy as np
from scipy import ndimage

from wsolbench.protocols import component_tree


def grow_literally(score_map, eight):
    """Yield per pixel, in the sweep's order, whether adding it merged, started or changed the box of a component."""
    order = sorted(np.ndindex(score_map.shape), key=lambda p: (score_map[p], p), reverse=True)
    structure = np.ones((3, 3)) if eight else None
    there = np.zeros(score_map.shape, dtype=bool)

    def boxes():
        labels, _ = ndimage.label(there, structure=structure)
        return sorted((y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(labels))

    before = boxes()
    for p in order:
        there[p] = True
        after = boxes()
        yield p, after != before
        before = after


def test_a_pixel_called_inner_never_changes_a_box():
    rng = np.random.default_rng(1)
    inner = changed = 0
    for eight in (True, False):
        table = component_tree._tables(eight)
        for _ in range(60):
            score_map = rng.integers(0, rng.integers(2, 30), (6, 7)).astype(np.uint8)
            value = np.full((8, 9), -1, dtype=np.int16)
            earlier = np.empty(value.shape, dtype=np.uint8)
            component_tree._find_earlier(score_map, value, earlier)
            for (y, x), moved in grow_literally(score_map, eight):
                skipped = table[1, earlier[y + 1, x + 1]] > 0
                assert not (skipped and moved)
                inner, changed = inner + skipped, changed + moved
    assert inner > 300  # else the test would pass with nothing skipped
    assert changed > 300


def test_the_byte_holds_the_earlier_neighbours():
    score_map = np.array([[3, 3, 1], [3, 3, 3], [9, 0, 3]], dtype=np.uint8)
    value = np.full((5, 5), -1, dtype=np.int16)
    earlier = np.zeros((5, 5), dtype=np.uint8)
    component_tree._find_earlier(score_map, value, earlier)
    # The centre, 3: of equal ones those after it in raster order are earlier: E and SE; and the 9 in the SW.
    assert earlier[2, 2] == 1 << 2 | 1 << 3 | 1 << 5
    assert earlier[1, 3] == 1 << 4 | 1 << 5 | 1 << 6  # nothing from the frame


def test_neighbours_to_unite_with_stand_for_all_arcs():
    for eight, bits in itertools.product((True, False), range(256)):
        patch = np.zeros((3, 3), dtype=bool)
        for k, (dy, dx) in enumerate(component_tree._RING):
            patch[1 + dy, 1 + dx] = bits >> k & 1
        labels, _ = ndimage.label(patch, structure=np.ones((3, 3)) if eight else None)
        near = component_tree._RING if eight else component_tree._RING[::2]
        expected = {labels[1 + dy, 1 + dx] for dy, dx in near} - {0}
        chosen = int(component_tree._tables(eight)[0, bits])
        found = [labels[1 + dy, 1 + dx] for k, (dy, dx) in enumerate(component_tree._RING) if chosen >> k & 1]
        assert sorted(found) == sorted(expected)
