"""How the rows of a table stand to a baseline: differences that may be claimed, and intervals of ranks.

The statistics are those of ``wsolbench compare`` (PROTOCOL: statistics), asked of every row of a table at once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from wsolbench.comparison import Comparison, Verdict, compare
from wsolbench.comparison_runs import Question
from wsolbench.data.places import Places
from wsolbench.errors import UserError
from wsolbench.leaderboard.columns import headline
from wsolbench.leaderboard.model import Leaderboard, Table, system_name
from wsolbench.leaderboard.rows import Row
from wsolbench.leaderboard.sections import Standing
from wsolbench.protocols import SEEDS_FOR_A_CLAIM
from wsolbench.record_schema import REFERENCE_ROW, Record


def standings(
    board: Leaderboard,
    results: Path,
    baseline: str,
    *,
    places: Places | None = None,
    resamples: int = 10_000,
    quiet: bool = False,
) -> dict[str, Standing]:
    """Compare the rows of every table that has the baseline with it, in the metric that ranks them.

    Args:
        board: the tables.
        results: folder of the records; their hits lie beside them.
        baseline: a row's label or a method; ``cam`` is ``cam tuned`` among tuned rows. Rows that trained on boxes are
            no baseline and are not compared.
        places: where the data are, for slices that are not kept beside the hits.
        resamples: of the images.
        quiet: plain progress lines.

    Returns:
        Key of a section -> how its rows stand. What cannot be compared is said there, in words.

    Raises:
        UserError: no table has such a row, or only as one that trained on boxes.
    """
    found = {table.section.key: (table, _named(table, baseline)) for table in board.tables}
    if not any(rows for _, rows in found.values()):
        known = sorted({row.label for table in board.tables for row in _able(table)})
        raise UserError(f"--baseline {baseline} names no row that can be compared; expected one of {', '.join(known)}")
    ask = partial(Question, results=results, places=places or Places(), resamples=resamples, quiet=quiet)
    made = {}
    for key, (table, rows) in found.items():
        if len(rows) == 1 and len(_able(table)) > 1:
            made[key] = _standing(table, rows[0], ask)
        elif len(rows) != 1 and table.rows:
            why = (
                f"{baseline} is {' and '.join(row.label for row in rows)} here"
                if rows
                else f"{baseline} was not run here"
            )
            made[key] = Standing(baseline=baseline, said=(f"Not compared: {why}.",))
    return made


def _able(table: Table) -> list[Row]:
    """Return the rows that may be compared: those that trained on labels alone."""
    return [row for row in table.rows if not row.supervision]


def _named(table: Table, name: str) -> list[Row]:
    """Return the row of a label, or else those of a method with its own maps."""
    own = _able(table)
    labelled = [row for row in own if row.label == name]
    return labelled or [row for row in own if system_name(row.records[0]).removesuffix(" tuned") == name]


def _standing(table: Table, baseline: Row, ask: Callable[..., Question]) -> Standing:
    ranking = headline(table)
    part, metric = ranking.key
    seeds = baseline.by_seed(ranking.key).keys()
    rows = [baseline, *(row for row in _able(table) if row is not baseline)]
    able = [row for row in rows if row.by_seed(ranking.key).keys() & seeds]
    left = [row.label for row in rows if row not in able]
    if len(able) < 2:
        return Standing(
            baseline=baseline.label, said=(f"No row has “{ranking.title}” and a seed of {baseline.label}.",)
        )
    ids = [record.run_id for row in able for record in row.records if metric in _scored(record, part)]
    try:
        comparison = compare(ask(runs=ids, metric=metric, part=part))
    except UserError as error:
        return Standing(baseline=baseline.label, said=(f"Not compared with {baseline.label}: {error}.",))
    return _described(comparison, able, baseline, ranking.title, left)


def _scored(record: Record, part: str) -> Mapping[str, float]:
    scored = record.slices.get(part) if part else record
    return scored.metrics if scored else {}


def _described(
    comparison: Comparison, rows: Sequence[Row], baseline: Row, metric: str, left: Sequence[str]
) -> Standing:
    label_of = {record.run_id: row.label for row in rows for record in row.records}
    names = {side.name: label_of[min(side.run_ids)] for side in comparison.sides}
    family = len(comparison.verdicts)
    unclear = frozenset(names[verdict.side] for verdict in comparison.center if verdict.difference.interval[0] <= 0)
    said = [
        f"Against {baseline.label}, in “{metric}”: seeds in pairs, 95 % interval over seeds and images. † above, ‡"
        f" below by more than chance (Holm over {family} comparisons, {SEEDS_FOR_A_CLAIM} shared seeds or more);"
        " unmarked: nothing may be claimed. Ranks: 95 % intervals, seeds and images resampled.",
        *([f"Without a seed in common: {', '.join(left)}."] if left else []),
    ]
    unmarked = f"Not above {REFERENCE_ROW} by their intervals, so not marked as best: {_some(unclear, rows)}."
    return Standing(
        baseline=baseline.label,
        ranks={names[side.name]: rank for side, rank in zip(comparison.sides, comparison.ranks, strict=True)},
        differences={
            names[verdict.side]: (verdict.difference.mean, verdict.difference.interval, _claim(verdict))
            for verdict in comparison.verdicts
        },
        unclear=unclear,
        said=tuple(said),
        said_of_marks=(unmarked,) if unclear else (),
    )


def _some(labels: Collection[str], rows: Sequence[Row]) -> str:
    return "all" if len(labels) == len(rows) else ", ".join(sorted(labels))


def _claim(verdict: Verdict) -> int:
    """Return 1 or -1 where a difference may be claimed, else 0."""
    if not verdict.difference.claimed(verdict.adjusted):
        return 0
    return 1 if verdict.difference.mean > 0 else -1
