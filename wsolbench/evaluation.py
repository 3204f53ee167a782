"""Scoring maps made by anyone: any size, any range, in files of any of three forms. No torch here."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.splits import Annotations
from wsolbench.errors import UserError, unknown_name
from wsolbench.map_files import MapFiles, open_maps, read_predictions
from wsolbench.progress import progress
from wsolbench.protocols import (
    AS_GIVEN,
    CRITERIA,
    MIN_MAX,
    NORMALIZATIONS,
    PERCENTILES,
    TOP,
    BoxHits,
    Normalization,
    PixelAccumulator,
    PixelCounts,
    ScoreMaps,
    Scores,
    SplitScores,
    UnitMaps,
    listed_ranks,
    prepare_normalized,
    score,
    score_pixels,
    unit_maps,
)
from wsolbench.protocols.scoremap import LARGEST
from wsolbench.scoring import BoxScorer, choose_normalization, ranks_where_finite, read_mask_batch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CHUNK = 256  # maps at once: the kernels' memory is new for each call
_NAMED = 10  # ids of each kind that a result keeps


@dataclass(frozen=True, kw_only=True)
class MapSource:
    """Where maps are and what they are maps of.

    Attributes:
        maps: a folder, a ``.npz`` or a ``.npy``, as :func:`~wsolbench.map_files.open_maps` takes them.
        annotations: the split's boxes or masks.
        side: side of the evaluation size in pixels.
        ids: the ids of a ``.npy``'s maps, one a line.
        normalization: one of the protocol's names, or ``none`` for maps that are in [0, 1] at the evaluation size.
        allow_invalid: score a map with NaN or infinity as all zeros, and an image with such logits as wrong, instead of
            refusing them.
        predictions: a file of predicted labels; it goes before logits that the maps' file may have.
        criteria: IoU criteria.
    """

    maps: Path
    annotations: Annotations
    side: int
    ids: Path | None = None
    normalization: str = MIN_MAX.name
    allow_invalid: bool = False
    predictions: Path | None = None
    criteria: tuple[float, ...] = CRITERIA

    def __post_init__(self) -> None:
        if self.side < 1:
            raise UserError(f"--image-size {self.side} is out of range; expected at least 1")
        if self.normalization not in (*NORMALIZATIONS, AS_GIVEN):
            raise unknown_name("--normalization", self.normalization, (*NORMALIZATIONS, AS_GIVEN))

    @property
    def size(self) -> tuple[int, int]:
        """The evaluation size (H, W)."""
        return self.side, self.side


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What scoring somebody's maps gives.

    Attributes:
        scores: the metrics.
        counts: how many maps were constant or invalid, images had invalid logits, and maps and predictions were of no
            image of the split; those of train-fullsup begin with ``fullsup_``.
        named: of each kind that occurs, the first ids.
        normalization: of the maps, with its percentile.
        hits: what the metrics of boxes were read off; None for masks.
    """

    scores: Scores
    counts: dict[str, int]
    named: dict[str, list[str]]
    normalization: Normalization
    hits: BoxHits | None


@dataclass
class _Tally:
    """Ids of the maps that are worth a remark, by kind, in the order they were met."""

    found: dict[str, list[str]] = field(
        default_factory=lambda: {f"{kind}_maps": [] for kind in ("constant", "invalid", "extra")}
    )

    def add(self, kind: str, ids: Sequence[str]) -> None:
        self.found.setdefault(kind, []).extend(ids)

    def mark(self, images: Sequence[str], maps: ScoreMaps | UnitMaps) -> None:
        """Note the constant and invalid ones of a batch."""
        for kind, marks in (("constant_maps", maps.constant), ("invalid_maps", maps.invalid)):
            self.add(kind, [images[position] for position in np.flatnonzero(marks).tolist()])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """A source with its files found, every image's map among them."""

    source: MapSource
    files: MapFiles
    tally: _Tally


