"""The best IoU of the largest contour at all 256 levels (PROTOCOL: V1), and of all contours beside it.

The outer contour of a component surrounds the component and its holes. So first every hole is *filled*: each of its
pixels is raised to the level at which the hole opens to the outside, and what is left are components without holes, one
for each outer contour that lies in no hole. Their tree comes from the sweep that V2 uses.

The polygon through the pixel centres then is made of unit squares between four pixels of the component and of
triangles, half a unit, between three. Lowering the level, a square of four centres gets its first half unit with the
third of its pixels and the second with the fourth::

    8 5      level 6    8 .    nothing      level 4    8 5   half a unit       level 2    8 5   a unit
    7 3                 7 .                            7 .                                7 3

so a pixel adds a half unit for each of its four squares in which at least two other pixels are earlier, and its byte
says so. A component's area at a level is the sum over its pixels. They are counted by *hills*: the pixels of a row
around a pixel that is higher than both neighbours, down to the next valley. Such a top is critical, so it is known
which component it joined, and the whole hill joins the same one.

Of equal areas the contour whose first pixel in raster order comes last wins. The run of pixels that begins with the
first one contains a top; comparing the first tops is the same.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from wsolbench.protocols.component_tree import (
    Floats,
    Ints,
    Swept,
    Tree,
    new_tree,
    no_box_iou,
    score_boxes,
    score_lives,
    sweep_critical,
)
from wsolbench.protocols.pixel_order import (
    COMPONENT,
    EAST,
    HOLE,
    LEVELS,
    WEST,
    Bytes,
    Canvas,
    Number,
    Numbers,
    draw,
    list_critical,
    new_canvas,
)

_ONE = np.uint64(1)
_HALF_UNITS = np.array(
    [sum((byte << 8 | byte) >> corner - 1 & 7 in (3, 5, 6, 7) for corner in (1, 3, 5, 7)) for byte in range(LEVELS)],
    dtype=np.uint8,
)


class Outlines(NamedTuple):
    """The outer contours of a map, by node and value of the pixels, and the largest one by level.

    Attributes:
        area: int32 (, 256), the half units that a node's pixels of one value add.
        first: uint32 (, 256), the smallest index of a node's tops of one value.
        largest: int64 (256,), the node with the largest contour.
        most: int64 (256,), its area.
        place: int64 (256,), the smallest index of its tops.
        full: uint8, the level at which a hole opens, by node.
        filled: uint8, the values on the canvas when all holes are filled.
    """

    area: Numbers
    first: Numbers
    largest: Ints
    most: Ints
    place: Ints
    full: Bytes
    filled: Bytes


@njit(nogil=True, cache=True)
def _new_outlines(canvas: Canvas, height: int, width: int) -> Outlines:
    """Return the memory for maps of one size."""
    nodes = ((height + 1) // 2) * ((width + 1) // 2)  # no two components begin at neighbours
    area, first = np.empty((nodes, LEVELS), dtype=np.int32), np.empty((nodes, LEVELS), dtype=np.uint32)
    levels = np.empty((3, LEVELS), dtype=np.int64)
    full = np.empty(height * width + 1, dtype=np.uint8)
    return Outlines(area, first, levels[0], levels[1], levels[2], full, np.empty_like(canvas.value))


@njit(nogil=True, cache=True)
def _fill_holes(holes: Swept, canvas: Canvas, tree: Tree, outlines: Outlines) -> None:
    """Fill ``filled``, right after the sweep of the holes.

    A hole opens at the level at which it or the older hole that it became part of meets the outside, node 0; at none
    but the last if it never does. In each run of a row the lowest pixel is critical, so its hole is known.
    """
    full, filled, order, label = outlines.full, outlines.filled, canvas.order, canvas.label
    full[0] = 0
    for node in range(1, holes.nodes):
        if tree.into[node] == node:
            full[node] = LEVELS - 1
        else:
            full[node] = tree.end[node] if tree.heir[node] == 0 else full[tree.heir[node]]
    filled[:] = canvas.value
    for i in range(np.uint64(holes.swept)):
        level = full[label[order[i]]]
        q: Number = np.uint64(order[i])
        while filled[q] < level:
            filled[q] = level
            q += _ONE
        q = np.uint64(order[i]) - _ONE
        while filled[q] < level:
            filled[q] = level
            q -= _ONE


@njit(nogil=True, cache=True)
def _add_hill(top: Number, floor: int, value: Bytes, earlier: Bytes, area: Numbers) -> None:
    """Add the half units of a hill's pixels above ``floor`` to ``area``, by value; a valley goes to the hill before."""
    q = top
    while value[q] > floor:
        area[value[q]] += _HALF_UNITS[earlier[q]]
        q += _ONE
        if earlier[q] & WEST == 0:
            break
    q = top - _ONE
    while value[q] > floor and earlier[q] & (EAST | WEST) == EAST:
        area[value[q]] += _HALF_UNITS[earlier[q]]
        q -= _ONE


