"""Metrics on resampled images; the best threshold is searched anew in every resample (PROTOCOL: statistics).

MaxBoxAcc is not a mean over images, so an interval cannot come from per-image scores. But its curve over thresholds is
a sum over images, and a resample is only a weight per image, how often it was drawn. The curves of all resamples are
therefore one matrix product::

    counts (B resamples, N images)  @  hits (N images, G thresholds)  =  images found (B, G)

Thresholds that are the same level on every map share a column, so that G is 255 where all maps have the same maximum.
Whole numbers below 2^24 are exact in float32, so the product gives the counts that one would get by adding. PxAP is
read off the pixels of each image in the same way, in float64: a split has more than 2^24 of them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wsolbench.protocols.box_metrics import CRITERIA, BoxHits, levels
from wsolbench.protocols.metrics import TOP, SplitScores, localisation
from wsolbench.protocols.pixels import PixelHits, average_precision, average_precisions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_BLOCK = 256  # resamples at once: their counts are 51 MB for 50,000 images
_EXACT = 2**24  # float32 has every whole number up to here

PXAP = "pxap"

Rule = Literal["best", "fullsup"] | int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is counted at every threshold.

    Attributes:
        criterion: the IoU that a box must reach, a fraction; None: no box is asked for.
        top: the label must be among this many highest logits; None: classes do not matter.
        largest: only the largest contour's box counts, not all contours'.
    """

    criterion: float | None
    top: int | None = None
    largest: bool = False


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric follows from curves.

    Attributes:
        curves: each is read at one threshold; the metric is the mean of what is read. PxAP has none.
        rule: the threshold: the ``best`` on the images being scored, that on ``fullsup``, or the index of a fixed one.
    """

    curves: tuple[Curve, ...]
    rule: Rule


def _metrics() -> dict[str, Metric]:
    """Return every metric that follows from hits and ranks."""
    found: dict[str, Metric] = {}
    for metric in localisation(CRITERIA):
        curve = Curve(criterion=metric.criterion, top=metric.top, largest=metric.largest)
        rules: tuple[Rule, ...] = ("best", "fullsup") if metric.at is None else (metric.at,)
        found |= {key: Metric(curves=(curve,), rule=rule) for key, rule in zip(metric.names(), rules, strict=True)}
    mean = tuple(Curve(criterion=d) for d in CRITERIA)
    found |= {"max_box_acc_v2": Metric(curves=mean, rule="best")}
    found |= {"max_box_acc_v2_fullsup": Metric(curves=mean, rule="fullsup")}
    found |= {PXAP: Metric(curves=(), rule="best")}
    return found | {f"top{k}_cls": Metric(curves=(Curve(criterion=None, top=k),), rule="best") for k in TOP}


RESAMPLED: dict[str, Metric] = _metrics()
"""The metrics that can be resampled from stored hits, by their key."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampling:
    """How often each resample draws each image; runs that share it are compared on the same images.

    Attributes:
        test: uint8 (B, N).
        fullsup: uint8 (B, M), drawn independently of ``test``; M is 0 where train-fullsup was not scored.
        seed: what it was drawn with.
    """

    test: Bytes
    fullsup: Bytes
    seed: int


def resample_images(test: int, fullsup: int | None, *, resamples: int, seed: int) -> Resampling:
    """Draw images with replacement, as many as there are, from each split.

    Args:
        test: N, number of images of the split being scored.
        fullsup: M, number of images of train-fullsup, which is drawn from independently; None: not scored.
        resamples: B.
        seed: of the random numbers; the same seed draws the same images of ``test``, whatever M is.

    Returns:
        The counts.

    Raises:
        ValueError: a number is below 1.

    >>> resample_images(4, None, resamples=2, seed=0).test.sum(axis=1).tolist()
    [4, 4]
    """
    if min(resamples, test, 1 if fullsup is None else fullsup) < 1:
        raise ValueError(f"cannot draw {resamples} resamples of {test} and {fullsup} images; expected at least 1 each")
    return Resampling(
        test=_draw(np.random.default_rng([seed, 0]), test, resamples),
        fullsup=_draw(np.random.default_rng([seed, 1]), fullsup or 0, resamples),
        seed=seed,
    )


def _draw(rng: np.random.Generator, images: int, resamples: int) -> Bytes:
    """Count the images of each resample, uint8 (resamples, images)."""
    counts = np.empty((resamples, images), dtype=np.uint8)
    for first in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - first)
        drawn = rng.integers(0, images, (rows, images), dtype=np.int32) + images * np.arange(rows)[:, None]
        block = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)
        assert block.max(initial=0) <= 255, "a count is Poisson(1): above 255 it never comes"
        counts[first : first + rows] = block
    return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """A metric of one run and on resampled images.

    Attributes:
        value: percent, on the images themselves.
        resampled: float64 (B,), percent.
    """

    value: float
    resampled: Floats

    @property
    def bias(self) -> float:
        """By how much resamples exceed the value on average: a maximum over thresholds rises with noise."""
        return float(self.resampled.mean()) - self.value


