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

Pixels enter a union-find from the highest value to the lowest, ties in a fixed order, so that "earlier" is a total
order of the pixels. The holes are the same sweep from the lowest value to the highest, that is in the reverse order,
in which the outside is a component that contains everything from the start and swallows holes that open to it.

Most pixels need no step of the sweep. A pixel is told apart by a byte: which of its 8 neighbours are earlier::

    NW N NE      If the earlier ones are connected among themselves (one arc of the ring), the pixel merges nothing.
    W  .  E      It moves the left side of its component's box only if nothing of the component is in its own column
    SW S SE      or to the left, so only if the arc lies within NE, E, SE; likewise for the other sides.

A pixel that does neither is *inner*: it just points at an earlier neighbour. The others are *critical*: sorted and
swept. An upsampled 14x14 map has 3 to 4 thousand of them among 50,176. Read inverted, the byte drives the hole sweep.

Tables over the 256 bytes say, for 8-connected components and 4-connected holes, which neighbours to unite with (one
of each arc) and which bytes are inner. A life over the stages first to last costs two writes into a table of maxima
over power-of-two ranges, which are pushed down at the end.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]  # integers of the narrowest type that holds them
Memory = tuple[Numbers, Numbers, Numbers, Numbers]  # parent, since, order, box, indexed by pixel of the framed map

LEVELS = 256
_RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # (dy, dx) of bits 0 to 7
_LAST = LEVELS - 2  # the last stage at which there is still foreground: level 0 of components, level 254 of holes


def _arcs(bits: int, eight: bool) -> list[list[int]]:
    """Group the neighbours set in ``bits`` by how they are connected without the pixel between them.

    Only groups that the pixel itself is connected to are returned, each with such a neighbour first.
    """
    left = {k for k in range(8) if bits >> k & 1}
    groups = []
    while left:
        group = [left.pop()]
        for k in group:
            near = {j for j in left if _touch(_RING[k], _RING[j], eight)}
            group += near
            left -= near
        group.sort(key=lambda k: (k % 2, k))  # odd bits are diagonal
        if eight or group[0] % 2 == 0:
            groups.append(group)
    return groups


def _touch(a: tuple[int, int], b: tuple[int, int], eight: bool) -> bool:
    """Say whether two positions of the ring are neighbours of each other."""
    dy, dx = abs(a[0] - b[0]), abs(a[1] - b[1])
    return max(dy, dx) == 1 if eight else dy + dx == 1


def _tables(eight: bool) -> Bytes:
    """Return uint8 (2, 256): per byte the neighbours to unite with, and 1 + the neighbour an inner pixel points at."""
    table = np.zeros((2, LEVELS), dtype=np.uint8)
    for bits in range(LEVELS):
        arcs = _arcs(bits, eight)
        table[0, bits] = sum(1 << arc[0] for arc in arcs)
        members = [_RING[k] for arc in arcs for k in arc]
        beside = any(set(axis) in ({-1}, {1}) for axis in zip(*members, strict=True))
        if len(arcs) == 1 and not beside:
            table[1, bits] = 1 + arcs[0][0]
    return table


_COMPONENTS = _tables(eight=True)
_HOLES = np.ascontiguousarray(_tables(eight=False)[:, ::-1])  # indexed by the byte of the component sweep
_LOG2 = np.array([0, *(n.bit_length() - 1 for n in range(1, LEVELS + 1))])


@njit(nogil=True, cache=True)
def _find_earlier(score_map: Bytes, value: Numbers, earlier: Bytes) -> None:
    """Fill ``value``, the map in a ring of -1, and ``earlier``, each pixel's byte.

    Components are swept by value, then index, both descending.
    """
    height, width = score_map.shape
    value[1 : height + 1, 1 : width + 1] = score_map
    for y in range(1, height + 1):
        above, line, below = value[y - 1], value[y], value[y + 1]
        for x in range(1, width + 1):
            v = line[x]
            bits = (above[x] > v) | (above[x + 1] > v) << 1 | (line[x + 1] >= v) << 2 | (below[x + 1] >= v) << 3
            bits |= (below[x] >= v) << 4 | (below[x - 1] >= v) << 5 | (line[x - 1] > v) << 6
            earlier[y, x] = bits | (above[x - 1] > v) << 7


@njit(nogil=True, cache=True)
def _sort_critical(value: Numbers, earlier: Bytes, table: Bytes, steps: Ints, parent: Numbers, order: Numbers) -> int:
    """Point the inner pixels at an earlier neighbour; write the critical ones to ``order`` by value, then index.

    Returns the number of critical pixels.
    """
    height, width = value.shape
    start = np.zeros(LEVELS + 1, dtype=np.int64)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            pointer = table[1, earlier[y, x]]
            if pointer:
                parent[y * width + x] = y * width + x + steps[pointer - 1]
            else:
                parent[y * width + x] = -1
                start[value[y, x] + 1] += 1
    for v in range(LEVELS):
        start[v + 1] += start[v]
    count: int = start[LEVELS]
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if parent[y * width + x] == -1:
                order[start[value[y, x]]] = y * width + x
                start[value[y, x]] += 1
    return count


@njit(nogil=True, cache=True)
def _find(parent: Numbers, p: int) -> int:
    """Return the root of a pixel's tree, halving the path to it."""
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = parent[p]
    return p


