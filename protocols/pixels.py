"""PxAP: how well a map's values tell object pixels from the rest, for splits with masks (PROTOCOL: metrics).

The pixels of all images are pooled into two histograms of their map's value, object and not. Histograms are whole
numbers that add up, over images, batches and processes, and the average precision is read off their sum. Kept for each
image (:class:`PixelHits`), they score any set of images again without the maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import njit

from wsolbench.protocols.box_metrics import THRESHOLDS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]

EDGES: Floats = np.append(THRESHOLDS, [1.0, 2.0])
EDGES.setflags(write=False)
BINS = len(EDGES) - 1
"""``[0, .001), ..., [.999, 1), [1, 2)``: 1001 bins."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelCounts:
    """Pixels by their map's value; counts of two parts of a split add up with ``+``.

    Attributes:
        positive: int64 (1001,), pixels of an object in each bin of :data:`EDGES`.
        negative: int64 (1001,), likewise of everything else that counts.
    """

    positive: Ints
    negative: Ints

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not fit."""
        for name, counts in (("positive", self.positive), ("negative", self.negative)):
            if counts.shape != (BINS,) or counts.dtype != np.int64:
                raise ValueError(f"{name} pixels are {counts.dtype} {counts.shape}; expected int64 ({BINS},)")

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(positive=self.positive + other.positive, negative=self.negative + other.negative)


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelHits:
    """Each image's pixels by their map's value; as stored with a record.

    Attributes:
        pixels: uint32 (N, 2, 1001), of each image the pixels in each bin of :data:`EDGES`, first those of no object
            that count, then those of an object.
    """

    pixels: Words

    def __post_init__(self) -> None:
        """Raise ValueError where the shape does not fit; stored files pass through here too."""
        if self.pixels.dtype != np.uint32 or self.pixels.ndim != 3 or self.pixels.shape[1:] != (2, BINS):
            raise ValueError(f"pixels are {self.pixels.dtype} {self.pixels.shape}; expected uint32 (N, 2, {BINS})")

    def __len__(self) -> int:
        return len(self.pixels)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Self:
        """Build them from :meth:`arrays`, as ``numpy.load`` gives them back.

        Raises:
            ValueError: the array is missing or malformed.
        """
        if "pixels" not in arrays:
            raise ValueError("stored pixels lack their array; expected pixels")
        return cls(pixels=np.asarray(arrays["pixels"]))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return plain arrays to store, for :meth:`from_arrays`."""
        return {"pixels": self.pixels}

    def select(self, images: Bools | npt.NDArray[np.integer]) -> Self:
        """Return the pixels of some images, given as a mask (N,) or as indices, which may repeat."""
        return type(self)(pixels=self.pixels[images])

    @property
    def counts(self) -> PixelCounts:
        """The pixels of all images together."""
        negative, positive = self.pixels.sum(axis=0, dtype=np.int64)
        return PixelCounts(positive=positive, negative=negative)


def resize_nearest(mask: Bools, size: tuple[int, int]) -> Bools:
    """Resize a mask by nearest neighbour: pixel i comes from ``floor(i * in / out)``, in whole numbers.

    Args:
        mask: bool (h, w).
        size: (H, W).

    Returns:
        bool (H, W).

    Raises:
        ValueError: the mask is not bool (h, w), or a length is 0.

    >>> resize_nearest(np.array([[True, False, True]]), (2, 2)).tolist()
    [[True, False], [True, False]]
    """
    if mask.ndim != 2 or mask.dtype != np.bool_ or 0 in (*mask.shape, *size):
        raise ValueError(f"cannot resize a mask {mask.dtype} {mask.shape} to {size}; expected bool (h, w), no length 0")
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, mask.shape, strict=True))
    resized: Bools = mask[rows[:, None], columns]
    return resized


