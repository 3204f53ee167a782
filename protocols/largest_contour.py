"""The best IoU of the largest contour at all 256 levels (PROTOCOL: V1)."""

import numpy as np
import numpy.typing as npt
from numba import njit

from wsolbench.protocols.component_tree import _best_iou

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


@njit(nogil=True, cache=True)
def _filled(score_map: Bytes) -> Ints:
    """Return the map with every hole of every level filled, in a ring of -1."""
    height, width = score_map.shape
    full = np.full((height + 2, width + 2), -1, dtype=np.int64)
    full[1:-1, 1:-1] = 255
    changed = True
    while changed:
        changed = False
        for i in range(2 * height * width):
            k = i if i < height * width else 2 * height * width - 1 - i
            y, x = 1 + k // width, 1 + k % width
            low = min(min(full[y - 1, x], full[y + 1, x]), min(full[y, x - 1], full[y, x + 1]))
            value = max(np.int64(score_map[y - 1, x - 1]), low)
            if value < full[y, x]:
                full[y, x] = value
                changed = True
    return full


@njit(nogil=True, cache=True)
def _one(score_map: Bytes, truth: Ints, best: Floats) -> None:
    """Fill ``best``, float64 (256,)."""
    height, width = score_map.shape
    full = _filled(score_map)
    row = width + 2
    flat = full.ravel()
    order = np.argsort(-flat, kind="mergesort")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    parent = np.full(len(order), -1)
    area = np.zeros(len(order), dtype=np.int64)
    box = np.zeros((len(order), 4), dtype=np.int64)
    roots = np.empty(len(order), dtype=np.int64)
    count = 0
    at = 0
    best[:] = _best_iou(np.zeros(4, dtype=np.int64), truth, height, width)
    for level in range(254, -1, -1):
        while flat[order[at]] > level:
            p = order[at]
            at += 1
            y, x = p // row, p % row
            parent[p] = p
            roots[count] = p
            count += 1
            box[p] = np.array([x - 1, y - 1, x, y])
            for dy in (-1, 1):
                for dx in (-1, 1):
                    others = (rank[p + dx] < at) + (rank[p + dy * row] < at) + (rank[p + dy * row + dx] < at)
                    area[p] += others >= 2
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    q = p + dy * row + dx
                    if parent[q] >= 0:
                        a, b = p, q
                        while parent[a] != a:
                            a = parent[a]
                        while parent[b] != b:
                            parent[b] = parent[parent[b]]
                            b = parent[b]
                        if a != b:
                            first, second = min(a, b), max(a, b)
                            parent[second] = first
                            area[first] += area[second]
                            box[first, :2] = np.minimum(box[first, :2], box[second, :2])
                            box[first, 2:] = np.maximum(box[first, 2:], box[second, 2:])
        kept = 0
        largest = -1
        for i in range(count):
            r = roots[i]
            if parent[r] == r:
                roots[kept] = r
                kept += 1
                if largest < 0 or area[r] > area[largest] or (area[r] == area[largest] and r > largest):
                    largest = r
        count = kept
        if count:
            best[level] = _best_iou(box[largest], truth, height, width)


@njit(nogil=True, cache=True)
def largest_ious(score_maps: Bytes, boxes: Ints, offsets: Ints, best: Floats) -> None:
    """Fill ``best``, float64 (N, 256): at level L the best IoU of the largest contour's box of map i."""
    for i in range(len(score_maps)):
        _one(score_maps[i], boxes[offsets[i] : offsets[i + 1]], best[i])
