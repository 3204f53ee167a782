"""From the network's raw map to the 8-bit score map that boxes are read from (PROTOCOL: steps 2 to 4).

Raw map, bicubic resize to the evaluation size, min-max to [0, 1], ``floor(255 * map)``; all in float64. The order
matters, because bicubic interpolation overshoots. :func:`resize_bicubic`, :func:`min_max` and :func:`quantize`
are the definition, in numpy. :func:`prepare` is what one calls: the three fused into one compiled pass, with the
same IEEE operations in the same order, so its pixels equal the definition's exactly. An implementation on another
device must repeat that order as well: products and sums rounded one by one, no fused multiply-add, no matrix product.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

_A = -0.75  # Keys' coefficient, the one OpenCV and torch use
LARGEST = 1e300  # above it the resize, or the difference of two resized values, may overflow to infinity


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreMaps:
    """Score maps ready for box extraction, and which of them carried no information.

    Attributes:
        maps: uint8 (N, H, W); 255 at each map's maximum, all 0 for constant and invalid maps.
        constant: bool (N,), the raw map had one value everywhere.
        invalid: bool (N,), the raw map contained NaN.
    """

    maps: Bytes
    constant: Bools
    invalid: Bools


def bicubic_taps(n_in: int, n_out: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return which input pixels an output pixel is made of along one axis, and their weights.

    Cubic convolution (Keys 1981, Eq. 4) with a = -0.75 and half-pixel centres: output i lies at
    ``(i + 0.5) * n_in / n_out - 0.5``. No antialiasing; beyond the border the outermost pixel is repeated.

    Args:
        n_in: number of input pixels.
        n_out: number of output pixels.

    Returns:
        The indices, int64 (n_out, 4), clamped to [0, n_in - 1], and the weights, float64 (n_out, 4).

    Raises:
        ValueError: a length is not positive.

    >>> index, weight = bicubic_taps(2, 4)
    >>> index[0].tolist(), weight[0].tolist()
    ([0, 0, 0, 1], [-0.03515625, 0.26171875, 0.87890625, -0.10546875])
    """
    if n_in < 1 or n_out < 1:
        raise ValueError(f"cannot resize {n_in} to {n_out} pixels; both lengths must be at least 1")
    source = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    first = np.floor(source)
    t = source - first
    index = np.clip(first.astype(np.int64)[:, None] + np.arange(-1, 3), 0, n_in - 1)
    return index, np.stack([_far(1 + t), _near(t), _near(1 - t), _far(2 - t)], axis=1)


def _near(x: Floats) -> Floats:
    """Return the cubic kernel for distances 0 to 1."""
    return ((_A + 2) * x - (_A + 3)) * x * x + 1


def _far(x: Floats) -> Floats:
    """Return the cubic kernel for distances 1 to 2."""
    return ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A


def resize_bicubic(raw: npt.NDArray[np.floating], size: tuple[int, int]) -> Floats:
    """Resize maps, first along x, then along y; each output value is ``((w0*p0 + w1*p1) + w2*p2) + w3*p3``.

    The same size gives the maps back exactly. The weights of a row sum to 1 only up to rounding, so a constant map
    does not stay exactly constant: decide that on the raw map, as :func:`prepare` does.

    Args:
        raw: float (..., h, w).
        size: (H, W).

    Returns:
        float64 (..., H, W).

    Raises:
        ValueError: a length is not positive.
    """
    maps = np.asarray(raw, dtype=np.float64)
    index, weight = bicubic_taps(maps.shape[-1], size[1])
    maps = _weighted([maps[..., index[:, k]] for k in range(4)], [weight[:, k] for k in range(4)])
    index, weight = bicubic_taps(maps.shape[-2], size[0])
    return _weighted([maps[..., index[:, k], :] for k in range(4)], [weight[:, k, None] for k in range(4)])


def _weighted(p: list[Floats], w: list[Floats]) -> Floats:
    """Return the sum of four products in the one order that is the definition."""
    return ((w[0] * p[0] + w[1] * p[1]) + w[2] * p[2]) + w[3] * p[3]


