"""The null rows that every table carries: ``center``, ``full-image``, ``ceiling`` (PROTOCOL: null rows).

They look at no picture and train nothing. Each is a score map that goes through the ordinary scoring, and a record
like any other, for one dataset, evaluation size and map size.
"""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.splits import SPLITS, Annotations, Dataset, SplitName
from wsolbench.protocols import (
    PROTOCOL_VERSION,
    BoxHits,
    SplitScores,
    ceiling_map,
    center_map,
    full_image_map,
    prepare,
)
from wsolbench.provenance import Clock, Code, provenance
from wsolbench.record_schema import REFERENCE_ROW, Record
from wsolbench.records import read_record, record_path, write_record
from wsolbench.scoring import BoxScorer, scaled_boxes, score_with_slices

Floats = npt.NDArray[np.float64]
Maps = Callable[[Annotations, int, tuple[int, int]], list[Floats]]


def _center(annotations: Annotations, side: int, map_size: tuple[int, int]) -> list[Floats]:
    """The same centred Gaussian for every image."""
    return [center_map((side, side))] * len(annotations)


def _full_image(annotations: Annotations, side: int, map_size: tuple[int, int]) -> list[Floats]:
    """The whole image for every image."""
    return [full_image_map((side, side))] * len(annotations)


def _ceiling(annotations: Annotations, side: int, map_size: tuple[int, int]) -> list[Floats]:
    """The ground-truth boxes at the maps' resolution: the best that maps of this size can do."""
    per_image = np.split(scaled_boxes(annotations, side), annotations.offsets[1:-1])
    return [ceiling_map(boxes, (side, side), map_size) for boxes in per_image]


NULL_ROWS: dict[str, Maps] = {REFERENCE_ROW: _center, "full-image": _full_image, "ceiling": _ceiling}
_CHUNK = 256


def write_null_rows(
    dataset: Dataset, side: int, map_size: tuple[int, int], results: Path, command: str, code: Code
) -> list[Path]:
    """Write the records of the null rows that are not there yet.

    Args:
        dataset: the dataset.
        side: side of the evaluation size in pixels.
        map_size: the size (h, w) of the methods' maps.
        results: folder of the records.
        command: the command line that repeats it.
        code: commit and dirtiness that the calling run started with.

    Returns:
        The paths of the three records.
    """
    paths = []
    for name, maps in NULL_ROWS.items():
        identity = {
            "method": name,
            "config": {},
            "backbone": "none",
            "dataset": dataset.name,
            "dataset_options": dict(dataset.options),
            "recipe": {"seed": 0, "image_size": side, "normalization": "min-max"},
            "map_size": list(map_size),
            "fingerprints": {split: dataset.fingerprint(split) for split in SPLITS},
            "protocol": PROTOCOL_VERSION,
        }
        path = record_path(identity, results)
        if not _usable(path):
            write_record(_record(identity, maps, dataset, side, map_size, command, Clock(code=code)), results)
        paths.append(path)
    return paths


def _usable(path: Path) -> bool:
    """Whether a record is there and can be read."""
    try:
        read_record(path)
    except ValueError:
        return False
    return True


def _record(
    identity: Mapping[str, Any],
    maps: Maps,
    dataset: Dataset,
    side: int,
    map_size: tuple[int, int],
    command: str,
    clock: Clock,
) -> Record:
    """Score one null row."""
    scored: tuple[SplitName, ...] = ("train-fullsup", "test")
    boxes = {split: dataset.annotations(split) for split in scored}
    splits = {
        split: SplitScores(hits=_hits(maps(found, side, map_size), found, side)) for split, found in boxes.items()
    }
    scores, slices = score_with_slices(splits, boxes, side)
    device = platform.processor() or platform.machine()
    return Record(
        identity=identity,
        trainable=False,
        headline=dataset.headline,
        metrics=scores.metrics,
        thresholds=scores.thresholds,
        absent=scores.absent,
        slices=slices,
        images={split: len(dataset.images(split)) for split in SPLITS},
        counts={},
        map_size=map_size,
        provenance=provenance(clock, command, device=device, train_images_per_s=None, peak_memory_mb=None),
        history=[],
    )


def _hits(raw: list[Floats], annotations: Annotations, side: int) -> BoxHits:
    """Score a split's raw maps."""
    with BoxScorer(annotations, side) as scorer:
        for start in range(0, len(raw), _CHUNK):
            scorer.submit(start, prepare(np.stack(raw[start : start + _CHUNK]), (side, side)).maps)
        return scorer.hits()