def evaluate(source: MapSource, fullsup: MapSource | None, quiet: bool = False) -> Evaluation:
    """Score the maps of one split.

    Args:
        source: the split to score.
        fullsup: maps of train-fullsup, for the frozen thresholds and for the percentile of ``pas`` and ``ivr``; None
            leaves the frozen keys absent.
        quiet: plain progress lines.

    Raises:
        UserError: a map is missing, cannot be read, has a wrong shape, or has NaN or infinity; or the normalisation's
            percentile cannot be chosen.
    """
    if source.annotations.masks is not None and fullsup is not None and source.normalization not in PERCENTILES:
        raise UserError(
            "PxAP has no threshold to freeze, so maps of train-fullsup say nothing; leave out --fullsup-maps"
        )
    opened = _open(source)
    frozen = None if fullsup is None else _open(fullsup)
    ranks, classes, top = _ranks(opened)
    chooser = frozen or (opened if source.annotations.split == "train-fullsup" else None)
    normalization = _normalization(source.normalization, chooser, quiet)
    hits = None
    if source.annotations.masks is None:
        hits = _hits(opened, normalization, quiet)
        chosen = None if frozen is None else SplitScores(hits=_hits(frozen, normalization, quiet))
        scores = score(SplitScores(hits=hits, ranks=ranks, num_classes=classes), chosen)
    else:
        scores = _score_pixels(_pixels(opened, normalization, quiet), source, ranks, classes)
    if source.annotations.split == "train-fullsup":
        scores = _nothing_to_freeze(scores)
    found = dict(opened.tally.found)
    if frozen is not None and hits is not None:
        found |= {f"fullsup_{kind}": ids for kind, ids in frozen.tally.found.items()}
    return Evaluation(
        scores=_without(scores, top),
        counts={kind: len(ids) for kind, ids in found.items()},
        named={kind: ids[:_NAMED] for kind, ids in found.items() if ids},
        normalization=normalization,
        hits=hits,
    )


# --- what there is ----------------------------------------------------------------------------------------------------


def _open(source: MapSource) -> _Opened:
    """Find the files and compare them with the split."""
    files, ids, tally = open_maps(source.maps, source.ids), set(source.annotations.ids), _Tally()
    there = set(files.ids)
    missing = [image for image in source.annotations.ids if image not in there]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(source.annotations):,} maps are missing in '{source.maps}': "
            f"{_first(missing)}; expected one for every image of {source.annotations.split}"
        )
    tally.add("extra_maps", [image for image in files.ids if image not in ids])
    return _Opened(source=source, files=files, tally=tally)


def _ranks(opened: _Opened) -> tuple[Ints | None, int | None, int]:
    """Return the labels' ranks, the number of classes, and the largest k for which they decide Top-k."""
    source, files = opened.source, opened.files
    labels = source.annotations.labels
    if source.predictions is not None:
        index = {image: position for position, image in enumerate(source.annotations.ids)}
        listed, extra = read_predictions(source.predictions, index)
        opened.tally.add("extra_predictions", extra)
        classes = 1 + max(int(labels.max()), max(max(names) for names in listed))
        return listed_ranks(listed, labels), classes, min(map(len, listed))
    if files.logits is None:
        return None, None, max(TOP)
    rows = {image: row for row, image in enumerate(files.ids)}
    logits = files.logits[[rows[image] for image in source.annotations.ids]].astype(np.float64)
    try:
        ranks, finite = ranks_where_finite(logits, labels)
    except ValueError as error:
        raise UserError(f"the logits of '{source.maps}' do not fit the split: {error}") from None
    wrong = [source.annotations.ids[position] for position in np.flatnonzero(~finite)]
    if wrong and not source.allow_invalid:
        raise UserError(
            f"the logits of {len(wrong):,} images in '{source.maps}' contain NaN or infinity: {_first(wrong)}; "
            "expected finite values (--allow-invalid counts such an image as wrong)"
        )
    opened.tally.add("invalid_logits", wrong)
    return ranks, logits.shape[1], max(TOP)


def _without(scores: Scores, top: int) -> Scores:
    """Take out the Top-k metrics that predictions of ``top`` labels an image cannot decide."""
    reason = f"the predictions name only {top} label{'s' if top > 1 else ''} for some image"
    keys = [key for key in scores.metrics for k in TOP if k > top and key.startswith(f"top{k}_")]
    return replace(
        scores,
        metrics={key: value for key, value in scores.metrics.items() if key not in keys},
        thresholds={key: value for key, value in scores.thresholds.items() if key not in keys},
        absent={**scores.absent, **dict.fromkeys(keys, reason)},
    )


def _nothing_to_freeze(scores: Scores) -> Scores:
    """Say of train-fullsup itself why it has no frozen thresholds."""
    reason = "these are the images that thresholds are chosen on: the best one is the oracle's"
    keys = [key for key in scores.absent if key.removesuffix("_fullsup") in scores.metrics]
    return replace(scores, absent={**scores.absent, **dict.fromkeys(keys, reason)})


def _normalization(name: str, chooser: _Opened | None, quiet: bool) -> Normalization:
    """Return the normalisation; its percentile is chosen on train-fullsup, never on test."""
    if name not in PERCENTILES:
        return Normalization(name=name)
    if chooser is None:
        raise UserError(
            f"--normalization {name} chooses its percentile on train-fullsup, never on test; "
            "give the maps of train-fullsup with --fullsup-maps"
        )
    source = chooser.source
    batches = ((start, batch) for start, batch in _batches(chooser, f"choose {name}", quiet))
    try:
        return choose_normalization(name, batches, source.annotations, source.side, _threads())
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"the percentile of {name} cannot be chosen on train-fullsup: {error}") from None