def min_max(maps: npt.NDArray[np.floating]) -> Floats:
    """Stretch each map to [0, 1]: ``(map - min) / (max - min)``.

    Args:
        maps: float (..., H, W).

    Returns:
        float64 (..., H, W); all zeros for a constant map and for a map with NaN.

    Raises:
        ValueError: a map contains infinity (or spans more than float64 can hold).

    >>> min_max(np.array([[-1.0, 0.0, 3.0]])).tolist()
    [[0.0, 0.25, 1.0]]
    """
    values = np.asarray(maps, dtype=np.float64)
    low = values.min(axis=(-2, -1), keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = values.max(axis=(-2, -1), keepdims=True) - low
    if np.isinf(values).any() or np.isinf(spread).any():
        raise ValueError("a score map contains infinity; expected finite values")
    usable = spread > 0  # False for NaN too
    return np.where(usable, values - low, 0.0) / np.where(usable, spread, 1.0)


def quantize(maps: npt.NDArray[np.floating]) -> Bytes:
    """Cut maps in [0, 1] into 256 steps: ``floor(255 * map)``.

    Args:
        maps: float, any shape, values in [0, 1].

    Returns:
        uint8, the same shape.

    Raises:
        ValueError: a value is outside [0, 1] or NaN.

    >>> quantize(np.array([0.0, 0.5, 0.999, 1.0])).tolist()
    [0, 127, 254, 255]
    """
    values = np.asarray(maps, dtype=np.float64)
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        found = values[outside].flat[0]
        raise ValueError(f"a score map contains {found}; expected values in [0, 1], as min-max gives them")
    return np.floor(255 * values).astype(np.uint8)


def inspect(raw: npt.NDArray[np.floating]) -> tuple[Floats, Bools, Bools]:
    """Return raw maps as float64, and which of them carry no information.

    Args:
        raw: float (N, h, w).

    Returns:
        float64 (N, h, w); bool (N,), maps with NaN; bool (N,), maps with one value everywhere.

    Raises:
        ValueError: ``raw`` is not (N, h, w), or a map contains infinity; its index is named.
    """
    values = np.ascontiguousarray(raw, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise ValueError(f"raw maps have shape {values.shape}; expected (N, h, w), no length 0")
    infinite = np.flatnonzero((np.abs(values) > LARGEST).any(axis=(1, 2)))
    if infinite.size:
        raise ValueError(f"score map {infinite[0]} contains infinity; expected values within +-{LARGEST:g}")
    low, high = values.min(axis=(1, 2)), values.max(axis=(1, 2))  # NaN if the map has one
    # Constant on the raw map: rounding in the resize would turn it into noise that min-max then blows up to [0, 1].
    return values, np.isnan(low), np.equal(low, high)


def prepare(raw: npt.NDArray[np.floating], size: tuple[int, int]) -> ScoreMaps:
    """Turn raw maps into score maps: resize, min-max, quantise.

    Constant maps and maps with NaN become all zeros and are marked, so that they can be counted and reported.

    Args:
        raw: float (N, h, w), the maps of the ground-truth class.
        size: the evaluation size (H, W).

    Returns:
        The score maps and the marks.

    Raises:
        ValueError: ``raw`` is not (N, h, w), a length is 0, or a map contains infinity; its index is named.

    >>> prepare(np.array([[[0.0, 1.0], [2.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]]), (2, 2)).maps.tolist()
    [[[0, 63], [127, 255]], [[0, 0], [0, 0]]]
    """
    values, invalid, constant = inspect(raw)
    columns = bicubic_taps(values.shape[2], size[1])
    rows = bicubic_taps(values.shape[1], size[0])
    maps = np.zeros((len(values), *size), dtype=np.uint8)
    _resize_stretch_quantize(values, invalid | constant, *columns, *rows, maps, constant)
    return ScoreMaps(maps=maps, constant=constant, invalid=invalid)


@njit(nogil=True, cache=True)
def _resize_stretch_quantize(
    raw: Floats,
    skip: Bools,
    column: npt.NDArray[np.int64],
    column_weight: Floats,
    row: npt.NDArray[np.int64],
    row_weight: Floats,
    maps: Bytes,
    constant: Bools,
) -> None:
    """Fill ``maps`` for the images not skipped; mark in ``constant`` those that the resize made constant."""
    count, height, width = maps.shape
    narrow, wide, extremes = np.empty((raw.shape[1], width)), np.empty((height, width)), np.empty((2, width))
    for i in range(count):
        if skip[i]:
            continue
        _resize_rows(raw[i], column, column_weight, narrow)
        low, high = _resize_columns(narrow, row, row_weight, wide, extremes[0], extremes[1])
        if high == low:
            constant[i] = True
        else:
            _stretch_quantize(wide, low, high - low, maps[i])


@njit(nogil=True, cache=True)
def _resize_rows(raw: Floats, column: npt.NDArray[np.int64], column_weight: Floats, narrow: Floats) -> None:
    """Fill ``narrow``, float64 (h, W): each row of a map resized."""
    for y in range(len(raw)):
        line, out = raw[y], narrow[y]
        for x in range(len(out)):
            c, w = column[x], column_weight[x]
            total = w[0] * line[c[0]] + w[1] * line[c[1]]
            out[x] = (total + w[2] * line[c[2]]) + w[3] * line[c[3]]


@njit(nogil=True, cache=True)
def _resize_columns(
    narrow: Floats, row: npt.NDArray[np.int64], row_weight: Floats, wide: Floats, lows: Floats, highs: Floats
) -> tuple[float, float]:
    """Fill ``wide``, float64 (H, W): each column resized; return its smallest and its largest value.

    A whole row at a time, its four weights at hand and an extreme for each column: so it becomes vector instructions,
    which round as single ones do.
    """
    lows[:], highs[:] = np.inf, -np.inf
    for y in range(len(wide)):
        a, b, c, d = narrow[row[y, 0]], narrow[row[y, 1]], narrow[row[y, 2]], narrow[row[y, 3]]
        w0, w1, w2, w3 = row_weight[y]
        out = wide[y]
        for x in range(len(out)):
            value = ((w0 * a[x] + w1 * b[x]) + w2 * c[x]) + w3 * d[x]
            out[x] = value
            lows[x] = value if value < lows[x] else lows[x]
            highs[x] = value if value > highs[x] else highs[x]
    return lows.min(), highs.max()


@njit(nogil=True, cache=True, error_model="numpy")  # the check for a zero divisor would forbid vector instructions
def _stretch_quantize(wide: Floats, low: float, spread: float, score_map: Bytes) -> None:
    """Fill ``score_map``, uint8 (H, W), from the resized map."""
    for y in range(len(wide)):
        line, out = wide[y], score_map[y]
        for x in range(len(out)):
            out[x] = np.uint8(np.int32(255 * ((line[x] - low) / spread)))