@njit(nogil=True, cache=True)
def _best_iou(box: Numbers, truth: Ints, height: int, width: int) -> float:
    """Return the best IoU of one box ``x0 y0 x1 y1`` with the ground truth, inclusive pixels."""
    x0, y0, x1, y1 = box[0], box[1], min(box[2], width - 1), min(box[3], height - 1)
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    best = 0.0
    for j in range(len(truth)):
        w = min(x1, truth[j, 2]) - max(x0, truth[j, 0]) + 1
        h = min(y1, truth[j, 3]) - max(y0, truth[j, 1]) + 1
        if w > 0 and h > 0:
            other = (truth[j, 2] - truth[j, 0] + 1) * (truth[j, 3] - truth[j, 1] + 1)
            best = max(best, w * h / (area + other - w * h))
    return best


@njit(nogil=True, cache=True)
def _end_life(first: int, last: int, box: Numbers, truth: Ints, shape: tuple[int, int], lives: Floats) -> None:
    """Record that a box was there at the stages ``first`` to ``last``."""
    iou = _best_iou(box, truth, shape[0], shape[1])
    k = _LOG2[last - first + 1]
    lives[k, first] = max(lives[k, first], iou)
    other = last - (1 << k) + 1
    lives[k, other] = max(lives[k, other], iou)


@njit(nogil=True, cache=True)
def _unite(a: int, b: int, now: int, memory: Memory, truth: Ints, shape: tuple[int, int], lives: Floats) -> int:
    """Unite the components with roots ``a`` and ``b`` at stage ``now`` and return the root.

    The life of a box ends here if the union's box is another one, unless it began at this very stage: the state in
    the middle of a stage is no level's. The outside, pixel 0, always stays the root: the ring points at it.
    """
    parent, since, _, box = memory
    if a == 0:
        a, b = b, a
    x0, y0 = min(box[a, 0], box[b, 0]), min(box[a, 1], box[b, 1])
    x1, y1 = max(box[a, 2], box[b, 2]), max(box[a, 3], box[b, 3])
    opened = now
    for r in (a, b):
        if box[r, 0] == x0 and box[r, 1] == y0 and box[r, 2] == x1 and box[r, 3] == y1:
            opened = min(opened, since[r])
        elif since[r] < now:
            _end_life(since[r], now - 1, box[r], truth, shape, lives)
    parent[a] = b
    since[b] = opened
    box[b, 0], box[b, 1], box[b, 2], box[b, 3] = x0, y0, x1, y1
    return b


@njit(nogil=True, cache=True)
def _sweep(
    value: Numbers, earlier: Bytes, holes: bool, table: Bytes, steps: Ints, memory: Memory, truth: Ints, lives: Floats
) -> None:
    """Add the lives of all components, or of all holes, to ``lives``.

    Stage s stands for level 254 - s in the sweep of components, and for level s in that of holes. Boxes are kept
    as the protocol reports them (PROTOCOL: boxes), but for the cut at the right and bottom edge.
    """
    parent, since, order, box = memory
    row = value.shape[1]
    shape = (value.shape[0] - 2, row - 2)
    grow = 1 if holes else 0
    parent[0], since[0] = 0, 0
    box[0, 0], box[0, 1], box[0, 2], box[0, 3] = -2, -2, row, value.shape[0]  # outside: no hole's box is larger
    count = _sort_critical(value, earlier, table, steps, parent, order)
    for i in range(count):
        p = order[i] if holes else order[count - 1 - i]
        y, x = p // row, p % row
        now = value[y, x] if holes else _LAST + 1 - value[y, x]
        if now > _LAST:
            break
        parent[p], since[p] = p, now
        box[p, 0], box[p, 1], box[p, 2], box[p, 3] = x - 1 - grow, y - 1 - grow, x + grow, y + grow
        root, bits = p, table[0, earlier[y, x]]
        for k in range(8):
            if bits >> k & 1:
                other = _find(parent, p + steps[k])
                if other != root:
                    root = _unite(root, other, now, memory, truth, shape, lives)
    for i in range(count):
        p = order[i]
        if parent[p] == p:
            _end_life(since[p], _LAST, box[p], truth, shape, lives)


@njit(nogil=True, cache=True)
def _ranges_to_stages(lives: Floats) -> Floats:
    """Push the maxima over ranges of 2^k stages down to single stages."""
    for k in range(len(lives) - 1, 0, -1):
        half = 1 << (k - 1)
        for s in range(LEVELS - half):
            lives[k - 1, s] = max(lives[k - 1, s], lives[k, s])
            lives[k - 1, s + half] = max(lives[k - 1, s + half], lives[k, s])
    single: Floats = lives[0]
    return single


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
    row = width + 2
    value = np.full((height + 2, row), -1, dtype=np.int16)
    earlier = np.empty(value.shape, dtype=np.uint8)
    steps = np.array([dy * row + dx for dy, dx in _RING])
    parent = np.zeros(value.size, dtype=np.int32)  # the ring's parent is and stays pixel 0, the outside
    since = np.empty(value.size, dtype=np.int32)
    order = np.empty(value.size, dtype=np.int64)
    memory = (parent, since, order, np.empty((value.size, 4), dtype=np.int32))
    lives = np.empty((2, 9, LEVELS))
    for i in range(count):
        truth = boxes[offsets[i] : offsets[i + 1]]
        lives[:] = 0
        _find_earlier(score_maps[i], value, earlier)
        _sweep(value, earlier, False, _COMPONENTS, steps, memory, truth, lives[0])
        _sweep(value, earlier, True, _HOLES, steps, memory, truth, lives[1])
        components = _ranges_to_stages(lives[0])
        holes = _ranges_to_stages(lives[1])
        maximum = score_maps[i].max()
        best[i] = _best_iou(np.zeros(4, dtype=np.int64), truth, height, width)  # where there is no foreground
        for level in range(maximum):
            best[i, level] = max(components[_LAST - level], holes[level])
