"""The byte of a pixel's earlier neighbours, what it means, and the ways from one critical pixel to the next."""

import itertools

import numpy as np
import pytest
from map_kinds import KINDS
from scipy import ndimage

from wsolbench.protocols import pixel_order
from wsolbench.protocols.pixel_order import COMPONENT, CRITICAL, HOLE, ONLY, RING, UNITE, WAYS

SWEEPS = (COMPONENT, HOLE)


def drawn(score_map):
    canvas = pixel_order.new_canvas(*score_map.shape)
    pixel_order.draw(score_map, canvas)
    return canvas, pixel_order.list_critical(*score_map.shape, canvas)


def bytes_of(score_map):
    canvas, _ = drawn(score_map)
    height, width = score_map.shape
    return canvas.earlier.reshape(height + 2, -1)[1:-1, 1 : width + 1]


def grow_literally(score_map, sweep):
    """Yield per pixel, in the sweep's order, whether adding it merged, started or changed the box of a component."""
    order = sorted(np.ndindex(score_map.shape), key=lambda p: (score_map[p], p), reverse=sweep == COMPONENT)
    structure = np.ones((3, 3)) if sweep == COMPONENT else None
    there = np.zeros(score_map.shape, dtype=bool)
    if sweep == HOLE:  # the outside is there from the start
        there = np.pad(there, 1, constant_values=True)

    def boxes():
        labels, _ = ndimage.label(there, structure=structure)
        return sorted((y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(labels))

    before = boxes()
    for p in order:
        there[tuple(np.add(p, sweep))] = True
        after = boxes()
        yield p, after != before
        before = after


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_pixel_that_is_not_critical_never_changes_a_box(sweep):
    rng = np.random.default_rng(1)
    inner = changed = 0
    for _ in range(60):
        score_map = rng.integers(0, rng.integers(2, 30), (6, 7)).astype(np.uint8)
        earlier = bytes_of(score_map)
        for p, moved in grow_literally(score_map, sweep):
            skipped = not CRITICAL[earlier[p]] >> sweep & 1
            assert not (skipped and moved)
            inner, changed = inner + skipped, changed + moved
    assert inner > 200  # else the test would pass with nothing skipped
    assert changed > 200


def test_the_byte_holds_the_earlier_neighbours():
    earlier = bytes_of(np.array([[3, 3, 1], [3, 3, 3], [9, 0, 3]], dtype=np.uint8))
    # The centre, 3: of equal ones those after it in raster order are earlier: E and SE; and the 9 in the SW.
    assert earlier[1, 1] == 1 << 2 | 1 << 3 | 1 << 5
    assert earlier[0, 2] == 1 << 4 | 1 << 5 | 1 << 6  # nothing from the frame


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 63), (64, 5)])
def test_the_bytes_are_those_of_a_literal_comparison(shape):
    score_map = np.random.default_rng(2).integers(0, 4, shape).astype(np.uint8)
    before = score_map.copy()
    expected = np.zeros(shape, dtype=np.uint8)
    for (y, x), (k, (dy, dx)) in itertools.product(np.ndindex(shape), enumerate(RING)):
        q = y + dy, x + dx
        if 0 <= q[0] < shape[0] and 0 <= q[1] < shape[1]:
            expected[y, x] |= ((score_map[q], q) > (score_map[y, x], (y, x))) << k
    assert np.array_equal(bytes_of(score_map), expected)
    assert np.array_equal(score_map, before)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_neighbours_to_unite_with_stand_for_all_arcs(sweep):
    for byte in range(256):
        patch = np.zeros((3, 3), dtype=bool)
        for k, (dy, dx) in enumerate(RING):
            patch[1 + dy, 1 + dx] = (byte >> k & 1) != sweep  # the byte says the reverse for holes
        labels, _ = ndimage.label(patch, structure=np.ones((3, 3)) if sweep == COMPONENT else None)
        near = RING if sweep == COMPONENT else RING[::2]
        expected = {labels[1 + dy, 1 + dx] for dy, dx in near} - {0}
        found = [labels[1 + dy, 1 + dx] for k, (dy, dx) in enumerate(RING) if UNITE[sweep, byte] >> k & 1]
        assert sorted(found) == sorted(expected)
        assert ONLY[sweep, byte] == (int(UNITE[sweep, byte]).bit_length() if len(expected) == 1 else 0)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_ways_lead_from_inner_pixels_to_earlier_ones_along_their_axis(sweep):
    for byte in range(256):
        for axis, allowed in enumerate(((0, 4), (2, 6))):
            way = int(WAYS[sweep, axis, byte])
            assert (way == 0) == bool(CRITICAL[byte] >> sweep & 1)
            if way:
                assert way - 1 in allowed
                assert (byte >> (way - 1) & 1) != sweep


@pytest.mark.parametrize("kind", ["upsampled from 7x7", "noise", "plateaus", "spiral", "one row"])
@pytest.mark.parametrize("sweep", SWEEPS)
def test_critical_pixels_are_sorted_and_their_ways_end_at_earlier_critical_ones(kind, sweep):
    score_map = KINDS[kind](np.random.default_rng(3))
    canvas, listed = drawn(score_map)
    pixels, births = pixel_order.sort_critical(listed, sweep, canvas)
    pixel_order.reach_all(pixels, sweep, canvas)
    inside = np.flatnonzero(
        np.pad(np.ones(score_map.shape), ((1, 1), (1, (1 << canvas.shift) - score_map.shape[1] - 1)))
    )
    critical = [p for p in inside if CRITICAL[canvas.earlier[p]] >> sweep & 1]
    order = canvas.order[:pixels].astype(np.int64)
    assert order.tolist() == sorted(critical, key=lambda p: (canvas.value[p], p))
    assert births == sum(UNITE[sweep, canvas.earlier[p]] == 0 for p in critical)
    place = {p: i for i, p in enumerate(order[:: -1 if sweep == COMPONENT else 1].tolist())}
    for p, target in zip(order.tolist(), canvas.target[:pixels].tolist(), strict=True):
        if ONLY[sweep, canvas.earlier[p]] == 0:
            assert target == p
        elif target in place:
            assert place[target] < place[p]
        else:
            assert sweep == HOLE  # the frame, the outside
            assert canvas.earlier[target] == 255
