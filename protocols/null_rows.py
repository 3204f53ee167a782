"""Score maps that know nothing of the image, or everything: the rows every table is read against (PROTOCOL: null rows).

They are raw maps and pass through the ordinary scoring.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SIGMA = 0.25  # of the image's height and width; see center_map


def center_map(size: tuple[int, int]) -> Floats:
    """Return the ``center`` row: a Gaussian in the middle of the image (Choe et al. 2020, centre-Gaussian baseline).

    Its boxes are centred and have the image's aspect. The width decides which threshold gives which box, not which
    boxes there are, and each metric picks its threshold; so it hardly matters, as long as 255 levels resolve the box
    sizes: at 224 pixels MaxBoxAccV2 is the same for 0.15 to 1 of the image's side on CUB (56.84) and on ILSVRC (53.38);
    at 0.1 the levels are used up before the box is large (56.09, 43.50).

    Args:
        size: the evaluation size (H, W).

    Returns:
        float64 (H, W) in (0, 1].
    """
    height, width = size
    y = (np.arange(height) - (height - 1) / 2) / (_SIGMA * height)
    x = (np.arange(width) - (width - 1) / 2) / (_SIGMA * width)
    gaussian: Floats = np.exp(-(y[:, None] ** 2 + x**2) / 2)
    return gaussian


def full_image_map(size: tuple[int, int]) -> Floats:
    """Return the ``full-image`` row: a map whose only box, at every threshold, is the whole image.

    All ones but for the last pixel, since a constant map would count as no answer. A component's box ends one pixel
    after it (PROTOCOL: boxes), so that even a map of one row or column keeps its full box.

    Args:
        size: the evaluation size (H, W); at any other size interpolation would blur the corner.

    Returns:
        float64 (H, W).
    """
    full = np.ones(size)
    full[-1, -1] = 0
    return full


def ceiling_map(boxes: npt.NDArray[np.integer], size: tuple[int, int], map_size: tuple[int, int]) -> Floats:
    """Return the ``ceiling`` row: one image's ground-truth boxes drawn at the resolution of a method's maps.

    What is lost against 100 % is lost to resolution. Where every cell is covered alike (a box over the whole image)
    the last cell is emptied, because a constant map would count as no answer; the box stays whole.

    Args:
        boxes: int (m, 4), at the evaluation size, inclusive pixels.
        size: the evaluation size (H, W).
        map_size: the map's size (h, w).

    Returns:
        float64 (h, w): the share of each cell that the union of the boxes covers.

    Raises:
        ValueError: there is no box.

    >>> ceiling_map(np.array([[2, 0, 7, 3]]), (8, 8), (2, 2)).tolist()
    [[0.5, 1.0], [0.0, 0.0]]
    """
    if len(boxes) == 0:
        raise ValueError("no ground-truth box to draw; expected at least one for each image")
    drawn = np.zeros(size)
    for x0, y0, x1, y1 in np.maximum(boxes, 0):
        drawn[y0 : y1 + 1, x0 : x1 + 1] = 1
    return _shares(drawn, map_size)


def mask_ceiling_map(objects: npt.NDArray[np.bool_], map_size: tuple[int, int]) -> Floats:
    """Return the ``ceiling`` row for an image with masks: its objects drawn at the resolution of a method's maps.

    Args:
        objects: bool (H, W), the union of the object masks at the evaluation size.
        map_size: the map's size (h, w).

    Returns:
        float64 (h, w): the share of each cell that objects cover.

    >>> mask_ceiling_map(np.array([[True, True, False, False]]), (1, 2)).tolist()
    [[1.0, 0.0]]
    """
    return _shares(objects.astype(np.float64), map_size)


def _shares(drawn: Floats, map_size: tuple[int, int]) -> Floats:
    """Return the share of each cell that is drawn, (h, w), from zeros and ones (H, W)."""
    size = drawn.shape
    # Whole numbers until the division, so the sums are exact whatever order a matrix product adds in.
    covered = _overlap(map_size[0], size[0]) @ drawn @ _overlap(map_size[1], size[1]).T
    cells: Floats = covered / (size[0] * size[1])
    if cells.size > 1 and cells.min() == cells.max():
        cells[-1, -1] = 0
    return cells


def _overlap(cells: int, pixels: int) -> Floats:
    """Return by how much each cell and each pixel overlap, in units of 1 / (cells * pixels): (cells, pixels)."""
    cell = np.arange(cells)[:, None] * pixels
    pixel = np.arange(pixels) * cells
    shared = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
    overlap: Floats = np.maximum(shared, 0).astype(np.float64)
    return overlap
