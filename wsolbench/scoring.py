"""Scoring a split: maps against boxes or masks, beside whatever makes the maps. No torch here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from wsolbench.data.masks import read_masks
from wsolbench.data.splits import Annotations, SplitName
from wsolbench.errors import UserError
from wsolbench.protocols import (
    CRITERIA,
    MIN_MAX,
    PERCENTILES,
    BoxAccumulator,
    BoxHits,
    Hits,
    Normalization,
    PixelAccumulator,
    PixelHits,
    Scores,
    SplitScores,
    average_precision,
    best_percentile,
    between,
    box_cover,
    box_hits,
    label_ranks,
    pixel_hits,
    prepare_normalized,
    quantize,
    scale_boxes,
    score,
    score_counts,
    unit_maps,
    unit_maps_by_percentile,
)
from wsolbench.record_schema import Slice

SLICES = {"boxes_5_50": (0.05, 0.50)}
"""Parts of a split by the share of the image that the largest box covers (PROTOCOL: null rows)."""


Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Maps = npt.NDArray[np.floating]
Batches = Iterable[tuple[int, Maps]]
"""Raw maps of a split in parts: (index of the first image, float (n, h, w))."""

_QUEUED = 8  # batches that may wait for the worker: their maps stay in memory
_CHUNK = 64


class BoxScorer:
    """Turns score maps into hits on a worker thread, in any order of batches; use as a context manager.

    Args:
        annotations: the split's boxes.
        side: side of the evaluation size in pixels.
        threads: threads of the worker's kernels.
        criteria: IoU criteria, fractions.
    """

    def __init__(
        self, annotations: Annotations, side: int, threads: int = 1, criteria: Sequence[float] = CRITERIA
    ) -> None:
        self._offsets = annotations.offsets
        self._boxes = scaled_boxes(annotations, side)
        self._threads = threads
        self._criteria = tuple(criteria)
        self._packed = np.zeros((2, len(annotations), len(criteria), 32), dtype=np.uint8)  # all contours, the largest
        self._maxima = np.zeros(len(annotations), dtype=np.uint8)
        self._scored = np.zeros(len(annotations), dtype=bool)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="boxes")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> "BoxScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(cancel_futures=kind is not None)

    def submit(self, start: int, maps: npt.NDArray[np.uint8]) -> None:
        """Score the maps, uint8 (n, S, S), of images start .. start + n - 1; returns at once unless many wait."""
        if len(self._pending) >= _QUEUED:
            self._pending[-_QUEUED].result()
        self._pending.append(self._worker.submit(self._score, start, maps))

    def hits(self) -> BoxHits:
        """Wait for the worker and return the hits of the whole split."""
        for future in self._pending:
            future.result()
        assert self._scored.all(), "every image of a split is scored once"
        packed, largest = self._packed
        return BoxHits(packed=packed, maxima=self._maxima, criteria=self._criteria, largest=largest)

    def _score(self, start: int, maps: npt.NDArray[np.uint8]) -> None:
        images = slice(start, start + len(maps))
        found = box_hits(maps, *_part(self._boxes, self._offsets, images), self._criteria, self._threads)
        assert found.largest is not None
        assert not self._scored[images].any(), "every image of a split is scored once"
        self._packed[:, images] = found.packed, found.largest
        self._maxima[images] = found.maxima
        self._scored[images] = True


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredMaps:
    """What scoring a split's raw maps gives.

    Attributes:
        hits: of N images, of their boxes or their masks' pixels.
        constant: bool (N,), maps without information.
        invalid: bool (N,), maps with NaN.
    """

    hits: Hits
    constant: Bools
    invalid: Bools


def score_raw_maps(
    raw: Maps | Sequence[Maps],
    annotations: Annotations,
    side: int,
    normalization: Normalization = MIN_MAX,
    *,
    threads: int = 1,
    advance: Callable[[int], None] | None = None,
) -> ScoredMaps:
    """Score raw maps that are in memory: their boxes, or their pixels where there are masks.

    Args:
        raw: float (N, h, w), in the order of the split.
        annotations: the split's boxes or masks.
        side: side of the evaluation size in pixels.
        normalization: of the maps, with its percentile.
        threads: threads of the kernels.
        advance: is told the number of images of each part that is done.

    Raises:
        ValueError: a map contains infinity.
        UserError: a mask cannot be read, or no pixel of the split belongs to an object.
    """
    if annotations.masks is not None:
        return _score_pixels(raw, annotations, side, normalization, advance)
    marks = np.zeros((2, len(annotations)), dtype=bool)
    with BoxScorer(annotations, side, threads) as scorer:
        for start, part in in_parts(raw):
            prepared = prepare_normalized(part, (side, side), normalization)
            marks[:, start : start + len(part)] = prepared.constant, prepared.invalid
            scorer.submit(start, prepared.maps)
            if advance is not None:
                advance(len(part))
        return ScoredMaps(hits=scorer.hits(), constant=marks[0], invalid=marks[1])


def _score_pixels(
    raw: Maps | Sequence[Maps],
    annotations: Annotations,
    side: int,
    normalization: Normalization,
    advance: Callable[[int], None] | None,
) -> ScoredMaps:
    """Score the pixels of raw maps, from the float64 maps (PROTOCOL: metrics)."""
    marks = np.zeros((2, len(annotations)), dtype=bool)
    found = []
    for start, part in in_parts(raw):
        unit = unit_maps(part, (side, side), normalization)
        marks[:, start : start + len(part)] = unit.constant, unit.invalid
        found.append(pixel_hits(unit.maps, *read_mask_batch(annotations, start, len(part), side)).pixels)
        if advance is not None:
            advance(len(part))
    hits = PixelHits(pixels=np.concatenate(found))
    if not hits.counts.positive.any():
        raise UserError(
            f"no pixel of {annotations.split} belongs to an object; expected masks where the object is white, or a "
            "grey above half of white, so check --masks-root"
        )
    return ScoredMaps(hits=hits, constant=marks[0], invalid=marks[1])


def in_parts(raw: Maps | Sequence[Maps]) -> Batches:
    """Cut raw maps, (N, h, w), into parts of a size that is worth a call."""
    return ((start, np.asarray(raw[start : start + _CHUNK])) for start in range(0, len(raw), _CHUNK))


def choose_normalization(
    name: str, batches: Batches, annotations: Annotations, side: int, threads: int = 1
) -> Normalization:
    """Return a normalisation, with the percentile that does best on train-fullsup if it has one.

    Best by MaxBoxAccV2, by PxAP where there are masks; of equal ones the smallest.

    Args:
        name: of the normalisation.
        batches: the raw maps of train-fullsup; not looked at for a normalisation without a percentile.
        annotations: of train-fullsup.
        side: side of the evaluation size in pixels.
        threads: threads of the kernels.

    Raises:
        ValueError: a map contains infinity, or no pixel belongs to an object.
    """
    if name not in PERCENTILES:
        return Normalization(name=name)
    assert annotations.split == "train-fullsup", "nothing is chosen on test"
    values = (_box_values if annotations.masks is None else _pixel_values)(name, batches, annotations, side, threads)
    return Normalization(name=name, percentile=best_percentile(values))


def _box_values(name: str, batches: Batches, annotations: Annotations, side: int, threads: int) -> dict[int, float]:
    """Return MaxBoxAccV2 by percentile."""
    boxes = scaled_boxes(annotations, side)
    seen = {percentile: BoxAccumulator(threads=threads) for percentile in PERCENTILES[name]}
    for start, raw in batches:
        own = _part(boxes, annotations.offsets, slice(start, start + len(raw)))
        for percentile, unit in unit_maps_by_percentile(raw, (side, side), name):
            seen[percentile].update(quantize(unit.maps), *own)
    return {percentile: score_counts(each.counts, None).metrics["max_box_acc_v2"] for percentile, each in seen.items()}


def _pixel_values(name: str, batches: Batches, annotations: Annotations, side: int, threads: int) -> dict[int, float]:
    """Return PxAP by percentile."""
    seen = {percentile: PixelAccumulator() for percentile in PERCENTILES[name]}
    for start, raw in batches:
        masks = read_mask_batch(annotations, start, len(raw), side)
        for percentile, unit in unit_maps_by_percentile(raw, (side, side), name):
            seen[percentile].update(unit.maps, *masks)
    return {percentile: average_precision(each.counts) for percentile, each in seen.items()}


def read_mask_batch(annotations: Annotations, start: int, count: int, side: int) -> tuple[Bools, Bools]:
    """Return the object and ignore masks of some images at the evaluation size, bool (count, side, side) each.

    Raises:
        UserError: a file cannot be read.
    """
    assert annotations.masks is not None
    pairs = [read_masks(annotations.masks, index, (side, side)) for index in range(start, start + count)]
    objects, ignored = (np.stack(each) for each in zip(*pairs, strict=True))
    return objects, ignored


def _part(boxes: Ints, offsets: Ints, images: slice) -> tuple[Ints, Ints]:
    """Return the boxes of some images, and where each image's start among them."""
    own = offsets[images.start : images.stop + 1]
    return boxes[own[0] : own[-1]], own - own[0]


