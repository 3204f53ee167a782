"""Boxes to show on a picture: the largest contour's at one level, and boxes in pixels of the picture (PROTOCOL: V1).

Scoring never needs them one by one: it reads all levels off one pass (:mod:`wsolbench.protocols.largest_contour`).
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsolbench.protocols.boxes import boxes_at

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def largest_box_at(score_map: Bytes, level: int) -> Ints:
    """Return the box of the largest contour of one level: V1's box.

    Largest is the polygon through the pixel centres of an outer contour; of equal ones the contour whose first pixel
    in raster order comes last.

    Args:
        score_map: uint8 (H, W).
        level: 0 to 255; foreground is ``score_map > level``.

    Returns:
        int64 (4,), ``x0 y0 x1 y1``; ``[0, 0, 0, 0]`` where there is no foreground.

    Raises:
        ValueError: the map is not uint8 (H, W), or the level is out of range.

    >>> score_map = np.zeros((6, 9), dtype=np.uint8)
    >>> score_map[1, 0:4] = 9  # four pixels in a row: a polygon without area
    >>> score_map[3:5, 5:8] = 9
    >>> largest_box_at(score_map, 0).tolist()
    [5, 3, 8, 5]
    """
    boxes = boxes_at(score_map, level)
    components, count = ndimage.label(score_map > level, structure=np.ones((3, 3)))
    places = enumerate(ndimage.find_objects(components), start=1)
    areas = [_doubled_area(components[place] == index) for index, place in places]
    # Components are numbered by their first pixels, and come first among the boxes: the last of equal ones wins.
    largest: Ints = boxes[count - 1 - int(np.argmax(areas[::-1])) if count else 0]
    return largest


def _doubled_area(component: Bools) -> int:
    """Return twice the area of the polygon through the centres of a component's outermost pixels.

    Holes filled, it is made of the unit squares between four pixels and of half squares between three.
    """
    filled = ndimage.binary_fill_holes(component).astype(np.int64)
    corners = filled[:-1, :-1] + filled[1:, :-1] + filled[:-1, 1:] + filled[1:, 1:]
    return int(2 * (corners == 4).sum() + (corners == 3).sum())


def unscale_boxes(boxes: npt.NDArray[np.integer], size: tuple[int, int], picture: tuple[int, int]) -> Ints:
    """Bring boxes from the evaluation size back to a picture: the whole pixels that each box touches.

    Args:
        boxes: int (B, 4), inclusive pixels at the evaluation size.
        size: the evaluation size (H, W).
        picture: the picture's size (H, W).

    Returns:
        int64 (B, 4), inclusive pixels of the picture.

    Raises:
        ValueError: boxes are not (B, 4), or a length is not positive.

    >>> unscale_boxes(np.array([[0, 1, 1, 3]]), (4, 4), (100, 10)).tolist()
    [[0, 25, 4, 99]]
    """
    if boxes.ndim != 2 or boxes.shape[1:] != (4,) or min(*size, *picture) < 1:
        raise ValueError(f"boxes {boxes.shape} from {size} to {picture}; expected (B, 4) and lengths of at least 1")
    to, at = (np.array([width, height], dtype=np.int64) for height, width in (picture, size))
    first, last = boxes[:, :2].astype(np.int64), boxes[:, 2:].astype(np.int64)
    return np.concatenate([first * to // at, -((last + 1) * -to // at) - 1], axis=1)
