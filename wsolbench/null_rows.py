"""The null rows that every table carries: ``center``, ``full-image``, ``ceiling`` (PROTOCOL: null rows).

They look at no picture and train nothing. Each is a score map that goes through the ordinary scoring, and a record
like any other, for one dataset, evaluation size and map size.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.masks import read_masks
from wsolbench.data.splits import SPLITS, Annotations, Dataset, SplitName
from wsolbench.protocols import (
    MIN_MAX,
    PROTOCOL_VERSION,
    Normalization,
    SplitScores,
    ceiling_map,
    center_map,
    full_image_map,
    mask_ceiling_map,
)
from wsolbench.provenance import Clock, Code, provenance
from wsolbench.record_schema import REFERENCE_ROW, Record
from wsolbench.records import read_record, record_path, write_hits, write_record
from wsolbench.scoring import (
    choose_normalization,
    in_parts,
    scaled_boxes,
    score_raw_maps,
    score_with_slices,
    slice_masks,
)
from wsolbench.stored_hits import SCORED, score_arrays

Floats = npt.NDArray[np.float64]
Maps = Callable[[Annotations, int, tuple[int, int]], list[Floats]]


def _center(annotations: Annotations, side: int, map_size: tuple[int, int]) -> list[Floats]:
    """The same centred Gaussian for every image."""
    return [center_map((side, side))] * len(annotations)


def _full_image(annotations: Annotations, side: int, map_size: tuple[int, int]) -> list[Floats]:
    """The whole image for every image."""
    return [full_image_map((side, side))] * len(annotations)


def _ceiling(annotations: Annotations, side: int, map_size: tuple[int, int]) -> list[Floats]:
    """The ground-truth boxes or masks at the maps' resolution: the best that maps of this size can do."""
    if annotations.masks is not None:
        objects = (read_masks(annotations.masks, index, (side, side))[0] for index in range(len(annotations)))
        return [mask_ceiling_map(each, map_size) for each in objects]
    per_image = np.split(scaled_boxes(annotations, side), annotations.offsets[1:-1])
    return [ceiling_map(boxes, (side, side), map_size) for boxes in per_image]


NULL_ROWS: dict[str, Maps] = {REFERENCE_ROW: _center, "full-image": _full_image, "ceiling": _ceiling}


def write_null_rows(
    dataset: Dataset,
    side: int,
    map_size: tuple[int, int],
    results: Path,
    command: str,
    code: Code,
    normalization: str = MIN_MAX.name,
) -> list[Path]:
    """Write the records of the null rows that are not there yet.

    Args:
        dataset: the dataset.
        side: side of the evaluation size in pixels.
        map_size: the size (h, w) of the methods' maps.
        results: folder of the records.
        command: the command line that repeats it.
        code: commit and dirtiness that the calling run started with.
        normalization: of the score maps, as the run's; each row chooses its own percentile, if there is one to choose.

    Returns:
        The paths of the three records; their hits lie beside them.
    """
    paths = []
    for name in NULL_ROWS:
        identity = {
            "method": name,
            "config": {},
            "backbone": "none",
            "dataset": dataset.name,
            "dataset_options": dict(dataset.options),
            "recipe": {"seed": 0, "image_size": side, "normalization": normalization},
            "map_size": list(map_size),
            "fingerprints": {split: dataset.fingerprint(split) for split in SPLITS},
            "protocol": PROTOCOL_VERSION,
        }
        path = record_path(identity, results)
        if not _usable(path):
            clock = Clock(code=code)
            boxes = {split: dataset.annotations(split) for split in SCORED}
            chosen = null_normalization(name, boxes["train-fullsup"], side, map_size, normalization)
            splits = null_scores(name, boxes, side, map_size, chosen)
            slices = {split: slice_masks(boxes[split], side) for split in splits}
            write_hits(path.with_suffix(".npz"), **score_arrays(splits, slices))
            record = _record(identity, splits, boxes, dataset, map_size, command, clock)
            write_record(replace(record, percentile=chosen.percentile), results)
        paths.append(path)
    return paths


def _usable(path: Path) -> bool:
    """Whether a record is there and can be read."""
    try:
        read_record(path)
    except ValueError:
        return False
    return True


def null_normalization(
    name: str, fullsup: Annotations, side: int, map_size: tuple[int, int], normalization: str
) -> Normalization:
    """Return a normalisation, with its percentile chosen for a null row.

    Args:
        name: one of :data:`NULL_ROWS`.
        fullsup: boxes of train-fullsup.
        side: side of the evaluation size in pixels.
        map_size: the size (h, w) of the methods' maps.
        normalization: its name.
    """
    return choose_normalization(normalization, in_parts(NULL_ROWS[name](fullsup, side, map_size)), fullsup, side)


def null_scores(
    name: str,
    boxes: Mapping[SplitName, Annotations],
    side: int,
    map_size: tuple[int, int],
    normalization: Normalization = MIN_MAX,
) -> dict[SplitName, SplitScores]:
    """Score a null row.

    Args:
        name: one of :data:`NULL_ROWS`.
        boxes: of every split to score.
        side: side of the evaluation size in pixels.
        map_size: the size (h, w) of the methods' maps.
        normalization: of the score maps.
    """
    maps = NULL_ROWS[name]
    return {
        split: SplitScores(hits=score_raw_maps(maps(found, side, map_size), found, side, normalization).hits)
        for split, found in boxes.items()
    }


def _record(
    identity: Mapping[str, Any],
    splits: Mapping[SplitName, SplitScores],
    boxes: Mapping[SplitName, Annotations],
    dataset: Dataset,
    map_size: tuple[int, int],
    command: str,
    clock: Clock,
) -> Record:
    """Put the record of a null row together."""
    scores, slices = score_with_slices(splits, boxes, identity["recipe"]["image_size"])
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
