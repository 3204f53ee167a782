"""The best IoU of a score map's boxes at all 256 levels, from one build of its component tree.

Level L cuts the map: foreground is every pixel > L. Its boxes belong to the 8-connected components of the foreground
and to its holes, the 4-connected components of the rest that do not reach the image's edge. Going from level 254
down to 0 the components only appear, grow and merge, so a box *lives* over a range of levels, and its IoU with the
ground truth is needed once per life rather than once per level::

    values of one row    .  5  9  7  .  .  6  .  .        . = 0
    level 8 to 7               [9]                        A lives at 8..7
    level 6                    [9  7]                     A has grown: a second life at 6
    level 5                    [9  7]      [6]            ... to 5;  B at 5..0
    level 4 to 0            [5  9  7]      [6]            A's third life at 4..0

Pixels enter a union-find from the highest value to the lowest, ties in a fixed order. The holes are the same sweep from
the lowest value to the highest, that is in the reverse order, in which the outside is a component that contains
everything from the start and swallows the holes that open to it. Most pixels need no step of the sweep:
:mod:`wsolbench.protocols.pixel_order` says which ones do.

A *stage* is a level in the sweep's direction: stage s is level 254 - s for components and level s for holes. The sweep
only logs the lives. Their IoUs are computed together, and each is written into a table of maxima over ranges of
power-of-two length, which are pushed down to single stages at the end: a life of any length costs two writes.

Functions called once per pixel take arrays: numba counts references to each array of a tuple that it passes on.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from wsolbench.protocols.pixel_order import (
    AXIS,
    COMPONENT,
    HOLE,
    LEVELS,
    ONLY,
    UNITE,
    Bytes,
    Canvas,
    Indices,
    Number,
    Numbers,
    draw,
    list_critical,
    new_canvas,
    reach,
    reach_all,
    sort_critical,
)

Box = tuple[Number, Number, Number, Number]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LAST = LEVELS - 2  # the last stage at which there is still foreground: level 0 of components, level 254 of holes
_LOG2 = np.array([0, *(n.bit_length() - 1 for n in range(1, LEVELS + 1))])


class Tree(NamedTuple):
    """The nodes of one sweep, components or holes numbered by age, and the lives of their boxes.

    Attributes:
        into: uint32, the node itself if it is a root, else an older node that it has become part of.
        heir: uint32, the root that a node was united into.
        birth: int32, the stage at which a node began.
        end: int32, the stage at which it was united.
        box: int32 (, 4), ``x0 y0 x1 y1`` as reported (PROTOCOL: boxes), but not cut at the right and bottom edge.
        since: int32, the stage at which the box became what it is.
        lives: int32 (7, ), for each life the box, the first stage, the last stage and the node.
        iou: float64, the best IoU of each life's box.
        ranges: float64 (9, 256), at k, s the best IoU over the stages s to s + 2^k - 1.
        around: uint64 (4,), the roots around a pixel.
    """

    into: Numbers
    heir: Numbers
    birth: Numbers
    end: Numbers
    box: Numbers
    since: Numbers
    lives: Numbers
    iou: Floats
    ranges: Floats
    around: Indices


class Swept(NamedTuple):
    """What a sweep did.

    Attributes:
        pixels: the number of critical pixels, all of them in ``order``.
        swept: the number of those it came to.
        nodes: the number of components, or of holes and the outside.
        lives: the number of lives.
        sole: the stage from which on node 0 is all there is; 255 if there always is more.
    """

    pixels: int
    swept: int
    nodes: int
    lives: int
    sole: int


@njit(nogil=True, cache=True)
def new_tree(height: int, width: int) -> Tree:
    """Return the memory for maps of one size."""
    size = height * width + 1  # every pixel a node, and the outside
    names, stages = np.empty((2, size), dtype=np.uint32), np.empty((3, size), dtype=np.int32)
    box = np.empty((size, 4), dtype=np.int32)
    lives, iou = np.empty((7, 2 * size), dtype=np.int32), np.empty(2 * size)  # each pixel and each union adds one life
    around, ranges = np.empty(4, dtype=np.uint64), np.empty((9, LEVELS))
    return Tree(names[0], names[1], stages[0], stages[1], box, stages[2], lives, iou, ranges, around)


@njit(nogil=True, cache=True)
def _find(into: Numbers, node: Number) -> Number:
    """Return the root of a node, halving the path to it."""
    node = np.uint64(node)
    while into[node] != node:
        into[node] = into[into[node]]
        node = np.uint64(into[node])
    return node


@njit(nogil=True, cache=True)
def _find_around(
    p: Number,
    unite: Number,
    beside: Indices,
    ways: Indices,
    earlier: Bytes,
    label: Numbers,
    into: Numbers,
    around: Indices,
) -> int:
    """Fill ``around`` with the roots around a pixel, each once, and return their number."""
    count = 0
    for k in range(8):
        if unite >> k & 1:
            root = _find(into, label[reach(p + beside[k + 1], AXIS[k + 1], ways, earlier)])
            known = False
            for i in range(count):
                known |= around[i] == root
            if not known:
                around[count] = root
                count += 1
    return count


@njit(nogil=True, cache=True)
def _pixel_box(p: Number, sweep: int, shift: int) -> Box:
    """Return the box of one pixel, before the cut; a hole's runs through the pixels around it."""
    y, x = np.int64(p) >> shift, np.int64(p) & ((1 << shift) - 1)
    return x - 1 - sweep, y - 1 - sweep, x + sweep, y + sweep


