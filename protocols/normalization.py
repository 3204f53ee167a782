"""Ways to bring a resized map into [0, 1]: the protocol's ``min-max``, and three labelled variants of it.

Numbers of different normalisations do not compare: the choice moves MaxBoxAccV2 by several points. With the resized map
F, its q-th percentile P_q and r(x) = max(x, 0):

* ``min-max``: (F - min F) / (max F - min F)
* ``max``: r(F) / max F
* ``pas``: r(F) / P_q, cut at 1 (Bae et al., ECCV 2020)
* ``ivr``: r(F - P_q) / (max F - P_q) (Kim et al., ICCV 2021)

``max`` is ``pas`` at q = 100, ``min-max`` is ``ivr`` at q = 0. The percentile is one for the whole dataset, chosen on
train-fullsup from :data:`PERCENTILES` by MaxBoxAccV2 (PxAP where there are masks); of equal ones the smallest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsolbench.protocols.scoremap import ScoreMaps, inspect, min_max, prepare, quantize, resize_bicubic
from wsolbench.protocols.version import NORMALIZATION

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NORMALIZATIONS = (NORMALIZATION, "max", "pas", "ivr")
AS_GIVEN = "none"
"""For maps that are in [0, 1] at the evaluation size already."""

PERCENTILES: Mapping[str, tuple[int, ...]] = {"pas": tuple(range(5, 101, 5)), "ivr": tuple(range(0, 100, 5))}
"""What the percentile of a normalisation is chosen from; one without an entry has no percentile."""


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """A normalisation, with its percentile where it has one.

    Attributes:
        name: one of :data:`NORMALIZATIONS`, or :data:`AS_GIVEN`.
        percentile: 0 to 100, for ``pas`` and ``ivr``; None for the others.
    """

    name: str = NORMALIZATION
    percentile: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown name, or a percentile that is missing, too much or out of range."""
        if self.name not in (*NORMALIZATIONS, AS_GIVEN):
            raise ValueError(f"unknown normalisation '{self.name}'; expected one of {', '.join(NORMALIZATIONS)}")
        if (self.percentile is not None) != (self.name in PERCENTILES):
            need = "a percentile" if self.name in PERCENTILES else "no percentile"
            raise ValueError(f"the normalisation {self.name} came with percentile {self.percentile}; expected {need}")
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile} is out of range; expected 0 to 100")


MIN_MAX = Normalization()


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitMaps:
    """Maps in [0, 1] at the evaluation size (PROTOCOL: step 3), and which of them carried no information.

    Attributes:
        maps: float64 (N, H, W), all 0 for constant and invalid maps.
        constant: bool (N,), the map had one value everywhere, before or after its normalisation.
        invalid: bool (N,), the raw map contained NaN.
    """

    maps: Floats
    constant: Bools
    invalid: Bools


def percentile_of(maps: Floats, percentile: int) -> Floats:
    """Return a percentile of each map: the value at place ``floor((n - 1) * q / 100)`` of its n sorted values.

    One of the map's own values, so no interpolation can round differently elsewhere.

    Args:
        maps: float64 (..., H, W), without NaN.
        percentile: q, 0 to 100.

    Returns:
        float64 (..., 1, 1).

    >>> percentile_of(np.arange(10.0).reshape(2, 5), 50).tolist()
    [[4.0]]
    """
    flat = maps.reshape(*maps.shape[:-2], 1, -1)
    place = _place(flat.shape[-1], percentile)
    return np.partition(flat, place, axis=-1)[..., place, None]


def max_only(maps: Floats) -> Floats:
    """Cut the negative part and divide by the maximum; a map without a positive value becomes all zeros.

    Args:
        maps: float64 (..., H, W), finite.

    Returns:
        float64 (..., H, W) in [0, 1].

    >>> max_only(np.array([[-1.0, 0.0, 1.0, 4.0]])).tolist()
    [[0.0, 0.0, 0.25, 1.0]]
    """
    return _divided(maps, maps.max(axis=(-2, -1), keepdims=True))


def pas(maps: Floats, percentile: int) -> Floats:
    """Cut the negative part, divide by a percentile, cut at 1; where the percentile is not positive, all above 0 is 1.

    Args:
        maps: float64 (..., H, W), finite.
        percentile: 0 to 100.

    Returns:
        float64 (..., H, W) in [0, 1].

    >>> pas(np.array([[-1.0, 0.5, 1.0, 2.0, 4.0]]), 75).tolist()
    [[0.0, 0.25, 0.5, 1.0, 1.0]]
    """
    return _divided(maps, percentile_of(maps, percentile))


def ivr(maps: Floats, percentile: int) -> Floats:
    """Stretch from a percentile to the maximum and cut at 0; a map whose maximum is the percentile becomes all zeros.

    Args:
        maps: float64 (..., H, W), finite.
        percentile: 0 to 100.

    Returns:
        float64 (..., H, W) in [0, 1].

    >>> ivr(np.array([[-1.0, 0.0, 1.0, 3.0, 5.0]]), 50).tolist()
    [[0.0, 0.0, 0.0, 0.5, 1.0]]
    """
    return _stretched(maps, percentile_of(maps, percentile))


