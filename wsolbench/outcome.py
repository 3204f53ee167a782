"""What a trained network is worth: its maps scored, kept and recorded. Shared by runs and post-hoc extractors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsolbench.data.bank import ImageBank
from wsolbench.data.splits import SPLITS, SplitName
from wsolbench.engine.infer import Inference, Predict, infer
from wsolbench.errors import RunError, UserError
from wsolbench.method import Method
from wsolbench.protocols import SplitScores, label_ranks
from wsolbench.record_schema import Provenance, Record
from wsolbench.records import read_record, write_hits
from wsolbench.scoring import BoxScorer, score_with_slices
from wsolbench.supervision import Division

SCORED: tuple[SplitName, ...] = ("train-fullsup", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredSplit:
    """What scoring one split gives: hits and ranks for the protocol, and the network's outputs."""

    scores: SplitScores
    inference: Inference


Scored = Mapping[SplitName, ScoredSplit]


def score_split(
    method: Method[Any],
    division: Division,
    split: SplitName,
    images: ImageBank,
    *,
    quiet: bool,
    predict: Predict | None = None,
) -> ScoredSplit:
    """Score one split: the network forward, with boxes scored beside it.

    Args:
        method: trained.
        division: which images the split has for this run.
        split: its name.
        images: its pictures at the evaluation size.
        quiet: plain progress lines.
        predict: what makes the maps; None: the method.
    """
    annotations = division.annotations(split)
    assert annotations.ids == division.images(split).ids, "pictures and boxes are in the same order"
    labels = torch.from_numpy(annotations.labels)
    with BoxScorer(annotations, images.side) as scorer:
        inference = infer(
            method, images, labels, scorer.submit, predict=predict, label=f"{method.name}, {split}", quiet=quiet
        )
        hits = scorer.hits()
    if inference.logits is None:
        return ScoredSplit(scores=SplitScores(hits=hits), inference=inference)
    ranks = finite_ranks(inference.logits, annotations.labels, split)
    classes = len(division.dataset.class_names)
    return ScoredSplit(scores=SplitScores(hits=hits, ranks=ranks, num_classes=classes), inference=inference)


def finite_ranks(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], split: SplitName
) -> npt.NDArray[np.int64]:
    """Return the labels' ranks, int64 (N,); an image with NaN among its logits is wrong at every k.

    Raises:
        RunError: no image has finite logits.
    """
    finite = np.asarray(np.isfinite(logits).all(axis=1), dtype=bool)
    if not finite.any():
        raise RunError(
            f"no image of {split} has finite logits: training diverged; lower the learning rate (--set lr=...)"
        )
    ranks = label_ranks(np.where(finite[:, None], logits, 0), labels)
    ranks[~finite] = logits.shape[1]
    return ranks


def make_record(
    identity: Mapping[str, Any],
    division: Division,
    splits: Scored,
    origin: Provenance,
    history: list[dict[str, float]],
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
        provenance=origin,
        history=history,
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


def hit_arrays(splits: Scored) -> dict[str, npt.NDArray[Any]]:
    """Return the hits and label ranks of every scored split as named arrays."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, scored in splits.items():
        arrays |= {f"{split}/{name}": array for name, array in scored.scores.hits.arrays().items()}
        if scored.scores.ranks is not None:
            arrays[f"{split}/ranks"] = scored.scores.ranks
    return arrays


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
