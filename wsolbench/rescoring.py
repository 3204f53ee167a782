"""Scoring a finished run again from its kept raw maps: hits, metrics and slices under the present protocol.

The maps are the truth. Nothing is trained and no picture is read, so the numbers come out the same to the last bit
wherever the protocol has not changed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wsolbench import __version__
from wsolbench.data.places import Places
from wsolbench.data.splits import SplitName
from wsolbench.engine.infer import Inference
from wsolbench.errors import UserError
from wsolbench.null_rows import NULL_ROWS, null_normalization, null_scores
from wsolbench.outcome import keep_outputs, make_record, score_outputs
from wsolbench.protocols import MIN_MAX, PROTOCOL_VERSION, SplitScores
from wsolbench.provenance import Clock
from wsolbench.record_schema import Provenance, Record
from wsolbench.recorded_data import recorded_division
from wsolbench.records import find_record, record_path, write_hits, write_record
from wsolbench.scoring import score_with_slices, slice_masks
from wsolbench.stored_hits import SCORED, read_outputs, score_arrays
from wsolbench.supervision import Division
from wsolbench.trained import recorded_parameters


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """A run before and after.

    Attributes:
        before: its record as it was.
        after: its record now.
        path: where that lies.
    """

    before: Record
    after: Record
    path: Path


def rescore(run: str, results: Path, places: Places) -> Rescored:
    """Recompute hits, metrics and slices of a run and write its record anew.

    Identity, history, command and cost stay; the protocol's version in the identity becomes the present one, and the
    provenance names the code that scored again. A null row is drawn again, since it keeps no maps.

    Args:
        run: the first characters of a run id, or a record's path.
        results: folder of all datasets' records and of the runs.
        places: where the dataset's files are, for one that reads its boxes from there.

    Raises:
        UserError: no such run, its maps are not there or damaged, or the data are not those of the run.
    """
    clock = Clock()
    before = find_record(results, run)
    if not record_path(before.identity, results).is_file():
        raise UserError(
            f"the record of run {before.run_id} is not '{record_path(before.identity, results)}'; give the folder that "
            "holds DATASET/records and runs as --results"
        )
    if before.identity["method"] not in NULL_ROWS:
        _refuse_missing(before, results)
    division, side = recorded_division(before, places), before.identity["recipe"]["image_size"]
    normalization = before.identity["recipe"].get("normalization", MIN_MAX.name)
    identity = {**before.identity, "protocol": PROTOCOL_VERSION}
    origin = _noted(before.provenance, clock)
    if before.identity["method"] in NULL_ROWS:
        after, scores = _redrawn(before, division, side, normalization)
        after = replace(after, identity=identity, provenance=origin)
    else:
        outputs = {split: _kept_outputs(before, division, split, results) for split in SCORED}
        splits = score_outputs(outputs, division, side, normalization)
        after = make_record(
            identity,
            division,
            splits,
            origin,
            before.history,
            tuned=before.tuned,
            parameters=before.parameters or recorded_parameters(before, len(division.dataset.class_names)),
        )
        scores = {split: scored.scores for split, scored in splits.items()}
        if after.run_id != before.run_id:  # under another version of the protocol it is another run
            keep_outputs(division, splits, results / "runs" / after.run_id)
    slices = {split: slice_masks(division.annotations(split), side) for split in scores}
    path = record_path(identity, results)
    write_hits(path.with_suffix(".npz"), **score_arrays(scores, slices))
    write_record(after, results)
    return Rescored(before=before, after=after, path=path)


def changes(rescored: Rescored) -> list[str]:
    """Say what is different now, on all images and on the slices.

    Returns:
        A line for each number that changed, one for all that are new, one for all that are gone, one for the others.
    """
    before, after = _numbers(rescored.before), _numbers(rescored.after)
    both = sorted(before.keys() & after.keys())
    changed = [f"{name}: {before[name]:.6g} -> {after[name]:.6g}" for name in both if before[name] != after[name]]
    new = [f"{name} {after[name]:.2f}" for name in sorted(after.keys() - before.keys())]
    gone = sorted(before.keys() - after.keys())
    lists = [f"{title}: {', '.join(names)}" for title, names in (("new", new), ("gone", gone)) if names]
    return [*changed, *lists, f"{len(both) - len(changed)} of {len(before)} numbers are the same to the last bit"]


def _numbers(record: Record) -> dict[str, float]:
    """Return every metric, those of slices as ``key on slice``."""
    numbers = dict(record.metrics)
    for name, part in record.slices.items():
        numbers |= {f"{key} on {name}": value for key, value in part.metrics.items()}
    return numbers


def _noted(origin: Provenance, clock: Clock) -> Provenance:
    """Add the code that scores again to what took part."""
    commit, dirty = clock.code
    note = f"{__version__}, commit {commit or 'unknown'}{' with uncommitted changes' if dirty else ''}"
    return replace(origin, versions={**origin.versions, "rescored by wsolbench": note})


def _redrawn(
    before: Record, division: Division, side: int, normalization: str
) -> tuple[Record, dict[SplitName, SplitScores]]:
    """Score a null row again."""
    name, boxes = before.identity["method"], {split: division.annotations(split) for split in SCORED}
    chosen = null_normalization(name, boxes["train-fullsup"], side, before.map_size, normalization)
    splits = null_scores(name, boxes, side, before.map_size, chosen)
    scores, slices = score_with_slices(splits, boxes, side)
    after = replace(
        before,
        metrics=scores.metrics,
        thresholds=scores.thresholds,
        absent=scores.absent,
        slices=slices,
        percentile=chosen.percentile,
    )
    return after, splits


# --- runs with maps ---------------------------------------------------------------------------------------------------


def _kept(record: Record, split: SplitName, results: Path) -> Path:
    return results / "runs" / record.run_id / f"{split}.npz"


def _refuse_missing(record: Record, results: Path) -> None:
    """Raise UserError if the run has not kept its maps here."""
    for split in SCORED:
        path = _kept(record, split, results)
        if not path.is_file():
            raise UserError(
                f"the raw maps of run {record.run_id} are not in '{path}'; give --results of the machine that trained "
                f"it, or train it again with `{record.provenance.command} --no-resume`"
            )


def _kept_outputs(record: Record, division: Division, split: SplitName, results: Path) -> Inference:
    """Read what the network said about a split; which maps carry no information is found out when they are scored."""
    path, ids = _kept(record, split, results), division.annotations(split).ids
    try:
        arrays = read_outputs(path, ids, record.map_size)
    except ValueError as error:
        raise UserError(
            f"the raw maps in '{path}' are unusable: {error}; copy them again, or train again with "
            f"`{record.provenance.command} --no-resume`"
        ) from None
    unknown = np.zeros(len(ids), dtype=bool)
    return Inference(logits=arrays.get("logits"), raw_maps=arrays["maps"], constant=unknown, invalid=unknown)
