"""What a trained network is worth: its maps scored, kept and recorded. Shared by runs and post-hoc extractors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsolbench.data.bank import ImageBank
from wsolbench.data.splits import SPLITS, SplitName
from wsolbench.engine.infer import Inference, OnMaps, Predict, infer
from wsolbench.errors import RunError, UserError
from wsolbench.method import Method
from wsolbench.protocols import MIN_MAX, Hits, Normalization, SplitScores
from wsolbench.record_schema import Provenance, Record, Tuned
from wsolbench.records import read_record, write_hits
from wsolbench.scoring import (
    BoxScorer,
    choose_normalization,
    in_parts,
    ranks_where_finite,
    score_raw_maps,
    score_with_slices,
    slice_masks,
)
from wsolbench.stored_hits import SCORED as SCORED
from wsolbench.stored_hits import score_arrays
from wsolbench.supervision import Division


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredSplit:
    """What scoring one split gives: hits and ranks for the protocol, and the network's outputs.

    Attributes:
        scores: hits and ranks.
        inference: logits and raw maps, and which score maps were constant or invalid.
        normalization: of the score maps.
    """

    scores: SplitScores
    inference: Inference
    normalization: Normalization = MIN_MAX


Scored = Mapping[SplitName, ScoredSplit]


def score_splits(
    method: Method[Any],
    division: Division,
    banks: Mapping[SplitName, ImageBank],
    normalization: str,
    *,
    quiet: bool,
    predict: Predict | None = None,
) -> Scored:
    """Score the splits of a run: the network forward, and boxes or masks.

    With ``min-max``, the protocol's normalisation, boxes are scored beside the forward. Another one may have to choose
    its percentile first, and masks are scored from the maps before they are 8-bit: there the maps are scored once they
    are all there.

    Args:
        method: trained.
        division: which images each split has for this run.
        banks: the pictures of the splits at the evaluation size; train-fullsup is among them.
        normalization: name of the score maps' normalisation.
        quiet: plain progress lines.
        predict: what makes the maps; None: the method.

    Raises:
        RunError: the network's outputs are not finite.
    """
    ask = partial(_infer, method, division, quiet=quiet, predict=predict)
    masks = any(division.annotations(split).masks is not None for split in banks)
    if masks or normalization != MIN_MAX.name:
        outputs = {split: ask(split, images, _unused) for split, images in banks.items()}
        return score_outputs(outputs, division, banks["train-fullsup"].side, normalization)
    found = {}
    for split, images in banks.items():
        with BoxScorer(division.annotations(split), images.side) as scorer:
            inference = ask(split, images, scorer.submit)
            found[split] = _scored(scorer.hits(), inference, division, split)
    return found


def _infer(
    method: Method[Any],
    division: Division,
    split: SplitName,
    images: ImageBank,
    on_maps: OnMaps,
    *,
    quiet: bool,
    predict: Predict | None,
) -> Inference:
    """Return what the network says about a split."""
    annotations = division.annotations(split)
    assert annotations.ids == division.images(split).ids, "pictures and boxes are in the same order"
    labels, label = torch.from_numpy(annotations.labels), f"{method.name}, {split}"
    return infer(method, images, labels, on_maps, predict=predict, label=label, quiet=quiet)


def _unused(start: int, maps: npt.NDArray[np.uint8]) -> None:
    """Drop min-max score maps where another normalisation is scored."""


def score_outputs(
    outputs: Mapping[SplitName, Inference], division: Division, side: int, normalization: str
) -> dict[SplitName, ScoredSplit]:
    """Score raw maps that are in memory; the normalisation's percentile is chosen on train-fullsup.

    Args:
        outputs: of every split to score; train-fullsup is among them.
        division: which images each split has for this run.
        side: side of the evaluation size in pixels.
        normalization: its name.

    Raises:
        RunError: no image of a split has finite logits.
    """
    fullsup = in_parts(outputs["train-fullsup"].raw_maps)
    chosen = choose_normalization(normalization, fullsup, division.annotations("train-fullsup"), side)
    found = {}
    for split, inference in outputs.items():
        maps = score_raw_maps(inference.raw_maps, division.annotations(split), side, chosen)
        marked = replace(inference, constant=maps.constant, invalid=maps.invalid)
        found[split] = _scored(maps.hits, marked, division, split, chosen)
    return found


def _scored(
    hits: Hits,
    inference: Inference,
    division: Division,
    split: SplitName,
    normalization: Normalization = MIN_MAX,
) -> ScoredSplit:
    """Put hits and label ranks together."""
    if inference.logits is None:
        return ScoredSplit(scores=SplitScores(hits=hits), inference=inference, normalization=normalization)
    ranks = finite_ranks(inference.logits, division.annotations(split).labels, split)
    scores = SplitScores(hits=hits, ranks=ranks, num_classes=len(division.dataset.class_names))
    return ScoredSplit(scores=scores, inference=inference, normalization=normalization)


def finite_ranks(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], split: SplitName
) -> npt.NDArray[np.int64]:
    """Return the labels' ranks, int64 (N,); an image with NaN among its logits is wrong at every k.

    Raises:
        RunError: no image has finite logits.
    """
    ranks, finite = ranks_where_finite(logits, labels)
    if not finite.any():
        raise RunError(
            f"no image of {split} has finite logits: training diverged; lower the learning rate (--set lr=...)"
        )
    return ranks


def make_record(
    identity: Mapping[str, Any],
    division: Division,
    splits: Scored,
    origin: Provenance,
    history: Sequence[Mapping[str, float | None]],
    *,
    tuned: Tuned | None,
    parameters: int | None,
) -> Record:
    """Score the protocol's metrics and put the record together."""
    dataset = division.dataset
    scores, slices = score_with_slices(
        {split: scored.scores for split, scored in splits.items()},
        {split: division.annotations(split) for split in splits},
        identity["recipe"]["image_size"],
    )
    height, width = splits["test"].inference.raw_maps.shape[1:]
    return Record(
        identity=identity,
        trainable=True,
        headline=dataset.headline,
        metrics=scores.metrics,
        thresholds=scores.thresholds,
        absent=scores.absent,
        slices=slices,
        images={split: len(dataset.images(split)) for split in SPLITS},
        counts=_counts(splits),
        map_size=(height, width),
        percentile=splits["test"].normalization.percentile,
        provenance=origin,
        history=history,
        tuned=tuned,
        parameters=parameters,
    )