@njit(nogil=True, cache=True)
def _box_of(node: Number, box: Numbers) -> Box:
    """Return the present box of a node."""
    return box[node, 0], box[node, 1], box[node, 2], box[node, 3]


@njit(nogil=True, cache=True)
def _begin(node: Number, own: Box, now: Number, into: Numbers, birth: Numbers, box: Numbers, since: Numbers) -> None:
    """Make a node a root with a box."""
    into[node], birth[node], since[node] = node, now, now
    box[node, 0], box[node, 1], box[node, 2], box[node, 3] = own


@njit(nogil=True, cache=True)
def _end_life(node: Number, last: Number, count: Number, box: Numbers, since: Numbers, lives: Numbers) -> Number:
    """Log that a node's box lived until stage ``last``, and return the number of lives.

    A box that began later is not counted: the state in the middle of a stage is no level's. It is written all the same,
    and overwritten by the next one: no branch to mispredict.
    """
    lives[0, count], lives[1, count] = box[node, 0], box[node, 1]
    lives[2, count], lives[3, count] = box[node, 2], box[node, 3]
    lives[4, count], lives[5, count], lives[6, count] = since[node], last, node
    return count + np.uint64(since[node] <= last)


@njit(nogil=True, cache=True)
def _extend(
    node: Number, more: Box, now: Number, count: Number, box: Numbers, since: Numbers, lives: Numbers
) -> Number:
    """Let a node's box contain another box from stage ``now`` on, and return the number of lives."""
    x0, y0, x1, y1 = _box_of(node, box)
    same = (x0 <= more[0]) & (y0 <= more[1]) & (x1 >= more[2]) & (y1 >= more[3])
    ended = _end_life(node, now - 1, count, box, since, lives)
    since[node] = since[node] if same else now
    box[node, 0], box[node, 1] = min(x0, more[0]), min(y0, more[1])
    box[node, 2], box[node, 3] = max(x1, more[2]), max(y1, more[3])
    return count if same else ended


@njit(nogil=True, cache=True)
def _unite(around: int, now: Number, count: Number, tree: Tree) -> tuple[Number, Number]:
    """Unite the ``around`` roots around a pixel; the oldest lives on, so the outside always does.

    Returns:
        The root, and the number of lives.
    """
    root: Number = tree.around[0]
    for i in range(1, around):
        root = min(root, tree.around[i])
    for i in range(around):
        other = tree.around[i]
        if other != root:
            tree.into[other], tree.heir[other], tree.end[other] = root, root, now
            count = _end_life(other, now - 1, count, tree.box, tree.since, tree.lives)
            count = _extend(root, _box_of(other, tree.box), now, count, tree.box, tree.since, tree.lives)
    return root, count


@njit(nogil=True, cache=True)
def _end_roots(sweep: int, nodes: int, count: Number, tree: Tree) -> Number:
    """End the lives of those who reach the last stage, without the outside; return the number of lives."""
    for node in range(sweep, nodes):
        if tree.into[node] == node:
            count = _end_life(node, _LAST, count, tree.box, tree.since, tree.lives)
    return np.int64(count)


@njit(nogil=True, cache=True)
def sweep_critical(sweep: int, listed: int, canvas: Canvas, tree: Tree) -> Swept:
    """Find all components, or all holes, of the map whose critical pixels are ``listed``; log the lives of their boxes.

    When there is one component and none to come, the rest is part of it; when there is but the outside, that is all.
    """
    pixels, births = sort_critical(listed, sweep, canvas)
    reach_all(pixels, sweep, canvas)
    order, target, value, earlier, label = canvas.order, canvas.target, canvas.value, canvas.earlier, canvas.label
    unite, only, beside, ways, shift = UNITE[sweep], ONLY[sweep], canvas.beside, canvas.ways[sweep], canvas.shift
    into, birth, box, since, lives = tree.into, tree.birth, tree.box, tree.since, tree.lives
    nodes, alive, coming, swept = sweep, sweep, births, 0  # the outside is there from the start
    sole: Number = LEVELS - 1
    root: Number = np.uint64(0)
    count: Number = np.uint64(0)
    if sweep == HOLE:
        _begin(0, (-2, -2, 1 << shift, len(value)), 0, into, birth, box, since)  # no hole's box is larger
    while swept < pixels:
        i = np.uint64(swept if sweep == HOLE else pixels - 1 - swept)
        p = np.uint64(order[i])
        now = np.int64(value[p]) if sweep == HOLE else _LAST + 1 - np.int64(value[p])
        alone = alive == 1 and coming == 0
        if now > _LAST or (alone and sweep == HOLE):
            break
        own = _pixel_box(p, sweep, shift)
        if alone:
            sole = min(sole, now)
        elif only[earlier[p]] > 0:
            root = _find(into, label[target[i]])
        elif unite[earlier[p]] == 0:
            root = np.uint64(nodes)
            _begin(root, own, now, into, birth, box, since)
            nodes, alive, coming = nodes + 1, alive + 1, coming - 1
        else:
            around = _find_around(p, unite[earlier[p]], beside, ways, earlier, label, into, tree.around)
            root, count = _unite(around, now, count, tree)
            alive -= around - 1
        label[p] = root
        count = _extend(root, own, now, count, box, since, lives)
        swept += 1
    return Swept(pixels, swept, nodes, _end_roots(sweep, nodes, count, tree), sole)


