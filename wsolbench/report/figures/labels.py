"""Labels beside points that hide neither points nor each other; what had to go further has a line to its point."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.report.figures.style import FAINT, SMALL

Floats = npt.NDArray[np.float64]

_RADII = (6.0, 12.0, 19.0, 27.0, 36.0, 46.0, 58.0, 72.0)  # points, from the point to the near side of its label
_ANGLES = np.deg2rad([0, 180, 90, 270, 35, 145, 325, 215, 60, 120, 300, 240, 15, 165, 345, 195, 75, 105, 285, 255])
_MARK = 4.0  # points, radius of a mark
_CROSSING = 40.0  # square points of hidden text that a crossing is worth
_LEADER = 10.0  # points; a label this near needs no line


def place_labels(points: Floats, sizes: Floats, obstacles: Floats, frame: Floats) -> Floats:
    """Choose where labels stand: for each the nearest place that is free.

    Points in crowds choose first. Where no place is free, the one that hides least is taken.

    Args:
        points: float (N, 2), what is labelled.
        sizes: float (N, 2), width and height of the labels, in the unit of the points.
        obstacles: float (M, 4), boxes ``x0 y0 x1 y1`` that no label should hide.
        frame: float (4,), the box that labels should stay in.

    Returns:
        float (N, 2), the centres of the labels.

    >>> place_labels(np.zeros((1, 2)), np.array([[10.0, 4.0]]), np.empty((0, 4)), np.array([-99, -99, 99, 99])).tolist()
    [[11.0, 0.0]]
    """
    crowd = np.linalg.norm(points[:, None] - points[None], axis=-1)
    order = np.argsort(np.sort(crowd, axis=1)[:, : min(4, len(points))].sum(axis=1), kind="stable")
    taken = [tuple(box) for box in obstacles]
    centres = np.zeros_like(points)
    for index in order:
        candidates = _candidates(points[index], sizes[index])
        boxes = np.concatenate([candidates - sizes[index] / 2, candidates + sizes[index] / 2], axis=1)
        marks = np.delete(points, index, axis=0)
        in_the_way = [*np.concatenate([marks - _MARK, marks + _MARK], axis=1), *taken[len(obstacles) :]]
        cost = _hidden(boxes, np.array(taken).reshape(-1, 4)) + _outside(boxes, frame)
        cost += _crossed(points[index], candidates, np.array(in_the_way).reshape(-1, 4))
        best = int(np.argmin(cost))  # of equal ones the first, which is the nearest
        centres[index] = candidates[best]
        taken.append(tuple(boxes[best]))
    return centres


def _candidates(point: Floats, size: Floats) -> Floats:
    """Return places around a point, nearest first, float (K, 2): on rays, the label's near side at each radius."""
    rays = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).round(12)
    found = [point + ray * radius + np.sign(ray) * size / 2 for radius in _RADII for ray in rays]
    return np.array(found)


def _hidden(boxes: Floats, taken: Floats) -> Floats:
    """Return the area of each of K boxes that others cover, float (K,)."""
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:])
    area: Floats = np.maximum(high - low, 0).prod(axis=-1).sum(axis=1)
    return area


def _crossed(point: Floats, centres: Floats, boxes: Floats) -> Floats:
    """Return a cost for each of K places that is reached only across a box: another's mark or label, float (K,)."""
    steps = np.linspace(0, 1, 12)[:, None]
    ways = point + steps * (centres[:, None] - point)  # (K, 12, 2)
    inside = ((ways[:, :, None] > boxes[:, :2]) & (ways[:, :, None] < boxes[:, 2:])).all(axis=-1)
    crossed = inside.reshape(len(centres), -1).any(axis=1)
    return np.where(crossed, _CROSSING, 0.0)


def _outside(boxes: Floats, frame: Floats) -> Floats:
    """Return how far each of K boxes sticks out of the frame, weighed so that it is the last resort, float (K,)."""
    out: Floats = np.maximum(frame[:2] - boxes[:, :2], 0).sum(axis=1) + np.maximum(boxes[:, 2:] - frame[2:], 0).sum(
        axis=1
    )
    return 1e3 * out


def label_points(axes: Any, texts: Sequence[str], points: Floats, further: Floats, colours: Sequence[str]) -> None:  # noqa: ANN401
    """Write labels beside points of a panel whose layout and limits are final.

    Args:
        axes: the panel.
        texts: N labels.
        points: float (N, 2), in the panel's data.
        further: float (M, 4), boxes in the panel's data that labels should not hide either, such as error bars.
        colours: of the labels.
    """
    unit = axes.figure.dpi / 72
    to_pixels = axes.transData.transform
    renderer = axes.figure.canvas.get_renderer()
    notes = [axes.figure.text(0.5, 0.5, text, fontsize=SMALL) for text in texts]  # to be measured
    sizes = np.array([[box.width, box.height] for box in (note.get_window_extent(renderer) for note in notes)])
    for note in notes:
        note.remove()
    anchors = to_pixels(points) / unit
    boxes = np.concatenate([to_pixels(further[:, :2]), to_pixels(further[:, 2:])], axis=1) / unit
    boxes = boxes + np.array([-1.0, -1.0, 1.0, 1.0])
    marks = np.concatenate([anchors - _MARK, anchors + _MARK], axis=1)
    area = axes.get_window_extent(renderer)
    frame = np.array([area.x0, area.y0, area.x1, area.y1]) / unit
    centres = place_labels(anchors, sizes / unit, np.concatenate([marks, boxes]), frame)
    for text, point, anchor, centre, size, colour in zip(
        texts, points, anchors, centres, sizes / unit, colours, strict=True
    ):
        gap = np.maximum(np.abs(centre - anchor) - size / 2, 0)
        line = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            text, point, xytext=tuple(centre - anchor), textcoords="offset points", ha="center", va="center",
            color=colour, fontsize=SMALL, arrowprops=line if np.hypot(*gap) > _LEADER else None,
        )  # fmt: skip
