"""Comparing finished runs: hits -> the metric on resamples -> who is above whom (PROTOCOL: statistics).

:mod:`wsolbench.comparison_runs` decides which runs, :mod:`wsolbench.comparison_words` says what was found.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from wsolbench.comparison_runs import (
    Found,
    Question,
    chosen_records,
    differing_settings,
    grouped,
    is_null,
    known_records,
    left_out,
    ordered,
    recorded_value,
    reference_row,
    seed_of,
    settings_of,
)
from wsolbench.data.splits import SplitName
from wsolbench.errors import UserError
from wsolbench.leaderboard.model import system_name
from wsolbench.progress import progress
from wsolbench.protocols import (
    SEEDS_FOR_A_CLAIM,
    Difference,
    Replicates,
    Resampling,
    SplitScores,
    compare_checkpoints,
    compare_methods,
    holm,
    rank_intervals,
    replicate,
    resample_images,
)
from wsolbench.record_schema import REFERENCE_ROW, Record, canonical
from wsolbench.recorded_data import recorded_division
from wsolbench.scoring import slice_masks
from wsolbench.stored_hits import SCORED, read_scores, read_slice

Scores = Mapping[SplitName, SplitScores]


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One method, or one checkpoint, with its runs.

    Attributes:
        name: the method's, with whatever tells it from the others that were asked for.
        runs: seed -> the metric on the images and on their resamples; at least one.
        fixed: it is a null row, which has no seed and is the same beside each.
        run_ids: of the runs.
    """

    name: str
    run_ids: frozenset[str]
    runs: Mapping[int, Replicates]
    fixed: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """One side against another.

    Attributes:
        side: its name.
        against: the other's name.
        difference: side minus other.
        adjusted: the p-value after Holm over the family.
        family: number of comparisons in it.
        missing: what it takes to make a claim: name -> seeds to train; empty where there are enough.
    """

    side: str
    against: str
    difference: Difference
    adjusted: float
    family: int
    missing: Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What was found.

    Attributes:
        question: what was asked.
        example: one of the records, which says what all have in common.
        images: number of test images compared on.
        sides: the methods or checkpoints, the baseline first.
        ranks: the 95 % interval of each side's rank.
        verdicts: every other side against the baseline.
        center: every side against the null row; empty where there is none to compare with.
        no_center: why there is none.
        settings: what else the sides differ in: name of a setting -> side -> its value as text.
        left_out: other methods with records on these images; Holm does not count them.
        skipped: a sentence for each record that could not be read.
    """

    question: Question
    example: Record
    images: int
    sides: Sequence[Side]
    ranks: Sequence[tuple[int, int]]
    verdicts: Sequence[Verdict]
    center: Sequence[Verdict]
    no_center: str
    settings: Mapping[str, Mapping[str, str]]
    left_out: Sequence[str]
    skipped: Sequence[str]


def compare(question: Question) -> Comparison:
    """Compare runs, method by method.

    Raises:
        UserError: a run is not there, runs cannot be compared, or hits, metric or data are missing.
    """
    known, skipped = known_records(question)
    groups = grouped(chosen_records(question, known))
    names = ordered(groups, question.baseline)
    records = [record for name in names for record in groups[name]]
    center, no_center = reference_row(question, known, records)
    scored = [*records, *center]
    for record in scored:
        _recorded(record, question)  # before anything takes time
    scores = _scores(scored, question, known)
    found = _replicates(scored, scores, question)
    sides = [_side(name, groups[name], found) for name in names]
    one_method = len({canonical(settings_of(record)) for record in records}) == 1
    nulls = [_side(REFERENCE_ROW, [record], found) for record in center]
    return Comparison(
        question=question,
        example=records[0],
        images=len(scores[records[0].run_id]["test"].hits),
        sides=sides,
        ranks=rank_intervals([list(side.runs.values()) for side in sides], question.seed),
        verdicts=_family([(side, sides[0]) for side in sides[1:]], question.seed, one_method),
        center=_family([(side, null) for null in nulls for side in sides if not side.fixed], question.seed, one_method),
        no_center=no_center,
        settings=differing_settings(groups),
        left_out=left_out(known, records),
        skipped=skipped,
    )


# --- their scores -----------------------------------------------------------------------------------------------------


def _scores(records: Sequence[Record], question: Question, known: Found) -> dict[str, Scores]:
    """Read the hits of every run, those of the slice that is asked for."""
    found = {record.run_id: _hits(record, known) for record in records}
    if not question.part:
        return found
    parts: dict[str, Scores] = {}
    stored = {record.run_id: _stored_slice(record, question, known, found[record.run_id]) for record in records}
    masks: dict[str, dict[SplitName, npt.NDArray[np.bool_]]] = {}
    for record in records:
        # All have the same data; only what a method trains on decides which images of train-fullsup it is scored on.
        kind = canonical(record.identity.get("supervision", {}))
        whole = found[record.run_id]
        if (own := stored[record.run_id]) is not None:
            parts[record.run_id] = {split: whole[split].select(mask) for split, mask in own.items() if mask.any()}
            continue
        if kind not in masks:
            division, side = recorded_division(record, question.places), record.identity["recipe"]["image_size"]
            masks[kind] = {split: slice_masks(division.annotations(split), side)[question.part] for split in SCORED}
        if any(len(whole[split].hits) != len(mask) for split, mask in masks[kind].items()):
            raise _unusable(record, known, "they are not of the images that the data have")
        parts[record.run_id] = {split: whole[split].select(mask) for split, mask in masks[kind].items() if mask.any()}
    return parts


def _stored_slice(
    record: Record, question: Question, known: Found, whole: Scores
) -> Mapping[SplitName, npt.NDArray[np.bool_]] | None:
    """Return which images belong to the slice, as kept beside the hits; records of older versions kept none."""
    try:
        return read_slice(known[record.run_id][1], question.part, {split: len(s.hits) for split, s in whole.items()})
    except ValueError as error:
        raise _unusable(record, known, str(error)) from None


def _hits(record: Record, known: Found) -> Scores:
    """Read the hits of a run."""
    try:
        return read_scores(known[record.run_id][1])
    except ValueError as error:
        raise _unusable(record, known, str(error)) from None


def _unusable(record: Record, known: Found, reason: str) -> UserError:
    """Build the error for hits that cannot be compared."""
    return UserError(
        f"the hits of run {record.run_id}, '{known[record.run_id][1]}', are unusable: {reason}; "
        f"write them anew with `wsolbench rescore {record.run_id}`"
    )


def _replicates(records: Sequence[Record], scores: Mapping[str, Scores], question: Question) -> dict[str, Replicates]:
    """Compute every run's metric on the same resamples; those of train-fullsup depend on how many images it has."""
    drawn: dict[tuple[int, int | None], Resampling] = {}
    found = {}
    with progress("resample", len(records), unit="runs", quiet=question.quiet) as bar:
        for record in records:
            test, fullsup = scores[record.run_id]["test"], scores[record.run_id].get("train-fullsup")
            sizes = (len(test.hits), None if fullsup is None else len(fullsup.hits))
            if sizes not in drawn:
                drawn[sizes] = resample_images(*sizes, resamples=question.resamples, seed=question.seed)
            try:
                found[record.run_id] = replicate(question.metric, test, fullsup, drawn[sizes])
            except ValueError as error:
                raise UserError(f"run {record.run_id} cannot be resampled: {error}") from None
            _refuse_stale(record, found[record.run_id].value, question)
            bar.advance(1)
    return found


