"""Scoring maps made by anyone: one ``<image id>.npy`` per image, any size, any range. No torch here."""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.splits import Annotations
from wsolbench.errors import UserError
from wsolbench.progress import progress
from wsolbench.protocols import BoxHits, ScoreMaps, Scores, SplitScores, prepare, quantize, score
from wsolbench.protocols.scoremap import LARGEST
from wsolbench.scoring import BoxScorer

NORMALIZATIONS = ("min-max", "none")
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class MapSource:
    """Where maps are and what they are maps of.

    Attributes:
        folder: holds ``<image id>.npy`` for every image of the split.
        annotations: the split's boxes.
        side: side of the evaluation size in pixels.
        normalization: ``min-max``, or ``none`` for maps that are in [0, 1] at the evaluation size already.
        allow_invalid: score a map with NaN or infinity as all zeros instead of refusing it.
    """

    folder: Path
    annotations: Annotations
    side: int
    normalization: str = "min-max"
    allow_invalid: bool = False

    def __post_init__(self) -> None:
        if self.side < 1:
            raise UserError(f"--image-size {self.side} is out of range; expected at least 1")
        if self.normalization not in NORMALIZATIONS:
            choices = ", ".join(NORMALIZATIONS)
            raise UserError(f"--normalization {self.normalization} is not known to evaluate; expected one of {choices}")
        if not self.folder.is_dir():
            raise UserError(f"'{self.folder}' is no folder; expected one with <image id>.npy for every image")
        missing = [image for image in self.annotations.ids if not self.path(image).is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(self.annotations)} maps are missing in '{self.folder}', "
                f"first '{missing[0]}.npy'; expected <image id>.npy for every image of {self.annotations.split}"
            )

    def path(self, image: str) -> Path:
        """Return where an image's map is."""
        return self.folder / f"{image}.npy"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What scoring somebody's maps gives.

    Attributes:
        scores: the metrics.
        counts: constant, invalid and extra maps; those of train-fullsup begin with ``fullsup_``.
    """

    scores: Scores
    counts: dict[str, int]


def evaluate(source: MapSource, fullsup: MapSource | None, quiet: bool = False) -> Evaluation:
    """Score the maps of one split.

    Args:
        source: the split to score.
        fullsup: maps of train-fullsup, for the frozen thresholds; None leaves those keys absent.
        quiet: plain progress lines.

    Raises:
        UserError: a map cannot be read, has a wrong shape, or has NaN or infinity.
    """
    hits, counts = score_folder(source, quiet)
    frozen = None
    if fullsup is not None:
        frozen_hits, frozen_counts = score_folder(fullsup, quiet)
        frozen = SplitScores(hits=frozen_hits)
        counts |= {f"fullsup_{kind}": count for kind, count in frozen_counts.items()}
    return Evaluation(scores=score(SplitScores(hits=hits), frozen), counts=counts)


def score_folder(source: MapSource, quiet: bool = False) -> tuple[BoxHits, dict[str, int]]:
    """Return the hits of a folder of maps, and how many were constant, invalid or of no image of the split."""
    total = len(source.annotations)
    ids = set(source.annotations.ids)
    names = (path.relative_to(source.folder).as_posix() for path in source.folder.rglob("*.npy"))
    counts = {"constant_maps": 0, "invalid_maps": 0, "extra_maps": sum(name[:-4] not in ids for name in names)}
    threads = max(1, (os.cpu_count() or 1) - 1)  # one reads and resizes, the others score
    label = f"evaluate {source.annotations.split}"
    with (
        BoxScorer(source.annotations, source.side, threads) as scorer,
        progress(label, total, unit="maps", quiet=quiet) as bar,
    ):
        for start in range(0, total, _CHUNK):
            images = source.annotations.ids[start : start + _CHUNK]
            for offset, batch in _batches([_read(source, image) for image in images]):
                prepared = _prepare(source, batch)
                counts["constant_maps"] += int(prepared.constant.sum())
                counts["invalid_maps"] += int(prepared.invalid.sum())
                scorer.submit(start + offset, prepared.maps)
            bar.advance(len(images))
        return scorer.hits(), counts


def _read(source: MapSource, image: str) -> npt.NDArray[np.float64]:
    """Read one map; one that is invalid and allowed comes back as NaN."""
    path = source.path(image)
    raw = _load(path)
    wanted = (source.side, source.side)
    if raw.ndim != 2 or raw.size == 0 or raw.dtype.kind not in "fiub":
        raise UserError(f"the map '{path}' holds {raw.dtype} {raw.shape}; expected one array of numbers (h, w)")
    if source.normalization == "none" and raw.shape != wanted:
        raise UserError(f"the map '{path}' is {raw.shape}; --normalization none expects the evaluation size {wanted}")
    with np.errstate(over="ignore", invalid="ignore"):  # an extended float may become infinity, which is refused next
        values = raw.astype(np.float64)
    if not (np.abs(values) <= LARGEST).all():
        if source.allow_invalid:
            return np.full_like(values, np.nan)
        raise UserError(
            f"the map '{path}' contains NaN or infinity; expected finite values "
            "(--allow-invalid scores such a map as all zeros)"
        )
    if source.normalization == "none" and (values.min() < 0 or values.max() > 1):
        span = f"{values.min():g} to {values.max():g}"
        raise UserError(f"the map '{path}' has values from {span}; --normalization none expects them in [0, 1]")
    return values


def _load(path: Path) -> npt.NDArray[Any]:
    """Read a .npy file, whatever array it holds; no more memory is touched than the file has bytes."""
    try:
        # Damage can leave a header that Python parses, but not without remarks of its own.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # the header is a Python literal: damaged, it raises nearly anything, also MemoryError
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise UserError(
            f"the map '{path}' cannot be read as a .npy file ({reason}); expected one written by numpy.save, "
            "so write it again"
        ) from None
    return array


def _batches(maps: Sequence[npt.NDArray[np.float64]]) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Group neighbours of the same shape: (position of the first, (n, h, w))."""
    first = 0
    for position in range(1, len(maps) + 1):
        if position == len(maps) or maps[position].shape != maps[first].shape:
            yield first, np.stack(maps[first:position])
            first = position


def _prepare(source: MapSource, batch: npt.NDArray[np.float64]) -> ScoreMaps:
    """Turn maps into 8-bit score maps."""
    if source.normalization == "min-max":
        return prepare(batch, (source.side, source.side))
    invalid: npt.NDArray[np.bool_] = np.isnan(batch.min(axis=(1, 2)))
    constant: npt.NDArray[np.bool_] = np.equal(batch.min(axis=(1, 2)), batch.max(axis=(1, 2)))  # False for NaN
    maps = quantize(np.where((invalid | constant)[:, None, None], 0.0, batch))
    return ScoreMaps(maps=maps, constant=constant, invalid=invalid)
