"""Boxes of score maps, at every threshold at once, and which of them find the object (PROTOCOL: from map to boxes).

A box is ``x0 y0 x1 y1`` in inclusive pixels. Level L of an 8-bit score map has the foreground ``map > L``; the 1000
operating thresholds of the protocol are at most 255 distinct levels. At each level V2 takes *all* contours: the outer
border of every 8-connected component, and the border of every hole, which runs through the foreground around it. How
all levels are read off one pass is told in :mod:`wsolbench.protocols.component_tree`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsolbench.protocols.component_tree import best_ious
from wsolbench.protocols.largest_contour import best_and_largest_ious
from wsolbench.protocols.pixel_order import LEVELS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def scale_boxes(boxes: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer], size: tuple[int, int]) -> Ints:
    """Scale ground-truth boxes from their pictures to the evaluation size: ``int(float(x) * S / w)``.

    Multiplied before divided, in float64, truncated, never clipped: the other order moves 72 published boxes.

    Args:
        boxes: int (M, 4), in pixels of the original pictures.
        sizes: int (M, 2), height and width of each box's picture.
        size: the evaluation size (H, W).

    Returns:
        int64 (M, 4).

    Raises:
        ValueError: the shapes do not fit, or a picture has no extent.

    >>> scale_boxes(np.array([[60, 27, 385, 331]]), np.array([[335, 500]]), (224, 224)).tolist()
    [[26, 18, 172, 221]]
    """
    if boxes.ndim != 2 or boxes.shape[1:] != (4,) or sizes.shape != (len(boxes), 2):
        raise ValueError(f"boxes {boxes.shape} and sizes {sizes.shape} do not fit; expected (M, 4) and (M, 2)")
    if (sizes < 1).any():
        raise ValueError(f"box {np.argmax((sizes < 1).any(axis=1))} belongs to a picture of size 0; expected >= 1")
    target = np.array([size[1], size[0], size[1], size[0]], dtype=np.float64)
    scaled = boxes.astype(np.float64) * target / sizes[:, [1, 0, 1, 0]].astype(np.float64)
    return scaled.astype(np.int64)


def iou(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> Floats:
    """Return the intersection over union of every box of ``a`` with every box of ``b``, inclusive pixels.

    Args:
        a: int (A, 4).
        b: int (B, 4).

    Returns:
        float64 (A, B) in [0, 1].

    >>> iou(np.array([[0, 0, 9, 9]]), np.array([[0, 0, 9, 4], [5, 5, 14, 14], [10, 0, 12, 9]])).round(4).tolist()
    [[0.5, 0.1429, 0.0]]
    """
    a, b = np.asarray(a, dtype=np.int64)[:, None], np.asarray(b, dtype=np.int64)[None]
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = np.maximum(overlap, 0).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2] + 1).prod(axis=-1) + (b[..., 2:] - b[..., :2] + 1).prod(axis=-1)
    ratio: Floats = shared / (areas - shared)
    return ratio


def boxes_at(score_map: Bytes, level: int) -> Ints:
    """Return the boxes of one level, for pictures: those of the components, then those of the holes.

    Args:
        score_map: uint8 (H, W).
        level: 0 to 255; foreground is ``score_map > level``.

    Returns:
        int64 (B, 4), at least one box; ``[0, 0, 0, 0]`` where there is no foreground.

    Raises:
        ValueError: the map is not uint8 (H, W), or the level is out of range.

    >>> ring = np.array([[0, 0, 0, 0, 0], [9, 9, 9, 0, 0], [9, 0, 9, 0, 0], [9, 9, 9, 0, 0]], dtype=np.uint8)
    >>> boxes_at(ring, 0).tolist()
    [[0, 1, 3, 3], [0, 1, 3, 3]]
    """
    if score_map.dtype != np.uint8 or score_map.ndim != 2:
        raise ValueError(f"score map is {score_map.dtype} {score_map.shape}; expected uint8 (H, W)")
    if not 0 <= level < LEVELS:
        raise ValueError(f"level {level} is out of range; expected 0 to {LEVELS - 1}")
    height, width = score_map.shape
    foreground = score_map > level
    if not foreground.any():
        return np.zeros((1, 4), dtype=np.int64)
    components, _ = ndimage.label(foreground, structure=np.ones((3, 3)))
    # In a frame of background the outside is one region, the first in raster order; the other regions are holes.
    holes, _ = ndimage.label(np.pad(~foreground, 1, constant_values=True))
    found = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(components)]
    # Minus the frame, a hole's slice start is its first pixel + 1; grown by one, the box starts two before it.
    found += [(x.start - 2, y.start - 2, x.stop, y.stop) for y, x in ndimage.find_objects(holes)[1:]]
    return np.minimum(np.array(found, dtype=np.int64), [width, height, width - 1, height - 1])


def level_ious(score_map: Bytes, boxes: npt.NDArray[np.integer]) -> Floats:
    """Return, per level, the best IoU of any of its boxes with any ground-truth box.

    Args:
        score_map: uint8 (H, W).
        boxes: int (M, 4), the ground truth at the map's size, at least one.

    Returns:
        float64 (256,).

    Raises:
        ValueError: the input is malformed.
    """
    best: Floats = _batch_ious(score_map[None], boxes, np.array([0, len(boxes)]), threads=1)[0, 0]
    return best


def level_hits(score_map: Bytes, boxes: npt.NDArray[np.integer], criteria: Sequence[float] | Floats) -> Bools:
    """Say at which levels some box has IoU >= d with some ground-truth box.

    Args:
        score_map: uint8 (H, W).
        boxes: int (M, 4), the ground truth at the map's size, at least one.
        criteria: D IoU criteria, fractions.

    Returns:
        bool (D, 256), column L for the foreground ``score_map > L``.

    Raises:
        ValueError: the input is malformed.

    >>> ramp = np.zeros((4, 8), dtype=np.uint8)
    >>> ramp[1:3, 1:5] = [[10, 20, 20, 10]] * 2
    >>> hits = level_hits(ramp, np.array([[1, 1, 5, 3]]), [0.5, 0.7])
    >>> hits[:, [0, 9, 10, 19, 20]].astype(int).tolist()
    [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    """
    hits: Bools = _decide(level_ious(score_map, boxes)[None], criteria)[0]
    return hits


def level_hits_batch(
    score_maps: Bytes,
    boxes: npt.NDArray[np.integer],
    offsets: npt.NDArray[np.integer],
    criteria: Sequence[float] | Floats,
    threads: int = 1,
) -> Bools:
    """Do :func:`level_hits` for many maps.

    Args:
        score_maps: uint8 (N, H, W).
        boxes: int (M, 4), the ground truth at the maps' size.
        offsets: int (N + 1,); image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.
        criteria: D IoU criteria, fractions.
        threads: number of threads that share the work.

    Returns:
        bool (N, D, 256).

    Raises:
        ValueError: the input is malformed.
    """
    return _decide(_batch_ious(score_maps, boxes, offsets, threads)[0], criteria)


def level_hits_both(
    score_maps: Bytes,
    boxes: npt.NDArray[np.integer],
    offsets: npt.NDArray[np.integer],
    criteria: Sequence[float] | Floats,
    threads: int = 1,
) -> tuple[Bools, Bools]:
    """Do :func:`level_hits_batch` by both rules: all contours (V2) and the largest contour only (V1).

    The largest contour of a level is the outer border with the largest polygon area, through pixel centres; of equal
    ones it is the one whose first pixel in raster order comes last.

    Args:
        score_maps: uint8 (N, H, W).
        boxes: int (M, 4), the ground truth at the maps' size.
        offsets: int (N + 1,); image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.
        criteria: D IoU criteria, fractions.
        threads: number of threads that share the work.

    Returns:
        The decisions of all contours and those of the largest, each bool (N, D, 256).

    Raises:
        ValueError: the input is malformed.

    >>> two = np.zeros((1, 6, 9), dtype=np.uint8)
    >>> two[0, 1:3, 1:3], two[0, 1:5, 5:8] = 9, 7
    >>> both = level_hits_both(two, np.array([[1, 1, 3, 3]]), np.array([0, 1]), [1.0])
    >>> [hits[0, 0, [0, 6, 7, 8, 9]].astype(int).tolist() for hits in both]
    [[1, 1, 1, 1, 0], [0, 0, 1, 1, 0]]
    """
    best = _batch_ious(score_maps, boxes, offsets, threads, largest=True)
    return _decide(best[0], criteria), _decide(best[1], criteria)


def _decide(best: Floats, criteria: Sequence[float] | Floats) -> Bools:
    """Compare the best IoUs, (N, 256), with the criteria: bool (N, D, 256)."""
    hits: Bools = best[:, None, :] >= np.asarray(criteria, dtype=np.float64)[None, :, None]
    return hits


def _batch_ious(
    score_maps: Bytes,
    boxes: npt.NDArray[np.integer],
    offsets: npt.NDArray[np.integer],
    threads: int,
    largest: bool = False,
) -> Floats:
    """Return the best IoU per map and level, float64 (1, N, 256): of all contours; (2, N, 256): and of the largest."""
    _check(score_maps, boxes, offsets)
    maps = np.ascontiguousarray(score_maps)
    truth = np.ascontiguousarray(boxes, dtype=np.int64)
    starts = np.ascontiguousarray(offsets, dtype=np.int64)
    best = np.empty((2 if largest else 1, len(maps), LEVELS))
    cuts = np.linspace(0, len(maps), max(threads, 1) + 1).astype(int)

    def work(first: int, last: int) -> None:
        part = maps[first:last], truth, starts[first : last + 1]
        if largest:
            best_and_largest_ious(*part, best[0, first:last], best[1, first:last])
        else:
            best_ious(*part, best[0, first:last])

    if threads <= 1:
        work(0, len(maps))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, cuts[:-1], cuts[1:]))
    return best


def _check(score_maps: Bytes, boxes: npt.NDArray[np.integer], offsets: npt.NDArray[np.integer]) -> None:
    """Raise ValueError unless the arguments of :func:`level_hits_batch` fit together."""
    if score_maps.dtype != np.uint8 or score_maps.ndim != 3 or 0 in score_maps.shape[1:]:
        raise ValueError(f"score maps are {score_maps.dtype} {score_maps.shape}; expected uint8 (N, H, W)")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.issubdtype(boxes.dtype, np.integer):
        raise ValueError(f"boxes are {boxes.dtype} {boxes.shape}; expected integers (M, 4)")
    if offsets.shape != (len(score_maps) + 1,) or offsets[0] != 0 or offsets[-1] != len(boxes):
        raise ValueError(f"offsets must be N + 1 = {len(score_maps) + 1} integers from 0 to M = {len(boxes)}")
    boxless = np.flatnonzero(np.diff(offsets) < 1)
    if boxless.size:
        raise ValueError(f"image {boxless[0]} has no ground-truth box; expected at least one for each image")
    if len(boxes):
        inverted = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
        if inverted.size:
            raise ValueError(f"box {inverted[0]} is {boxes[inverted[0]].tolist()}; expected x0 <= x1 and y0 <= y1")
