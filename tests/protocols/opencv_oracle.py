"""The protocol's boxes and decisions, written a second time with OpenCV, one threshold after the other."""

import cv2
import numpy as np


def contours_at(score_map, level):
    """Return all contours, outer borders and hole borders, of ``score_map > level``."""
    _, mask = cv2.threshold(score_map, float(level), 255, cv2.THRESH_BINARY)
    return cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]


def largest(contours):
    """Return the one contour with the largest area, as the public code picks it; none of none."""
    return [max(contours, key=cv2.contourArea)] if contours else []


def boxes_of(contours, shape):
    """Return the boxes of contours."""
    height, width = shape
    if not contours:
        return np.zeros((1, 4), dtype=np.int64)
    found = np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64)
    x0, y0, w, h = found.T
    return np.stack([x0, y0, np.minimum(x0 + w, width - 1), np.minimum(y0 + h, height - 1)], axis=1)


def boxes_at(score_map, level):
    """Return the boxes of all contours of ``score_map > level``."""
    return boxes_of(contours_at(score_map, level), score_map.shape)


def best_iou(predicted, truth):
    """Return the best IoU of any predicted with any true box."""
    px0, py0, px1, py1 = predicted.T[:, :, None]
    tx0, ty0, tx1, ty1 = truth.T[:, None, :]
    w = np.maximum(0, np.minimum(px1, tx1) - np.maximum(px0, tx0) + 1)
    h = np.maximum(0, np.minimum(py1, ty1) - np.maximum(py0, ty0) + 1)
    union = (px1 - px0 + 1) * (py1 - py0 + 1) + (tx1 - tx0 + 1) * (ty1 - ty0 + 1) - w * h
    return float((w * h / union).max())


def ious_by_level(score_map, truth):
    """Return the best IoU at each of the 256 levels; levels with the same foreground are computed once."""
    return both_ious_by_level(score_map, truth)[0]


def both_ious_by_level(score_map, truth):
    """Return, (2, 256), the best IoU of all contours and that of the largest contour."""
    best = np.empty((2, 256))
    starts = sorted({0, *np.unique(score_map).tolist()})
    for first, after in zip(starts, [*starts[1:], 256], strict=True):
        contours = contours_at(score_map, first)
        for row, chosen in zip(best, (contours, largest(contours)), strict=True):
            row[first:after] = best_iou(boxes_of(chosen, score_map.shape), truth)
    return best


def hits_by_threshold(score_map, truth, criteria):
    """Return bool (D, 1000) by the literal loop over the operating thresholds, as the public code does it."""
    hits = np.empty((len(criteria), 1000), dtype=bool)
    maximum = int(score_map.max())
    for i, t in enumerate(np.arange(0, 1, 0.001)):
        iou = best_iou(boxes_at(score_map, int(t * maximum)), truth)
        hits[:, i] = [iou >= d for d in criteria]
    return hits