def ranks_where_finite(logits: npt.NDArray[np.floating], labels: Ints) -> tuple[Ints, Bools]:
    """Return the labels' ranks; an image whose logits are not all finite is wrong at every k.

    Args:
        logits: float (N, K).
        labels: int64 (N,), 0 to K - 1.

    Returns:
        int64 (N,), K for such an image; bool (N,), which images have finite logits.

    Raises:
        ValueError: the shapes do not fit, or a label is out of range.
    """
    finite = np.asarray(np.isfinite(logits).all(axis=1), dtype=np.bool_)
    ranks = label_ranks(np.where(finite[:, None], logits, 0), labels)
    return np.where(finite, ranks, logits.shape[1]), finite


def scaled_boxes(annotations: Annotations, side: int) -> npt.NDArray[np.int64]:
    """Return a split's boxes on the evaluation size, int64 (M, 4)."""
    per_box = np.repeat(annotations.sizes, np.diff(annotations.offsets), axis=0)
    return scale_boxes(annotations.boxes, per_box, (side, side))


def score_with_slices(
    splits: Mapping[SplitName, SplitScores], annotations: Mapping[SplitName, Annotations], side: int
) -> tuple[Scores, dict[str, Slice]]:
    """Compute the metrics of ``test`` and of each slice of it.

    A slice's frozen thresholds come from the same slice of train-fullsup: it is scored as a smaller dataset.

    Args:
        splits: ``test`` and ``train-fullsup``, scored by the same run.
        annotations: of the images that were scored; their boxes decide the slices, of which masks have none.
        side: side of the evaluation size in pixels.

    Returns:
        The metrics of the whole split, and those of every slice; what a slice without images cannot have is absent,
        with the reason, and so is everything about classes where nothing was classified.
    """
    masks = {split: slice_masks(annotations[split], side) for split in splits}
    whole = score(splits["test"], splits["train-fullsup"])
    slices = {}
    for name in masks["test"]:
        parts = {split: _select(splits[split], masks[split][name]) for split in splits}
        slices[name] = _score_slice(parts["test"], parts["train-fullsup"], (*whole.metrics, *whole.absent))
    if splits["test"].ranks is None:
        whole = replace(whole, absent=_unclassified(whole.absent))
        slices = {name: replace(part, absent=_unclassified(part.absent)) for name, part in slices.items()}
    return whole, slices