def unit_maps(raw: npt.NDArray[np.floating], size: tuple[int, int], normalization: Normalization = MIN_MAX) -> UnitMaps:
    """Resize and normalise raw maps (PROTOCOL: steps 2 and 3).

    Args:
        raw: float (N, h, w), the maps of the ground-truth class.
        size: the evaluation size (H, W).
        normalization: which.

    Returns:
        The maps and the marks.

    Raises:
        ValueError: ``raw`` is not (N, h, w), a length is 0, a map contains infinity (its index is named), or maps that
            come as given are not in [0, 1] at the evaluation size.

    >>> unit_maps(np.array([[[0.0, 1.0], [2.0, 4.0]]]), (2, 2), Normalization(name="ivr", percentile=50)).maps.tolist()
    [[[0.0, 0.0], [0.3333333333333333, 1.0]]]
    """
    values, invalid, constant = inspect(raw)
    if normalization.name == AS_GIVEN and values.shape[1:] != size:
        raise ValueError(f"maps that come as given are {values.shape[1:]}; expected the evaluation size {size}")
    maps = np.zeros((len(values), *size))
    for i in np.flatnonzero(~(invalid | constant)):
        maps[i] = _normalize(resize_bicubic(values[i], size), normalization)
    return _marked(maps, constant, invalid)


def unit_maps_by_percentile(
    raw: npt.NDArray[np.floating], size: tuple[int, int], name: str
) -> Iterator[tuple[int, UnitMaps]]:
    """Do :func:`unit_maps` for every percentile that ``name`` chooses from; resizes and sorts only once.

    Args:
        raw: float (N, h, w).
        size: the evaluation size (H, W).
        name: a key of :data:`PERCENTILES`.

    Yields:
        Each percentile, and the maps with their marks.

    Raises:
        ValueError: as :func:`unit_maps`.
    """
    values, invalid, constant = inspect(raw)
    usable = np.flatnonzero(~(invalid | constant))
    wide = [resize_bicubic(values[i], size) for i in usable]
    ordered = [np.sort(map_, axis=None) for map_ in wide]
    rule = {"pas": _divided, "ivr": _stretched}[name]
    for percentile in PERCENTILES[name]:
        maps = np.zeros((len(values), *size))
        for i, map_, steps in zip(usable, wide, ordered, strict=True):
            maps[i] = rule(map_, steps[None, None, _place(steps.size, percentile)])
        yield percentile, _marked(maps, constant, invalid)


def prepare_normalized(
    raw: npt.NDArray[np.floating], size: tuple[int, int], normalization: Normalization = MIN_MAX
) -> ScoreMaps:
    """Turn raw maps into 8-bit score maps by any normalisation; ``min-max`` is the compiled :func:`prepare`.

    Args:
        raw: float (N, h, w).
        size: the evaluation size (H, W).
        normalization: which.

    Returns:
        The score maps and the marks.

    Raises:
        ValueError: as :func:`unit_maps`.
    """
    if normalization == MIN_MAX:
        return prepare(raw, size)
    unit = unit_maps(raw, size, normalization)
    return ScoreMaps(maps=quantize(unit.maps), constant=unit.constant, invalid=unit.invalid)


def best_percentile(values: Mapping[int, float]) -> int:
    """Return the percentile with the highest metric, of equal ones the smallest.

    >>> best_percentile({0: 50.0, 10: 51.0, 20: 51.0})
    10
    """
    highest = max(values.values())
    return min(percentile for percentile, value in values.items() if value == highest)


def _place(count: int, percentile: int) -> int:
    """Return where among ``count`` sorted values a percentile stands."""
    return (count - 1) * percentile // 100


def _normalize(wide: Floats, normalization: Normalization) -> Floats:
    """Normalise one resized map, (H, W)."""
    if normalization.name == NORMALIZATION:
        return min_max(wide)
    if normalization.name == "max":
        return max_only(wide)
    if normalization.name == AS_GIVEN:
        if wide.min() < 0 or wide.max() > 1:
            raise ValueError(f"a map as given has values from {wide.min():g} to {wide.max():g}; expected [0, 1]")
        return wide
    assert normalization.percentile is not None
    return (pas if normalization.name == "pas" else ivr)(wide, normalization.percentile)


def _divided(maps: Floats, by: Floats) -> Floats:
    """Return max(maps, 0) / by, cut at 1; as by falls to 0 that becomes 1 wherever the map is positive."""
    usable = by > 0
    with np.errstate(over="ignore"):  # a tiny percentile: infinity is cut at 1
        scaled = np.maximum(maps, 0) / np.where(usable, by, 1.0)
    return np.where(usable, np.minimum(scaled, 1.0), (maps > 0).astype(np.float64))


def _stretched(maps: Floats, low: Floats) -> Floats:
    """Return max(maps - low, 0) / (max - low)."""
    spread = maps.max(axis=(-2, -1), keepdims=True) - low
    usable = spread > 0
    return np.where(usable, np.maximum(maps - low, 0.0), 0.0) / np.where(usable, spread, 1.0)


def _marked(maps: Floats, constant: Bools, invalid: Bools) -> UnitMaps:
    """Blank the maps that are one value everywhere once they are normalised."""
    flat = ~invalid & (maps.max(axis=(1, 2)) == maps.min(axis=(1, 2)))
    return UnitMaps(maps=np.where(flat[:, None, None], 0.0, maps), constant=constant | flat, invalid=invalid)