def _counts(splits: Scored) -> dict[str, int]:
    """Count the maps without information and the images without usable logits."""
    counts = {
        f"{kind}_maps_{split}": int(getattr(scored.inference, kind).sum())
        for split, scored in splits.items()
        for kind in ("constant", "invalid")
    }
    for split, scored in splits.items():
        if scored.inference.logits is not None:
            counts[f"invalid_logits_{split}"] = int((~np.isfinite(scored.inference.logits).all(axis=1)).sum())
    return counts


def keep_outputs(division: Division, splits: Scored, run_dir: Path) -> None:
    """Keep raw maps, and logits where there are any, for a later re-score: ``<split>.npz`` with ids, maps, logits."""
    for split, scored in splits.items():
        arrays = {"ids": np.array(division.annotations(split).ids), "maps": scored.inference.raw_maps}
        if scored.inference.logits is not None:
            arrays["logits"] = scored.inference.logits
        write_hits(run_dir / f"{split}.npz", **arrays)


def hit_arrays(splits: Scored, division: Division, side: int) -> dict[str, npt.NDArray[Any]]:
    """Return the hits, label ranks and slices of every scored split as named arrays."""
    slices = {split: slice_masks(division.annotations(split), side) for split in splits}
    return score_arrays({split: scored.scores for split, scored in splits.items()}, slices)


def refuse_damaged(path: Path, advice: str) -> None:
    """Raise UserError if the record that is already there cannot be used.

    Args:
        path: of the record.
        advice: what to do about it.
    """
    try:
        read_record(path)
    except ValueError as error:
        raise UserError(f"'{path}' is there but unusable: {error}; {advice}") from None
