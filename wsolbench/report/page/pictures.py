"""The pictures of the page: which ones, how they are stored, and what each row's score map found on them.

Score maps are stored small, as 8-bit values, and enlarged in the browser by the protocol's bicubic interpolation.
Boxes, IoUs and hits are not: they are the protocol's own, from the map at its evaluation size.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.data.splits import Annotations, ImageSplit
from wsolbench.leaderboard.rows import Row
from wsolbench.null_rows import NULL_ROWS
from wsolbench.protocols import MIN_MAX, Normalization, ScoreMaps, boxes_at, iou, levels, prepare_normalized
from wsolbench.record_schema import Record
from wsolbench.recorded_data import recorded_normalization
from wsolbench.report.page.scores import threshold_index
from wsolbench.scoring import scaled_boxes
from wsolbench.stored_hits import read_outputs

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.floating[Any]]

RULE = (
    "Each class's images are ordered by the SHA-256 of their ids; the page takes the first of every class, then the "
    "second, and so on (of a round that does not fit, those with the smallest hashes). No map, score or box is looked "
    "at, and all rows show the same pictures, each with the maps of its lowest seed whose maps are kept."
)
"""How the pictures are chosen, as the page says it."""

LARGEST_MAP = 32
"""Pixels a side that a stored map has at most."""

SHOWN_BOXES = 12
"""Boxes that are drawn of a map; of more, those with the best IoU."""

PICTURE_BYTES = 2_300_000
"""What all pictures of the page may take; base64 adds a third."""

QUALITIES = (85, 75, 65, 50, 35, 20)
"""Of the JPEGs; the first one with which the pictures fit."""

CRITERION = 0.5
"""IoU from which a box is a hit: that of GT-known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """The pictures of one test set.

    Attributes:
        indices: int64 (n,), places in the split, by rising class.
        images: the split's pictures.
        annotations: the split's boxes or masks.
        side: side of the evaluation size in pixels.
    """

    indices: Ints
    images: ImageSplit
    annotations: Annotations
    side: int

    def truth(self) -> list[Ints]:
        """Return the true boxes of each picture at the evaluation size, int64 (m, 4)."""
        if self.annotations.masks is not None:
            return [np.zeros((0, 4), dtype=np.int64)] * len(self.indices)
        boxes, offsets = scaled_boxes(self.annotations, self.side), self.annotations.offsets
        return [boxes[offsets[index] : offsets[index + 1]] for index in self.indices]


def choose(ids: Sequence[str], labels: Ints, count: int) -> Ints:
    """Choose pictures by :data:`RULE`.

    Args:
        ids: of N images.
        labels: int64 (N,), their classes.
        count: how many; fewer where there are not so many.

    Returns:
        int64 (n,), their places, by rising class and, within a class, rising hash.

    >>> choose(["a", "b", "c", "d", "e"], np.array([0, 0, 0, 1, 1]), 3).tolist()
    [2, 1, 3]
    """
    digests = [hashlib.sha256(each.encode()).hexdigest() for each in ids]
    seen: dict[int, int] = {}
    rounds = {}
    for index in sorted(range(len(ids)), key=digests.__getitem__):
        label = int(labels[index])
        rounds[index] = seen[label] = seen.get(label, -1) + 1
    taken = sorted(rounds, key=lambda index: (rounds[index], digests[index]))[:count]
    return np.array(sorted(taken, key=lambda index: (labels[index], digests[index])), dtype=np.int64)


# --- pictures ---------------------------------------------------------------------------------------------------------


def encode(pictures: Sequence[Image.Image], budget: int) -> list[bytes]:
    """Return pictures as JPEG files, of the best quality with which all of them take no more than ``budget`` bytes.

    Args:
        pictures: of mode RGB.
        budget: bytes; where even the lowest quality takes more, that is what comes back.
    """
    for quality in QUALITIES[:-1]:
        files: list[bytes] = []
        left = budget
        for picture in pictures:
            files.append(_jpeg(picture, quality))
            left -= len(files[-1])
            if left < 0:
                break
        else:
            return files
    return [_jpeg(picture, QUALITIES[-1]) for picture in pictures]


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def pictures(chosen: Chosen, budget: int) -> list[dict[str, Any]]:
    """Return the pictures as JSON values: id, label, true boxes, and the JPEG at the evaluation size.

    Args:
        chosen: which.
        budget: bytes that the JPEGs may take.

    Raises:
        UserError: a picture is missing or damaged.
    """
    square = (chosen.side, chosen.side)
    read = [chosen.images.read(int(index)) for index in chosen.indices]
    files = encode([each.resize(square, Image.Resampling.BILINEAR) for each in read], budget)
    return [
        {
            "id": chosen.images.ids[index],
            "label": int(chosen.images.labels[index]),
            "jpeg": base64.b64encode(file).decode(),
            "truth": boxes.tolist(),
        }
        for index, file, boxes in zip(chosen.indices, files, chosen.truth(), strict=True)
    ]