@njit(nogil=True, cache=True)
def _measure(swept: Swept, canvas: Canvas, outlines: Outlines) -> None:
    """Fill ``area`` and ``first`` for what is above the value from which on there is one component only."""
    order, value, earlier, label = canvas.order, canvas.value, canvas.earlier, canvas.label
    area, first = outlines.area, outlines.first
    area[: swept.nodes] = 0
    first[: swept.nodes] = 0xFFFFFFFF
    floor = LEVELS - 1 - swept.sole
    for i in range(swept.pixels - 1, -1, -1):
        p = np.uint64(order[np.uint64(i)])
        if value[p] <= floor:
            break
        if earlier[p] & (EAST | WEST) == 0:
            node = np.uint64(label[p])
            first[node, value[p]] = min(first[node, value[p]], np.uint32(p))
            _add_hill(p, floor, value, earlier, area[node])


@njit(nogil=True, cache=True)
def _inherit(nodes: int, tree: Tree, outlines: Outlines) -> None:
    """Give what a node was and what still comes of it to its heir; the heir is older, so the youngest go first."""
    area, first = outlines.area, outlines.first
    for node in range(nodes - 1, 0, -1):
        if tree.into[node] != node:
            heir, now = tree.heir[node], LEVELS - 1 - tree.end[node]  # the value at which they unite
            for v in range(now):
                area[heir, v] += area[node, v]
                first[heir, v] = min(first[heir, v], first[node, v])
            area[heir, now] += area[node, now:].sum()
            first[heir, now] = min(first[heir, now], first[node, now:].min())


@njit(nogil=True, cache=True)
def _choose(swept: Swept, tree: Tree, outlines: Outlines) -> None:
    """Fill ``largest``; below the floor there is but node 0."""
    largest, most, place = outlines.largest, outlines.most, outlines.place
    largest[:], most[:], place[:] = 0, -1, -1
    floor = LEVELS - 1 - swept.sole
    for node in range(swept.nodes):
        end = LEVELS - 1 if tree.into[node] == node else tree.end[node]
        area, first = np.int64(0), np.int64(0xFFFFFFFF)
        for v in range(LEVELS - 1 - tree.birth[node], max(floor, LEVELS - 1 - end), -1):
            area += outlines.area[node, v]
            first = min(first, np.int64(outlines.first[node, v]))
            if area > most[v - 1] or (area == most[v - 1] and first > place[v - 1]):
                largest[v - 1], most[v - 1], place[v - 1] = node, area, first


@njit(nogil=True, cache=True)
def _score_largest(
    swept: Swept, truth: Ints, shape: tuple[int, int], tree: Tree, outlines: Outlines, best: Floats
) -> None:
    """Fill ``best``, float64 (256,), where there is foreground."""
    score_lives(swept.lives, truth, shape, tree)
    for i in range(swept.lives):
        for stage in range(tree.lives[4, i], tree.lives[5, i] + 1):
            if outlines.largest[LEVELS - 2 - stage] == tree.lives[6, i]:
                best[LEVELS - 2 - stage] = tree.iou[i]


@njit(nogil=True, cache=True)
def best_and_largest_ious(score_maps: Bytes, boxes: Ints, offsets: Ints, best: Floats, largest: Floats) -> None:
    """Do :func:`~wsolbench.protocols.component_tree.best_ious` for all contours and for the largest one.

    Args:
        score_maps: uint8 (N, H, W).
        boxes: int64 (M, 4), the ground truth.
        offsets: int64 (N + 1,), where each image's boxes start.
        best: float64 (N, 256), the output for all contours.
        largest: float64 (N, 256), the output for the largest one.
    """
    count, height, width = score_maps.shape
    canvas, tree = new_canvas(height, width), new_tree(height, width)
    outlines = _new_outlines(canvas, height, width)
    for i in range(count):
        truth, highest = boxes[offsets[i] : offsets[i + 1]], np.int64(score_maps[i].max())
        best[i, :highest], best[i, highest:] = 0, no_box_iou(truth, (height, width), tree)
        largest[i] = best[i]
        draw(score_maps[i], canvas)
        listed = list_critical(height, width, canvas)
        holes = score_boxes(score_maps[i], listed, HOLE, truth, canvas, tree, best[i])
        if holes.nodes > 1:
            _fill_holes(holes, canvas, tree, outlines)
        swept = score_boxes(score_maps[i], listed, COMPONENT, truth, canvas, tree, best[i])
        if holes.nodes > 1:
            canvas.value[:] = outlines.filled
            listed = list_critical(height, width, canvas)
            swept = sweep_critical(COMPONENT, listed, canvas, tree)
        _measure(swept, canvas, outlines)
        _inherit(swept.nodes, tree, outlines)
        _choose(swept, tree, outlines)
        _score_largest(swept, truth, (height, width), tree, outlines, largest[i])