# --- scoring ----------------------------------------------------------------------------------------------------------


def _hits(opened: _Opened, normalization: Normalization, quiet: bool) -> BoxHits:
    """Score a split's boxes, on threads beside the reading."""
    source = opened.source
    with BoxScorer(source.annotations, source.side, _threads(), source.criteria) as scorer:
        for start, batch in _batches(opened, f"evaluate {source.annotations.split}", quiet):
            prepared = prepare_normalized(batch, source.size, normalization)
            opened.tally.mark(source.annotations.ids[start : start + len(batch)], prepared)
            scorer.submit(start, prepared.maps)
        return scorer.hits()


def _pixels(opened: _Opened, normalization: Normalization, quiet: bool) -> PixelCounts:
    """Score a split's pixels."""
    source, seen = opened.source, PixelAccumulator()
    for start, batch in _batches(opened, f"evaluate {source.annotations.split}", quiet):
        unit = unit_maps(batch, source.size, normalization)
        opened.tally.mark(source.annotations.ids[start : start + len(batch)], unit)
        seen.update(unit.maps, *read_mask_batch(source.annotations, start, len(batch), source.side))
    return seen.counts


def _score_pixels(counts: PixelCounts, source: MapSource, ranks: Ints | None, classes: int | None) -> Scores:
    try:
        return score_pixels(counts, len(source.annotations), ranks, classes)
    except ValueError as error:
        raise UserError(f"{error}: in a mask the object is white, or a grey above half of white") from None


def _threads() -> int:
    return os.cpu_count() or 1  # reading and resizing take a fifth of what scoring takes


def _batches(opened: _Opened, label: str, quiet: bool) -> Iterator[tuple[int, Floats]]:
    """Read a split's maps: (position of the first, float64 (n, h, w)).

    After a map that cannot be scored the others are read all the same, and the error counts and names them all.
    """
    ids = opened.source.annotations.ids
    refused: dict[str, UserError] = {}
    with progress(label, len(ids), unit="maps", quiet=quiet) as bar:
        for start in range(0, len(ids), _CHUNK):
            images = ids[start : start + _CHUNK]
            maps = []
            for image in images:
                try:
                    maps.append(_read(opened, image))
                except UserError as error:
                    refused[image] = error
            if not refused:
                yield from ((start + offset, batch) for offset, batch in _alike(maps))
            bar.advance(len(images))
    if refused:
        first = next(iter(refused.values()))
        if len(refused) == 1:
            raise first
        raise UserError(f"{first} ({len(refused):,} of {len(ids):,} maps cannot be scored: {_first([*refused])})")


def _read(opened: _Opened, image: str) -> Floats:
    """Read one map; one that is invalid and allowed comes back as NaN."""
    source, raw = opened.source, opened.files.read(image)
    name = f"the map {opened.files.name(image)}"
    if raw.ndim != 2 or raw.size == 0 or raw.dtype.kind not in "fiub":
        raise UserError(f"{name} holds {raw.dtype} {raw.shape}; expected one array of numbers (h, w)")
    given = source.normalization == AS_GIVEN
    if given and raw.shape != source.size:
        raise UserError(f"{name} is {raw.shape}; --normalization none expects the evaluation size {source.size}")
    with np.errstate(over="ignore", invalid="ignore"):  # an extended float may become infinity, which is refused next
        values: Floats = raw.astype(np.float64)
    if not (np.abs(values) <= LARGEST).all():
        if source.allow_invalid:
            return np.full_like(values, np.nan)
        raise UserError(
            f"{name} contains NaN or infinity; expected finite values (--allow-invalid scores such a map as all zeros)"
        )
    if given and (values.min() < 0 or values.max() > 1):
        span = f"{values.min():g} to {values.max():g}"
        raise UserError(f"{name} has values from {span}; --normalization none expects them in [0, 1]")
    return values


def _alike(maps: Sequence[Floats]) -> Iterator[tuple[int, Floats]]:
    """Group neighbours of the same shape: (position of the first, (n, h, w))."""
    first = 0
    for position in range(1, len(maps) + 1):
        if position == len(maps) or maps[position].shape != maps[first].shape:
            yield first, np.stack(maps[first:position])
            first = position


def _first(ids: Sequence[Any], count: int = 3) -> str:
    """Return the first few ids as text."""
    more = ", ..." if len(ids) > count else ""
    return ", ".join(f"'{image}'" for image in ids[:count]) + more
