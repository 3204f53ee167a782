"""Both decisions a third time: a union-find over all sorted pixels of the map, and of its complement."""

import heapq

import numpy as np
from opencv_oracle import best_iou

EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
FOUR = [(-1, 0), (0, -1), (0, 1), (1, 0)]


def fill_holes(score_map):
    """Raise each pixel to the lowest value it must cross to leave the image."""
    filled = np.pad(np.full(score_map.shape, 255), 1, constant_values=-1)
    values = np.pad(score_map.astype(int), 1, constant_values=-1)
    reached = np.pad(np.zeros(score_map.shape, dtype=bool), 1, constant_values=True)
    height, width = filled.shape
    front = [(-1, y, x) for y in range(height) for x in range(width) if reached[y, x]]
    while front:
        value, y, x = heapq.heappop(front)
        filled[y, x] = value
        for dy, dx in FOUR:
            if 0 <= y + dy < height and 0 <= x + dx < width and not reached[y + dy, x + dx]:
                reached[y + dy, x + dx] = True
                heapq.heappush(front, (max(value, values[y + dy, x + dx]), y + dy, x + dx))
    return filled[1:-1, 1:-1]


class Forest:
    """Connected sets of pixels with what is known of each: its box, its area in half units and its first pixel."""

    def __init__(self, shape, neighbours):
        self.shape, self.neighbours = shape, neighbours
        self.parent = {}
        self.known = {}

    def find(self, p):
        while self.parent[p] != p:
            p = self.parent[p]
        return p

    def add(self, p):
        self.parent[p] = p
        halves = 0
        for dy in (-1, 1):
            for dx in (-1, 1):
                square = [(p[0] + dy, p[1]), (p[0], p[1] + dx), (p[0] + dy, p[1] + dx)]
                halves += sum(q in self.parent for q in square) >= 2
        self.known[p] = [p[1], p[0], p[1], p[0], halves, p]
        for dy, dx in self.neighbours:
            q = (p[0] + dy, p[1] + dx)
            if q in self.parent and self.find(q) != self.find(p):
                self.unite(self.find(q), self.find(p))

    def unite(self, a, b):
        (ax0, ay0, ax1, ay1, ah, af), (bx0, by0, bx1, by1, bh, bf) = self.known.pop(a), self.known.pop(b)
        self.parent[a] = b
        self.known[b] = [min(ax0, bx0), min(ay0, by0), max(ax1, bx1), max(ay1, by1), ah + bh, min(af, bf)]


def forests_by_level(values, order, neighbours, first, last):
    """Yield each level from ``first`` to ``last`` with the sets of the pixels that precede it in the order."""
    forest = Forest(values.shape, neighbours)
    order = list(order)
    for level in range(first, last, 1 if last > first else -1):
        while order and (values[order[-1]] <= level if last > first else values[order[-1]] > level):
            forest.add(order.pop())
        yield level, list(forest.known.values())


def both_ious_by_level(score_map, truth):
    """Return, (2, 256), the best IoU of all boxes, and that of the largest outer contour's box."""
    height, width = score_map.shape
    pixels, framed = list(np.ndindex(score_map.shape)), np.pad(score_map.astype(int), 1, constant_values=-1)
    boxes = [[] for _ in range(256)]
    for level, sets in forests_by_level(score_map, sorted(pixels, key=score_map.__getitem__), EIGHT, 255, -1):
        boxes[level] += [(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1, *_ in sets]
    around = sorted(np.ndindex(framed.shape), key=lambda p: -framed[p])
    for level, sets in forests_by_level(framed, around, FOUR, 0, 256):
        if boxes[level]:
            inside = [known for known in sets if known[0] > 0]  # all but the one with the frame, the outside
            boxes[level] += [(x0 - 2, y0 - 2, x1 + 1, y1 + 1) for x0, y0, x1, y1, *_ in inside]
    chosen = [[] for _ in range(256)]
    filled = fill_holes(score_map)
    for level, sets in forests_by_level(filled, sorted(pixels, key=filled.__getitem__), EIGHT, 255, -1):
        if sets:
            x0, y0, x1, y1, *_ = max(sets, key=lambda known: known[4:])
            chosen[level] = [(x0, y0, x1 + 1, y1 + 1)]

    def iou(found):
        return best_iou(np.minimum(found or [(0, 0, 0, 0)], [width, height, width - 1, height - 1]), truth)

    return np.array([[iou(found) for found in levels] for levels in (boxes, chosen)])