def _unclassified(absent: Mapping[str, str]) -> dict[str, str]:
    """Say of the classification keys that nothing was classified; keep the other reasons."""
    return {key: "it does not classify" if key.startswith("top") else reason for key, reason in absent.items()}


def _select(scores: SplitScores, mask: npt.NDArray[np.bool_]) -> SplitScores | None:
    return scores.select(mask) if mask.any() else None


def _score_slice(test: SplitScores | None, fullsup: SplitScores | None, keys: Iterable[str]) -> Slice:
    """Score a slice of ``test``, None where it has no image; ``keys`` are those of the whole split."""
    if test is None:
        return Slice(images=0, metrics={}, thresholds={}, absent=dict.fromkeys(keys, "no test image is in this slice"))
    part = score(test, fullsup)
    absent = dict(part.absent)
    if fullsup is None:
        frozen = [key for key in absent if key.removesuffix("_fullsup") in part.metrics]
        absent |= dict.fromkeys(frozen, "no train-fullsup image is in this slice")
    return Slice(images=part.images, metrics=part.metrics, thresholds=part.thresholds, absent=absent)


def slice_masks(annotations: Annotations, side: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which images belong to each slice of :data:`SLICES`, bool (N,); none where there are masks."""
    if annotations.masks is not None:
        return {}
    cover = box_cover(scaled_boxes(annotations, side), annotations.offsets, (side, side))
    return {name: between(cover, low, high) for name, (low, high) in SLICES.items()}
