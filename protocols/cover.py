"""The share of an image that its objects cover, for slices of a split by box size (PROTOCOL: null rows)."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def box_cover(boxes: Ints, offsets: Ints, size: tuple[int, int]) -> Floats:
    """Return the share of each image that its largest box covers, for slices by box size.

    Args:
        boxes: int64 (M, 4), at the evaluation size, inclusive pixels; what lies outside the image does not count.
        offsets: int64 (N + 1,); image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.
        size: the evaluation size (H, W).

    Returns:
        float64 (N,) in [0, 1].

    Raises:
        ValueError: an image has no box.

    >>> box_cover(np.array([[0, 0, 4, 9], [0, 0, 0, 0], [5, 0, 14, 9]]), np.array([0, 2, 3]), (10, 10)).tolist()
    [0.5, 0.5]
    """
    boxless = np.flatnonzero(np.diff(offsets) < 1)
    if boxless.size:
        raise ValueError(f"image {boxless[0]} has no ground-truth box; expected at least one for each image")
    height, width = size
    sides = np.minimum(boxes[:, 2:], [width - 1, height - 1]) - np.maximum(boxes[:, :2], 0) + 1
    areas = np.maximum(sides, 0).prod(axis=1)
    return np.maximum.reduceat(areas, offsets[:-1]) / (height * width)


def between(cover: Floats, low: float, high: float) -> Bools:
    """Return which images' largest box covers ``low`` to ``high`` of the image, both included: bool (N,)."""
    return (cover >= low) & (cover <= high)