# --- score maps -------------------------------------------------------------------------------------------------------


def maps_of_row(row: Row, chosen: Chosen, runs: Mapping[str, Path]) -> dict[str, Any] | None:
    """Return what a row's maps found on the chosen pictures, as JSON values; None where no maps are kept.

    Args:
        row: of a table that was scored on these pictures.
        chosen: which pictures.
        runs: run id -> folder of the run's kept maps.
    """
    for record in row.records:
        raw = _raw_maps(record, chosen, runs.get(record.run_id))
        if raw is not None:
            return _found(record, raw, chosen)
    return None


def _raw_maps(record: Record, chosen: Chosen, folder: Path | None) -> Maps | None:
    """Return raw maps of the chosen pictures: those that the run kept, or a null row's, drawn anew."""
    if not record.trainable and record.identity["method"] in NULL_ROWS:
        drawn = NULL_ROWS[record.identity["method"]](
            chosen.annotations.select(chosen.indices), chosen.side, record.map_size
        )
        return np.stack(drawn)
    if folder is None:
        return None
    try:
        kept: Maps = read_outputs(folder / "test.npz", chosen.images.ids, record.map_size)["maps"]
    except ValueError:
        return None
    return kept[chosen.indices]


def _found(record: Record, raw: Maps, chosen: Chosen) -> dict[str, Any]:
    normalization = recorded_normalization(record)
    scored = prepare_normalized(raw, (chosen.side, chosen.side), normalization)
    small, stretched = _small_maps(raw, scored, normalization)
    known = record.thresholds
    t = known.get("gt_known_fullsup", known.get("gt_known"))
    found = [] if t is None else [_boxes(*pair, t) for pair in zip(scored.maps, chosen.truth(), strict=True)]
    return {
        "run": record.run_id,
        "seed": record.identity["recipe"]["seed"],
        "t": t,
        "frozen": "gt_known_fullsup" in known,
        "size": list(small.shape[1:]),
        "stretched": stretched,
        "data": base64.b64encode(small.tobytes()).decode(),
        "boxes": [each["boxes"] for each in found],
        "more": [each["more"] for each in found],
        "iou": [each["iou"] for each in found],
        "hit": [each["hit"] for each in found],
    }


def _small_maps(raw: Maps, scored: ScoreMaps, normalization: Normalization) -> tuple[Bytes, bool]:
    """Return maps to store, uint8 (n, h, w), and whether the browser shall stretch each to 0..255 once it is enlarged.

    Raw maps that are small enough and are scored by min-max are stored as they are: enlarged and stretched they are
    the score map. Of others it is the score map, averaged over blocks.
    """
    blank = scored.constant | scored.invalid
    if normalization == MIN_MAX and max(raw.shape[1:]) <= LARGEST_MAP:
        usable = np.where(blank[:, None, None], 0.0, raw.astype(np.float64))
        low, high = usable.min(axis=(1, 2), keepdims=True), usable.max(axis=(1, 2), keepdims=True)
        return np.round(255 * (usable - low) / np.where(high > low, high - low, 1)).astype(np.uint8), True
    size = min(LARGEST_MAP, scored.maps.shape[1])
    averaged = [Image.fromarray(each).resize((size, size), Image.Resampling.BOX) for each in scored.maps]
    return np.stack([np.asarray(each) for each in averaged]), False


def _boxes(score_map: Bytes, truth: Ints, t: float) -> dict[str, Any]:
    """Return a map's boxes at a threshold, the best first, and the best one's IoU with a true box."""
    level = int(levels(int(score_map.max()))[threshold_index(t)])
    boxes = boxes_at(score_map, level)
    ious = iou(boxes, truth).max(axis=1)
    best_first = np.argsort(-ious, kind="stable")[:SHOWN_BOXES]
    return {
        "boxes": boxes[best_first].tolist(),
        "more": max(len(boxes) - SHOWN_BOXES, 0),
        "iou": round(float(ious.max()), 3),
        "hit": bool(ious.max() >= CRITERION),
    }
