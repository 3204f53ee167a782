"""What the page draws from the hits beside the records: curves over the threshold, and numbers by class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.leaderboard.model import V2, Table
from wsolbench.leaderboard.rows import Row
from wsolbench.protocols import (
    CRITERIA,
    THRESHOLDS,
    BoxHits,
    PixelHits,
    SplitScores,
    average_precision,
    box_accuracy_counts,
    levels,
)
from wsolbench.record_schema import Record
from wsolbench.stored_hits import read_scores

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BY_CLASS = ("GT-known", "V2", "Top-1 Cls")
"""What is told of each class of a split with boxes; of masks it is PxAP and Top-1 Cls."""

_STORED = 100  # percent is written as whole hundredths: five characters a point instead of eighteen


def read_test(hits: Path, record: Record) -> SplitScores | None:
    """Return what a run's maps found on ``test``; None where the file is not there or not the record's.

    Args:
        hits: the file beside the record.
        record: of the run.
    """
    try:
        scores = read_scores(hits)["test"]
    except ValueError:
        return None
    return scores if len(scores.hits) == record.images.get("test") else None


# --- curves -----------------------------------------------------------------------------------------------------------


def curves(table: Table, scores: Mapping[str, SplitScores]) -> dict[str, Any] | None:
    """Return BoxAcc(t, d) of every row of a table, as JSON values; None where no row has hits of boxes.

    A row's curve is the mean over its seeds. Curves are steps: only the thresholds at which some curve of the table
    changes are kept, so nothing is lost.

    Args:
        table: of the leaderboard.
        scores: run id -> what its maps found on ``test``.
    """
    rows = (*table.rows, *table.nulls)
    found = {place: curve for place, row in enumerate(rows) if (curve := _mean_curve(row, scores)) is not None}
    if not found:
        return None
    stacked = np.round(np.stack(list(found.values())) * _STORED).astype(np.int64)
    changed = (np.diff(stacked, axis=-1) != 0).any(axis=(0, 1))
    steps = np.concatenate(([0], np.flatnonzero(changed) + 1))
    return {
        "criteria": list(CRITERIA),
        "steps": steps.tolist(),
        "rows": {place: curve[:, steps].tolist() for place, curve in zip(found, stacked, strict=True)},
        "chosen": {place: [_chosen(rows[place], d) for d in CRITERIA] for place in found},
    }


def _mean_curve(row: Row, scores: Mapping[str, SplitScores]) -> Floats | None:
    """Return BoxAcc in percent, float64 (3, 1000), as the mean over the seeds whose hits are there."""
    seeds = []
    for record in row.records:
        hits = scores[record.run_id].hits if record.run_id in scores else None
        if isinstance(hits, BoxHits) and hits.criteria == CRITERIA:
            seeds.append(100 * box_accuracy_counts(hits) / len(hits))
    if not seeds:
        return None
    mean: Floats = np.mean(seeds, axis=0)
    return mean


def _chosen(row: Row, criterion: float) -> dict[str, list[list[float]]]:
    """Return (t, percent) of each seed, for the oracle's thresholds and for the frozen ones."""
    key = f"{V2}_iou{round(100 * criterion)}"
    return {
        name: [
            [record.thresholds[key + suffix], round(record.metrics[key + suffix], 2)]
            for record in row.records
            if key + suffix in record.thresholds and key + suffix in record.metrics
        ]
        for name, suffix in (("oracle", ""), ("frozen", "_fullsup"))
    }


# --- classes ----------------------------------------------------------------------------------------------------------


def by_class(table: Table, scores: Mapping[str, SplitScores], labels: Ints, classes: int) -> dict[str, Any] | None:
    """Return every row's numbers by class, the mean over its seeds, as JSON values; None where no row has any.

    Thresholds are those of the whole dataset, frozen on train-fullsup where there are such: a class has no threshold
    of its own, so the classes' numbers, weighted by their images, give the table's.

    Args:
        table: of the leaderboard.
        scores: run id -> what its maps found on ``test``.
        labels: int64 (N,), of the test images.
        classes: K.

    Returns:
        ``images`` has the number of test images of each class, ``rows`` for each row the metrics, and of each metric
        hundredths of a percent by class, None where the class has no test image.
    """
    counts = np.bincount(labels, minlength=classes)
    rows = {}
    for place, row in enumerate((*table.rows, *table.nulls)):
        seeds = [
            metrics_by_class(scores[record.run_id], record, labels, counts)
            for record in row.records
            if record.run_id in scores
        ]
        names = [name for name in (*BY_CLASS, "PxAP") if seeds and all(name in seed for seed in seeds)]
        if names:
            rows[place] = {name: _stored(np.mean([seed[name] for seed in seeds], axis=0)) for name in names}
    return {"images": counts.tolist(), "rows": rows} if rows else None


def metrics_by_class(scores: SplitScores, record: Record, labels: Ints, counts: Ints) -> dict[str, Floats]:
    """Return a run's metrics by class in percent, float64 (K,) each, NaN where a class has no image.

    Args:
        scores: what the run's maps found on ``test``.
        record: of the run; its thresholds are used.
        labels: int64 (N,).
        counts: int64 (K,), the images of each class.
    """
    found = {}
    if isinstance(scores.hits, PixelHits):
        found["PxAP"] = np.array([_class_pxap(scores.hits, labels == label) for label in range(len(counts))])
    else:
        keys = [f"{V2}_iou{round(100 * d)}" for d in CRITERIA]
        for name, wanted in (("GT-known", ["gt_known"]), ("V2", keys)):
            decided = (decisions(scores.hits, record, key) for key in wanted)
            hit = [each for each in decided if each is not None]
            if len(hit) == len(wanted):
                found[name] = _share(np.mean(hit, axis=0), labels, counts)
    if scores.ranks is not None:
        found["Top-1 Cls"] = _share(scores.ranks < 1, labels, counts)
    return found


def decisions(hits: BoxHits, record: Record, key: str) -> Bools | None:
    """Say which images are hits of a metric, at its frozen threshold if the record has one, else at the oracle's.

    Args:
        hits: of N images.
        record: of the run.
        key: ``gt_known`` or ``max_box_acc_v2_iouNN``.

    Returns:
        bool (N,); None where the record has no threshold, or the hits no such criterion.
    """
    t = record.thresholds.get(f"{key}_fullsup", record.thresholds.get(key))
    criterion = int(key.partition("_iou")[2] or 50) / 100
    if t is None or criterion not in hits.criteria:
        return None
    packed = hits.packed[:, hits.criteria.index(criterion)]
    place = threshold_index(t)
    level = np.array([levels(maximum)[place] for maximum in range(256)])[hits.maxima]
    byte = packed[np.arange(len(hits)), level >> 3]
    found: Bools = (byte >> (7 - (level & 7))) & 1 == 1
    return found


def threshold_index(t: float) -> int:
    """Return the place of a recorded threshold among the protocol's thousand.

    >>> threshold_index(0.35000000000000003)
    350
    """
    return int(np.abs(THRESHOLDS - t).argmin())


def _share(values: npt.NDArray[Any], labels: Ints, counts: Ints) -> Floats:
    sums = np.bincount(labels, weights=values, minlength=len(counts))
    shares: Floats = np.divide(100 * sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return shares


def _class_pxap(hits: PixelHits, mask: Bools) -> float:
    counts = hits.select(mask).counts
    return 100 * average_precision(counts) if counts.positive.any() else np.nan


def _stored(values: Floats | Sequence[float]) -> list[int | None]:
    return [None if np.isnan(each) else round(each * _STORED) for each in np.asarray(values)]