def pixel_counts(maps: Floats, objects: Bools, ignored: Bools | None = None) -> PixelCounts:
    """Sort the pixels of some images into bins.

    Args:
        maps: float64 (N, H, W) in [0, 1], before quantisation.
        objects: bool (N, H, W), the union of each image's object masks.
        ignored: bool (N, H, W), each image's ignore mask; what it covers outside the objects is left out. None: empty.

    Returns:
        The counts.

    Raises:
        ValueError: shapes or types do not fit, or a value is outside [0, 1] or NaN.

    >>> maps = np.array([[[0.0, 0.0005], [0.5, 1.0]]])
    >>> counts = pixel_counts(maps, maps > 0.4, ignored=maps == 0)
    >>> np.flatnonzero(counts.positive).tolist(), np.flatnonzero(counts.negative).tolist()
    ([500, 1000], [0])
    """
    return pixel_hits(maps, objects, ignored).counts


def pixel_hits(maps: Floats, objects: Bools, ignored: Bools | None = None) -> PixelHits:
    """Sort the pixels of each image into bins; arguments and errors are those of :func:`pixel_counts`."""
    left_out = np.zeros_like(objects) if ignored is None else ignored
    if maps.ndim != 3 or maps.dtype != np.float64:
        raise ValueError(f"score maps are {maps.dtype} {maps.shape}; expected float64 (N, H, W)")
    for name, masks in (("object", objects), ("ignore", left_out)):
        if masks.shape != maps.shape or masks.dtype != np.bool_:
            raise ValueError(f"{name} masks are {masks.dtype} {masks.shape}; expected bool {maps.shape}, as the maps")
    pixels = np.zeros((len(maps), 2, BINS), dtype=np.uint32)
    for image in range(len(maps)):
        if not _sort(maps[image].ravel(), objects[image].ravel(), left_out[image].ravel(), EDGES, pixels[image]):
            raise ValueError("a score map has values outside [0, 1] or NaN; expected a normalised map")
    return PixelHits(pixels=pixels)


def average_precision(counts: PixelCounts) -> float:
    """Return PxAP: the sum over thresholds, high to low, of precision times the step of recall from 0.

    Args:
        counts: of a whole split.

    Returns:
        A fraction in [0, 1]; for maps that are all alike it is the share of object pixels.

    Raises:
        ValueError: there is no object pixel in the whole split.

    >>> alike = pixel_counts(np.full((1, 2, 2), 0.3), np.array([[[True, False], [False, False]]]))
    >>> average_precision(alike)
    0.25
    """
    if not counts.positive.any():
        raise ValueError("no pixel of the split belongs to an object; expected masks with object pixels")
    return float(average_precisions(counts.positive, counts.negative))


def average_precisions(positive: npt.NDArray[np.number], negative: npt.NDArray[np.number]) -> Floats:
    """Return the average precision of several pools of pixels.

    Args:
        positive: whole numbers (..., 1001), pixels of an object in each bin.
        negative: likewise of everything else.

    Returns:
        float64 (...,), fractions; 0 for a pool without a pixel of an object.

    >>> average_precisions(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [1.0, 1.0]]))
    array([0.5, 0. ])
    """
    right, wrong = positive[..., ::-1], negative[..., ::-1]
    hits = np.cumsum(right, axis=-1)
    found = hits + np.cumsum(wrong, axis=-1)
    steps = right / np.maximum(hits[..., -1:], 1)
    areas: Floats = (hits / np.maximum(found, 1) * steps).sum(axis=-1)
    return areas


@njit(nogil=True, cache=True)
def _sort(values: Floats, objects: Bools, ignored: Bools, edges: Floats, counts: Words) -> bool:
    """Count pixels into ``counts``, (2, bins): others, objects. False if a value is outside [0, 1]."""
    for i in range(len(values)):
        if ignored[i] and not objects[i]:
            continue
        value = values[i]
        if not 0 <= value <= 1:
            return False
        k = int(value * 1000)  # the right bin or a neighbour of it: the edges are rounded too
        if value < edges[k]:
            k -= 1
        elif value >= edges[k + 1]:
            k += 1
        counts[1 if objects[i] else 0, k] += 1
    return True
