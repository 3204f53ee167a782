"""Box accuracy over the 1000 operating thresholds, from hits per level (PROTOCOL: metrics).

Hits are kept per *level* (256 columns, 32 bytes an image and criterion), not per threshold: with each map's maximum
they reproduce all 1000 thresholds, and any set of images can be scored again (subsets, bootstrap) without the maps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

THRESHOLDS: npt.NDArray[np.float64] = np.arange(0, 1, 0.001)
THRESHOLDS.setflags(write=False)
CRITERIA = (0.3, 0.5, 0.7)
_CHUNK = 4096  # images unpacked at once: 3 MB at 3 criteria


def levels(maximum: int) -> Ints:
    """Return the level of every threshold on a map with this maximum: ``int(t * max)``.

    Args:
        maximum: the score map's largest value, 0 to 255.

    Returns:
        int64 (1000,).

    >>> levels(255)[[0, 3, 4, 500, 999]].tolist()
    [0, 0, 1, 127, 254]
    """
    return (THRESHOLDS * float(maximum)).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxHits:
    """Whether each image's boxes find an object, per IoU criterion and level; as stored with a record.

    Attributes:
        packed: uint8 (N, D, 32), the 256 levels as bits, level 0 first (``numpy.packbits``); all contours (V2).
        maxima: uint8 (N,), the maximum of each score map, which turns thresholds into levels.
        criteria: the D IoU criteria, fractions.
        largest: uint8 (N, D, 32), likewise for the largest contour alone (V1); None where that was not extracted.
    """

    packed: Bytes
    maxima: Bytes
    criteria: tuple[float, ...] = CRITERIA
    largest: Bytes | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not fit; stored files pass through here too."""
        expected = (len(self.maxima), len(self.criteria), 32)
        for name, packed in (("packed", self.packed), ("largest", self.largest)):
            if packed is not None and (packed.shape != expected or packed.dtype != np.uint8):
                raise ValueError(
                    f"{name} hits are {packed.dtype} {packed.shape}; expected uint8 {expected} "
                    "for this number of maxima and criteria"
                )
        if self.maxima.ndim != 1 or self.maxima.dtype != np.uint8:
            raise ValueError(f"maxima are {self.maxima.dtype} {self.maxima.shape}; expected uint8 (N,)")

    def __len__(self) -> int:
        return len(self.maxima)

    @classmethod
    def from_levels(
        cls, hits: Bools, maxima: Bytes, criteria: Sequence[float] = CRITERIA, largest: Bools | None = None
    ) -> Self:
        """Pack the decisions of :func:`~wsolbench.protocols.boxes.level_hits_both`.

        Args:
            hits: bool (N, D, 256), of all contours.
            maxima: uint8 (N,), the score maps' maxima.
            criteria: the D IoU criteria.
            largest: bool (N, D, 256), of the largest contour; None where that was not extracted.

        Returns:
            The hits.
        """
        return cls(
            packed=np.packbits(hits, axis=-1),
            maxima=maxima,
            criteria=tuple(criteria),
            largest=None if largest is None else np.packbits(largest, axis=-1),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Self:
        """Build the hits from :meth:`arrays`, as ``numpy.load`` gives them back.

        Args:
            arrays: holds ``packed``, ``maxima`` and ``criteria``; ``largest`` where it was extracted.

        Returns:
            The hits.

        Raises:
            ValueError: an array is missing or malformed.
        """
        missing = {"packed", "maxima", "criteria"} - set(arrays)
        if missing:
            raise ValueError(f"stored hits lack {', '.join(sorted(missing))}; expected packed, maxima, criteria")
        criteria = tuple(float(d) for d in arrays["criteria"].astype(np.float64))
        packed, maxima = np.asarray(arrays["packed"]), np.asarray(arrays["maxima"])
        largest = np.asarray(arrays["largest"]) if "largest" in arrays else None
        return cls(packed=packed, maxima=maxima, criteria=criteria, largest=largest)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return plain arrays to store, for :meth:`from_arrays`."""
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "packed": self.packed,
            "maxima": self.maxima,
            "criteria": np.array(self.criteria),
        }
        return arrays if self.largest is None else {**arrays, "largest": self.largest}

    def unpacked(self) -> Bools:
        """Return the decisions of all contours as bool (N, D, 256)."""
        return np.unpackbits(self.packed, axis=-1).astype(bool)

    def select(self, images: Bools | npt.NDArray[np.integer]) -> Self:
        """Return the hits of some images, given as a mask (N,) or as indices, which may repeat."""
        largest = None if self.largest is None else self.largest[images]
        return type(self)(
            packed=self.packed[images], maxima=self.maxima[images], criteria=self.criteria, largest=largest
        )


def concatenate(parts: Sequence[BoxHits]) -> BoxHits:
    """Join the hits of parts of a split, in order.

    Args:
        parts: at least one, all with the same criteria.

    Returns:
        The hits of all images; without ``largest`` unless every part has it.

    Raises:
        ValueError: there is no part, or the criteria differ.
    """
    if not parts:
        raise ValueError("no hits to concatenate; expected at least one part")
    if len({part.criteria for part in parts}) > 1:
        raise ValueError(f"hits with different criteria cannot be joined: {[part.criteria for part in parts]}")
    largest = [part.largest for part in parts if part.largest is not None]
    return BoxHits(
        packed=np.concatenate([part.packed for part in parts]),
        maxima=np.concatenate([part.maxima for part in parts]),
        criteria=parts[0].criteria,
        largest=np.concatenate(largest) if len(largest) == len(parts) else None,
    )


def box_accuracy_counts(hits: BoxHits, among: Bools | None = None, largest: bool = False) -> Ints:
    """Count, at every threshold, the images where some box meets the criterion: N * BoxAcc(t, d).

    Args:
        hits: N images, D criteria.
        among: bool (N,); count only these images (for Top-k Loc: those whose label is in the top k). None: all.
        largest: count by the largest contour's box alone (V1) instead of by all boxes (V2).

    Returns:
        int64 (D, 1000).

    Raises:
        ValueError: ``among`` is not bool (N,), or the hits are without the largest contour.

    >>> decisions = np.zeros((2, 1, 256), dtype=bool)
    >>> decisions[0, 0, :100] = decisions[1, 0, 50:] = True
    >>> hits = BoxHits.from_levels(decisions, np.array([255, 100], dtype=np.uint8), criteria=[0.5])
    >>> box_accuracy_counts(hits)[0, [0, 392, 393, 500]].tolist()
    [1, 1, 0, 1]
    """
    if among is not None:
        if among.shape != (len(hits),) or among.dtype != np.bool_:
            raise ValueError(f"'among' is {among.dtype} {among.shape}; expected bool ({len(hits)},)")
        hits = hits.select(among)
    packed = hits.largest if largest else hits.packed
    if packed is None:
        raise ValueError("the hits are without those of the largest contour; expected hits scored by both rules")
    counts = np.zeros((len(hits.criteria), len(THRESHOLDS)), dtype=np.int64)
    for maximum in np.unique(hits.maxima):  # images with the same maximum share the levels
        same = packed[hits.maxima == maximum]
        per_level = np.zeros((len(hits.criteria), 256), dtype=np.int64)
        for first in range(0, len(same), _CHUNK):
            per_level += np.unpackbits(same[first : first + _CHUNK], axis=-1).sum(axis=0, dtype=np.int64)
        counts += per_level[:, levels(int(maximum))]
    return counts


def best_threshold(curve: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> int:
    """Return the index of the smallest threshold that attains the maximum.

    Args:
        curve: (1000,), a value per threshold.

    Returns:
        The index into ``THRESHOLDS``.

    >>> best_threshold(np.array([1, 3, 2, 3]))
    1
    """
    return int(np.argmax(curve))