def replicate(key: str, test: SplitScores, fullsup: SplitScores | None, resampling: Resampling) -> Replicates:
    """Compute a metric on every resample.

    With a ``_fullsup`` key train-fullsup is resampled too, and each resample of ``test`` is read at the threshold that
    its resample of train-fullsup chooses.

    Args:
        key: one of :data:`RESAMPLED`.
        test: the split to score, N images.
        fullsup: train-fullsup, M images; only ``_fullsup`` keys look at it.
        resampling: of N (and M) images.

    Returns:
        The metric; ``value`` is exactly what :func:`~wsolbench.protocols.metrics.score` gives.

    Raises:
        ValueError: an unknown key, images that the resampling is not for, or scores that lack what the metric needs.
    """
    if key not in RESAMPLED:
        raise ValueError(f"'{key}' cannot be resampled from hits; expected one of {', '.join(RESAMPLED)}")
    metric = RESAMPLED[key]
    counts = [("test", resampling.test, len(test.hits))]
    if metric.rule == "fullsup":
        if fullsup is None:
            raise ValueError(f"'{key}' needs the scores of train-fullsup; they were not given")
        counts.append(("train-fullsup", resampling.fullsup, len(fullsup.hits)))
    for split, drawn, images in counts:
        if drawn.shape[1] != images:
            raise ValueError(f"the resampling is for {drawn.shape[1]} images; {split} has {images}")
    if key == PXAP:
        return _replicate_pixels(test, resampling.test)
    parts = [_part(metric, curve, test, fullsup) for curve in metric.curves]
    everything = [np.ones((1, images), dtype=np.uint8) for *_, images in counts]
    return Replicates(
        value=float(_values(parts, everything)[0]),
        resampled=_values(parts, [drawn for _, drawn, _ in counts]),
    )


def _replicate_pixels(test: SplitScores, drawn: Bytes) -> Replicates:
    """Compute PxAP on every resample; 0 on one that drew no pixel of an object."""
    if not isinstance(test.hits, PixelHits):
        raise ValueError("PxAP is of masks; these scores are of boxes")
    pixels = test.hits.pixels.reshape(len(test.hits), -1).astype(np.float64)
    resampled = np.empty(len(drawn))
    for start in range(0, len(drawn), _BLOCK):
        pools = (drawn[start : start + _BLOCK] @ pixels).reshape(-1, *test.hits.pixels.shape[1:])
        resampled[start : start + _BLOCK] = 100 * average_precisions(pools[:, 1], pools[:, 0])
    return Replicates(value=100 * average_precision(test.hits.counts), resampled=resampled)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Columns:
    """Hits at every threshold that differs: float32 (N, G), and the first threshold of each column, int64 (G,)."""

    hits: Singles
    first: Ints


_Part = tuple[_Columns, _Columns | None]
"""A curve on the split being scored and, where its threshold is frozen, on train-fullsup."""


def _part(metric: Metric, curve: Curve, test: SplitScores, fullsup: SplitScores | None) -> _Part:
    """Return the columns of a curve; the frozen threshold is that of the boxes alone, whatever the class."""
    columns = _columns(test, curve, metric.rule if isinstance(metric.rule, int) else None)
    if metric.rule != "fullsup":
        return columns, None
    assert fullsup is not None
    return columns, _columns(fullsup, Curve(criterion=curve.criterion, largest=curve.largest), None)


def _columns(scores: SplitScores, curve: Curve, chosen: int | None) -> _Columns:
    """Return a curve's hits at the thresholds that differ, or at one threshold only."""
    hits, first = np.ones((len(scores.hits), 1), dtype=np.float32), np.zeros(1, dtype=np.int64)
    if curve.criterion is not None:
        hits, first = _box_columns(scores.boxes, curve.criterion, curve.largest, chosen)
    if curve.top is not None:
        if scores.ranks is None:
            raise ValueError("a metric of classes needs the labels' ranks; these scores have only hits")
        hits = hits * (scores.ranks < curve.top)[:, None]
    return _Columns(hits=hits, first=first)


def _box_columns(hits: BoxHits, criterion: float, largest: bool, chosen: int | None) -> tuple[Singles, Ints]:
    """Unpack the hits of one criterion: float32 (N, G), and the index of each column's first threshold."""
    packed = hits.largest if largest else hits.packed
    if packed is None:
        raise ValueError("these hits lack the largest contour's, which the metric counts; score the maps again")
    if criterion not in hits.criteria:
        raise ValueError(f"these hits are for the IoU criteria {hits.criteria}; the metric needs {criterion}")
    maxima, kind = np.unique(hits.maxima, return_inverse=True)
    level = np.stack([levels(int(maximum)) for maximum in maxima])  # of each threshold, for each kind of map
    new = (level[:, 1:] != level[:, :-1]).any(axis=0)
    first = np.flatnonzero(np.concatenate(([True], new))) if chosen is None else np.array([chosen])
    bits = np.unpackbits(packed[:, hits.criteria.index(criterion)], axis=-1)
    found = np.empty((len(hits), len(first)), dtype=np.float32)
    for index in range(len(maxima)):
        same = kind == index
        found[same] = bits[same][:, level[index, first]]
    return found, first


def _values(parts: list[_Part], counts: list[Bytes]) -> Floats:
    """Return the metric in percent for each row of counts, float64 (B,)."""
    images = counts[0].shape[1]
    assert images < _EXACT
    values = np.zeros(len(counts[0]))
    for start in range(0, len(values), _BLOCK):
        weights, *frozen = (drawn[start : start + _BLOCK].astype(np.float32) for drawn in counts)
        for test, fullsup in parts:
            curve = weights @ test.hits
            if fullsup is None:
                read = curve.max(axis=1)
            else:  # argmax: of equal ones the smallest threshold
                t = fullsup.first[np.argmax(frozen[0] @ fullsup.hits, axis=1)]
                read = curve[np.arange(len(curve)), np.searchsorted(test.first, t, side="right") - 1]
            values[start : start + _BLOCK] += 100 * read.astype(np.float64) / images
    return values / len(parts)