def _recorded(record: Record, question: Question) -> float:
    """Return the metric as it was recorded, or raise UserError with the reason why it was not."""
    value, reason = recorded_value(record, question)
    if value is not None:
        return value
    where = f" on {question.part}" if question.part else ""
    raise UserError(
        f"run {record.run_id} ({system_name(record)}) has no {question.metric}{where}: {reason}; choose "
        f"another --metric or --slice, or score its kept maps again with `wsolbench rescore {record.run_id}`"
    )


def _refuse_stale(record: Record, value: float, question: Question) -> None:
    """Raise UserError if a run's hits do not give the number in its record."""
    recorded = _recorded(record, question)
    if not math.isclose(value, recorded, rel_tol=0, abs_tol=1e-9):
        raise UserError(
            f"the hits beside run {record.run_id} give {question.metric} {value:.2f} and its record says "
            f"{recorded:.2f}; they do not belong together, so write both with `wsolbench rescore {record.run_id}`"
        )


# --- verdicts ---------------------------------------------------------------------------------------------------------


def _side(name: str, records: Sequence[Record], found: Mapping[str, Replicates]) -> Side:
    runs = {seed_of(record): found[record.run_id] for record in records}
    ids = frozenset(record.run_id for record in records)
    return Side(name=name, run_ids=ids, runs=runs, fixed=is_null(records[0]))


def _family(pairs: Sequence[tuple[Side, Side]], seed: int, one_method: bool) -> list[Verdict]:
    """Compare pairs of sides, with Holm over all of them; seeds of one method lack no seeds, for they claim nothing."""
    differences = [_difference(side, other, seed) for side, other in pairs]
    adjusted = holm([difference.p_value for difference in differences])
    return [
        Verdict(
            side=side.name,
            against=other.name,
            difference=difference,
            adjusted=p_value,
            family=len(pairs),
            missing={} if one_method else _missing(side, other),
        )
        for (side, other), difference, p_value in zip(pairs, differences, adjusted, strict=True)
    ]


def _difference(side: Side, other: Side, seed: int) -> Difference:
    """Compare two sides by the seeds that they share; where that is one, their checkpoints."""
    pairs = [(_run(side, shared), _run(other, shared)) for shared in _shared_seeds(side, other)]
    if len(side.runs) == len(other.runs) == 1:
        pairs = list(zip(side.runs.values(), other.runs.values(), strict=True))
    if not pairs:
        raise UserError(
            f"{side.name} (seeds {_listed(side.runs)}) and {other.name} (seeds {_listed(other.runs)}) have no seed in "
            "common; seeds are compared in pairs, so train the same ones"
        )
    if len(pairs) == 1:
        return compare_checkpoints(*pairs[0])
    first, second = zip(*pairs, strict=True)
    return compare_methods(first, second, seed)


def _shared_seeds(side: Side, other: Side) -> list[int]:
    """Return the seeds that both have; a null row has them all."""
    if side.fixed or other.fixed:
        return sorted(side.runs if other.fixed else other.runs)
    return sorted(side.runs.keys() & other.runs.keys())


def _run(side: Side, seed: int) -> Replicates:
    return next(iter(side.runs.values())) if side.fixed else side.runs[seed]


def _missing(side: Side, other: Side) -> dict[str, list[int]]:
    """Return what it takes to have enough pairs: name -> seeds to train, those first that one side has already."""
    seeds = _shared_seeds(side, other)
    trained = [member for member in (side, other) if not member.fixed]
    halves = sorted({seed for member in trained for seed in member.runs} - set(seeds))
    new = (seed for seed in count() if seed not in halves and seed not in seeds)
    wanted = [*halves, *(next(new) for _ in range(SEEDS_FOR_A_CLAIM))][: max(0, SEEDS_FOR_A_CLAIM - len(seeds))]
    needed = {member.name: [seed for seed in wanted if seed not in member.runs] for member in trained}
    return {name: lacking for name, lacking in needed.items() if lacking}


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
