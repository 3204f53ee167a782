"""Generated score maps of many kinds, for comparing implementations."""

import numpy as np
from opencv_oracle import boxes_at
from scipy import ndimage

from wsolbench.protocols import prepare


def _size(rng, low, high):
    return tuple(int(n) for n in rng.integers(low, high + 1, 2))


def _smooth(rng, cells):
    size = _size(rng, 16, 48)
    return prepare(rng.standard_normal((1, cells, cells)), size).maps[0]


def _stretch(values):
    low, high = values.min(), values.max()
    return np.floor(255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)


def _noise(rng, low=0, high=256, step=1):
    return (rng.integers(low, high, _size(rng, 8, 20)) * step).astype(np.uint8)


def _binary(rng, share):
    return ((rng.random(_size(rng, 8, 48)) < share) * 255).astype(np.uint8)


def _grid(rng, low=8, high=48):
    height, width = _size(rng, low, high)
    return np.mgrid[0:height, 0:width]


def _plateaus(rng):
    return np.kron(rng.integers(0, 6, _size(rng, 2, 6)) * 50, np.ones(_size(rng, 2, 8))).astype(np.uint8)


def _checkerboard(rng):
    y, x = _grid(rng)
    low, high = sorted(rng.integers(0, 256, 2).tolist())
    return np.where((y // rng.integers(1, 4) + x // rng.integers(1, 4)) % 2, high, low).astype(np.uint8)


def _rings(rng):
    y, x = _grid(rng)
    radius = np.hypot(y - rng.uniform(0, y.max()), x - rng.uniform(0, x.max()))
    return _stretch(np.cos(radius * rng.uniform(0.3, 2)) * rng.uniform(0, 3) - radius * rng.uniform(0, 0.3))


def _nested(rng):
    score_map = np.zeros(_size(rng, 12, 48), dtype=np.uint8)
    for k in range(min(score_map.shape) // 2):
        value = rng.integers(0, 256)
        score_map[k : score_map.shape[0] - k, k : score_map.shape[1] - k] = value
    return score_map


def _single_pixel(rng):
    score_map = np.full(_size(rng, 8, 64), rng.integers(0, 2) * 20, dtype=np.uint8)
    score_map[rng.integers(score_map.shape[0]), rng.integers(score_map.shape[1])] = rng.integers(0, 256)
    return score_map


def _gradient(rng):
    y, x = _grid(rng)
    return _stretch(y * rng.normal() + x * rng.normal())


def _border_objects(rng):
    score_map = np.zeros(_size(rng, 12, 48), dtype=np.uint8)
    for _ in range(4):
        y, x = (int(rng.integers(-6, n)) for n in score_map.shape)
        score_map[max(y, 0) : max(y + rng.integers(3, 12), 0), max(x, 0) : max(x + rng.integers(3, 12), 0)] += 60
    return score_map


def _diagonals(rng):
    y, x = _grid(rng)
    return np.where((y + rng.choice([-1, 1]) * x) % rng.integers(2, 7) == 0, rng.integers(1, 256), 0).astype(np.uint8)


def _bowl(rng):
    y, x = _grid(rng)
    return _stretch((y - y.mean()) ** 2 / y.max() ** 2 + (x - rng.uniform(0, x.max())) ** 2 / x.max() ** 2)


def _lattice(rng):
    y, x = _grid(rng)
    lines = (y % rng.integers(2, 6) == 0) | (x % rng.integers(2, 6) == 0)
    return np.where(lines, rng.integers(100, 256, y.shape) // 50 * 50, rng.integers(0, 2) * 30).astype(np.uint8)


def _blobs(rng):
    y, x = _grid(rng)
    total = np.zeros(y.shape)
    for _ in range(rng.integers(1, 6)):
        cy, cx, s = rng.uniform(0, y.max()), rng.uniform(0, x.max()), rng.uniform(1, 8)
        total += rng.normal() * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s))
    return _stretch(total)


def _spiral(rng):
    y, x = _grid(rng, 16, 40)
    cy, cx = y.max() / 2, x.max() / 2
    angle = np.arctan2(y - cy, x - cx)
    return _stretch(np.sin(angle + np.hypot(y - cy, x - cx) * rng.uniform(0.4, 1.5)))


def _blurred(rng):
    return _stretch(ndimage.gaussian_filter(rng.random(_size(rng, 8, 40)), rng.uniform(0.5, 3)))


def _equal_blobs(rng):
    stamp = rng.integers(1, 256, _size(rng, 1, 5)).astype(np.uint8)
    if rng.random() < 0.5:
        stamp[:] = stamp.max()
    score_map = np.full(_size(rng, 16, 40), rng.integers(0, 2), dtype=np.uint8)
    for _ in range(rng.integers(2, 8)):
        y, x = (int(rng.integers(0, n - k)) for n, k in zip(score_map.shape, stamp.shape, strict=True))
        score_map[y : y + stamp.shape[0], x : x + stamp.shape[1]] = stamp
    return score_map


def _pierced_blobs(rng):
    score_map = _blobs(rng)
    for _ in range(rng.integers(1, 12)):
        y, x = (int(rng.integers(0, n)) for n in score_map.shape)
        score_map[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = rng.integers(0, 100)
    return score_map


def _islands(rng):
    y, x = _grid(rng, 16, 48)
    distance = np.maximum(
        abs(y - y.max() // 2), abs(x - x.max() // 2)
    )  # square rings, each alone in a hole of the next
    return (rng.integers(1, 4, distance.max() + 1).cumsum()[distance] * (distance % 3 > 0) * 2 % 256).astype(np.uint8)


def _lines_and_points(rng):
    score_map = np.zeros(_size(rng, 8, 40), dtype=np.uint8)
    for _ in range(rng.integers(1, 9)):
        y, x = (int(rng.integers(0, n)) for n in score_map.shape)
        value, length = rng.integers(1, 256), int(rng.integers(1, 9))
        for k in range(length):
            dy, dx = ((0, k), (k, 0), (k, k))[length % 3]
            score_map[min(y + dy, score_map.shape[0] - 1), min(x + dx, score_map.shape[1] - 1)] = value
    return score_map


def _saturated(rng):
    return (np.clip(_smooth(rng, 7).astype(float) * rng.uniform(1, 4) - rng.uniform(0, 200), 0, 255)).astype(np.uint8)


KINDS = {
    "upsampled from 3x3": lambda rng: _smooth(rng, 3),
    "upsampled from 7x7": lambda rng: _smooth(rng, 7),
    "upsampled from 14x14": lambda rng: _smooth(rng, 14),
    "upsampled from 28x28": lambda rng: _smooth(rng, 28),
    "blurred noise": _blurred,
    "noise": _noise,
    "noise of four levels": lambda rng: _noise(rng, 0, 4, 80),
    "noise with a maximum below 255": lambda rng: _noise(rng, 0, 60),
    "noise with a minimum above 0": lambda rng: _noise(rng, 100, 180),
    "sparse binary noise": lambda rng: _binary(rng, 0.2),
    "even binary noise": lambda rng: _binary(rng, 0.5),
    "dense binary noise": lambda rng: _binary(rng, 0.8),
    "plateaus": _plateaus,
    "checkerboard": _checkerboard,
    "rings": _rings,
    "nested rectangles": _nested,
    "single pixel": _single_pixel,
    "all zero": lambda rng: np.zeros(_size(rng, 8, 64), dtype=np.uint8),
    "constant": lambda rng: np.full(_size(rng, 8, 64), rng.integers(1, 256), dtype=np.uint8),
    "one row": lambda rng: rng.integers(0, 256, (1, rng.integers(1, 65))).astype(np.uint8),
    "one column": lambda rng: rng.integers(0, 256, (rng.integers(1, 65), 1)).astype(np.uint8),
    "two rows": lambda rng: rng.integers(0, 5, (2, rng.integers(2, 65))).astype(np.uint8),
    "gradient": _gradient,
    "objects on the border": _border_objects,
    "diagonal lines": _diagonals,
    "bowl": _bowl,
    "lattice": _lattice,
    "blobs and pits": _blobs,
    "spiral": _spiral,
    "equal blobs": _equal_blobs,
    "pierced blobs": _pierced_blobs,
    "islands in holes": _islands,
    "lines and points": _lines_and_points,
    "saturated": _saturated,
    "upsampled, few levels": lambda rng: _smooth(rng, 7) // 32 * 32,
    "two by two": lambda rng: rng.integers(0, 3, (2, 2)).astype(np.uint8),
    "three by three": lambda rng: rng.integers(0, 4, (3, 3)).astype(np.uint8),
}
LARGE = {
    "512x512 from 14x14": lambda rng: prepare(rng.standard_normal((1, 14, 14)), (512, 512)).maps[0],
    "512x512 from 7x7, few levels": lambda rng: prepare(rng.standard_normal((1, 7, 7)), (512, 512)).maps[0] // 16 * 16,
    "512x512 noise of four levels": lambda rng: (rng.integers(0, 4, (512, 512)) * 80).astype(np.uint8),
    "300x400 sparse noise": lambda rng: ((rng.random((300, 400)) < 0.01) * rng.integers(1, 256, (300, 400))).astype(
        np.uint8
    ),
    "1x512": lambda rng: rng.integers(0, 256, (1, 512)).astype(np.uint8),
    "512x1": lambda rng: rng.integers(0, 256, (512, 1)).astype(np.uint8),
    "2x512": lambda rng: rng.integers(0, 8, (2, 512)).astype(np.uint8),
    "200x310 blurred": lambda rng: _stretch(ndimage.gaussian_filter(rng.random((200, 310)), 4)),
}


def true_boxes(rng, score_map):
    """Return 1 to 20 ground-truth boxes: some drawn anywhere, some near boxes of the map so that decisions vary."""
    height, width = score_map.shape
    found = boxes_at(score_map, int(rng.integers(0, max(int(score_map.max()), 1))))
    count = int(rng.integers(1, 21)) if rng.random() < 0.3 else 1
    boxes = []
    for _ in range(count):
        if rng.random() < 0.6:
            box = found[rng.integers(len(found))] + rng.integers(-3, 4, 4)
        else:
            box = rng.integers(0, [width, height, width, height])
        x, y = sorted(box[[0, 2]].tolist()), sorted(box[[1, 3]].tolist())
        boxes.append([x[0], y[0], x[1], y[1]])
    return np.array(boxes, dtype=np.int64)
