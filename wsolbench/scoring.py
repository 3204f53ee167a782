"""Scoring a split: boxes against annotations, beside whatever makes the maps. No torch here."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from wsolbench.data.splits import Annotations, SplitName
from wsolbench.protocols import (
    CRITERIA,
    BoxHits,
    Scores,
    SplitScores,
    between,
    box_cover,
    level_hits_batch,
    scale_boxes,
    score,
)
from wsolbench.record_schema import Slice

SLICES = {"boxes_5_50": (0.05, 0.50)}
"""Parts of a split by the share of the image that the largest box covers (PROTOCOL: null rows)."""


class BoxScorer:
    """Turns score maps into hits on a worker thread, in any order of batches; use as a context manager.

    Args:
        annotations: the split's boxes.
        side: side of the evaluation size in pixels.
        threads: threads of the worker's kernels.
    """

    def __init__(self, annotations: Annotations, side: int, threads: int = 1) -> None:
        self._offsets = annotations.offsets
        self._boxes = scaled_boxes(annotations, side)
        self._threads = threads
        self._levels = np.zeros((len(annotations), len(CRITERIA), 256), dtype=bool)
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
        """Score the maps, uint8 (n, S, S), of images start .. start + n - 1; returns at once."""
        self._pending.append(self._worker.submit(self._score, start, maps))

    def hits(self) -> BoxHits:
        """Wait for the worker and return the hits of the whole split."""
        for future in self._pending:
            future.result()
        assert self._scored.all(), "every image of a split is scored once"
        return BoxHits.from_levels(self._levels, self._maxima, CRITERIA)

    def _score(self, start: int, maps: npt.NDArray[np.uint8]) -> None:
        stop = start + len(maps)
        offsets = self._offsets[start : stop + 1]
        boxes = self._boxes[offsets[0] : offsets[-1]]
        self._levels[start:stop] = level_hits_batch(maps, boxes, offsets - offsets[0], CRITERIA, self._threads)
        self._maxima[start:stop] = maps.max(axis=(1, 2))
        assert not self._scored[start:stop].any(), "every image of a split is scored once"
        self._scored[start:stop] = True


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
        annotations: of the images that were scored; their boxes decide the slices.
        side: side of the evaluation size in pixels.

    Returns:
        The metrics of the whole split, and those of every slice; what a slice without images cannot have is absent,
        with the reason, and so is everything about classes where nothing was classified.
    """
    masks = {split: slice_masks(annotations[split], side) for split in splits}
    whole = score(splits["test"], splits["train-fullsup"])
    slices = {}
    for name in SLICES:
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
    """Return which images belong to each slice of :data:`SLICES`, bool (N,)."""
    cover = box_cover(scaled_boxes(annotations, side), annotations.offsets, (side, side))
    return {name: between(cover, low, high) for name, (low, high) in SLICES.items()}