@njit(nogil=True, cache=True, error_model="numpy")  # the check for a zero divisor would forbid vector instructions
def score_lives(count: int, truth: Ints, shape: tuple[int, int], tree: Tree) -> None:
    """Fill ``iou`` with the best IoU of each life's box with the ground truth, inclusive pixels.

    In float64, which holds these integers exactly, and without branches, so that it becomes vector instructions.
    """
    lives, iou = tree.lives, tree.iou
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    iou[:count] = 0
    for j in range(len(truth)):
        tx0, ty0, tx1, ty1 = float(truth[j, 0]), float(truth[j, 1]), float(truth[j, 2]), float(truth[j, 3])
        area = (tx1 - tx0 + 1) * (ty1 - ty0 + 1)
        for i in range(count):
            x0, y0, x1, y1 = float(lives[0, i]), float(lives[1, i]), float(lives[2, i]), float(lives[3, i])
            x1, y1 = x1 if x1 < right else right, y1 if y1 < bottom else bottom
            w = (x1 if x1 < tx1 else tx1) - (x0 if x0 > tx0 else tx0) + 1
            h = (y1 if y1 < ty1 else ty1) - (y0 if y0 > ty0 else ty0) + 1
            shared = (w if w > 0 else 0.0) * (h if h > 0 else 0.0)
            ratio = shared / ((x1 - x0 + 1) * (y1 - y0 + 1) + area - shared)
            iou[i] = ratio if ratio > iou[i] else iou[i]


@njit(nogil=True, cache=True)
def _best_by_stage(count: int, tree: Tree) -> Floats:
    """Return float64 (256,), a view: at each stage the best IoU of the lives that contain it."""
    ranges, iou, lives = tree.ranges, tree.iou, tree.lives
    ranges[:] = 0
    for i in range(count):
        first, last = lives[4, i], lives[5, i]
        k = _LOG2[last - first + 1]
        other = last - (1 << k) + 1
        ranges[k, first] = max(ranges[k, first], iou[i])
        ranges[k, other] = max(ranges[k, other], iou[i])
    for k in range(len(ranges) - 1, 0, -1):
        half = 1 << (k - 1)
        for s in range(LEVELS - half):
            ranges[k - 1, s] = max(ranges[k - 1, s], ranges[k, s])
            ranges[k - 1, s + half] = max(ranges[k - 1, s + half], ranges[k, s])
    best: Floats = ranges[0]
    return best


@njit(nogil=True, cache=True)
def no_box_iou(truth: Ints, shape: tuple[int, int], tree: Tree) -> float:
    """Return the best IoU where there is no foreground: that of the box ``[0, 0, 0, 0]``."""
    tree.lives[:4, 0] = 0
    score_lives(1, truth, shape, tree)
    best: float = tree.iou[0]
    return best


@njit(nogil=True, cache=True)
def score_boxes(
    score_map: Bytes, listed: int, sweep: int, truth: Ints, canvas: Canvas, tree: Tree, best: Floats
) -> Swept:
    """Raise ``best``, float64 (256,), at each level to the best IoU of its components' boxes, or of its holes'."""
    swept = sweep_critical(sweep, listed, canvas, tree)
    score_lives(swept.lives, truth, score_map.shape, tree)
    stages = _best_by_stage(swept.lives, tree)
    for level in range(np.int64(score_map.max())):
        best[level] = max(best[level], stages[level if sweep == HOLE else _LAST - level])
    return swept


@njit(nogil=True, cache=True)
def best_ious(score_maps: Bytes, boxes: Ints, offsets: Ints, best: Floats) -> None:
    """Fill ``best``, float64 (N, 256): at level L the best IoU of any box of map i with any of its true boxes.

    Args:
        score_maps: uint8 (N, H, W).
        boxes: int64 (M, 4), the ground truth.
        offsets: int64 (N + 1,), where each image's boxes start.
        best: float64 (N, 256), the output.
    """
    count, height, width = score_maps.shape
    canvas, tree = new_canvas(height, width), new_tree(height, width)
    for i in range(count):
        truth, highest = boxes[offsets[i] : offsets[i + 1]], np.int64(score_maps[i].max())
        best[i, :highest], best[i, highest:] = 0, no_box_iou(truth, (height, width), tree)
        draw(score_maps[i], canvas)
        listed = list_critical(height, width, canvas)
        score_boxes(score_maps[i], listed, HOLE, truth, canvas, tree, best[i])
        score_boxes(score_maps[i], listed, COMPONENT, truth, canvas, tree, best[i])
