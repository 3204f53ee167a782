"""How the rows of a table stand to a baseline: differences that may be claimed, and intervals of ranks.

The statistics are those of ``wsolbench compare`` (PROTOCOL: statistics), asked of every row of a table at once.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from wsolbench.comparison import Comparison, Verdict, compare
from wsolbench.comparison_runs import Question, seed_of
from wsolbench.errors import UserError
from wsolbench.leaderboard.model import Leaderboard, Row, Table, system_name
from wsolbench.leaderboard.sections import Standing, headline
from wsolbench.protocols import SEEDS_FOR_A_CLAIM
from wsolbench.record_schema import REFERENCE_ROW, Record


def standings(
    board: Leaderboard, results: Path, baseline: str, *, resamples: int = 10_000, quiet: bool = False
) -> dict[str, Standing]:
    """Compare the rows of every table that has the baseline with it, in the metric that ranks them.

    Args:
        board: the tables.
        results: folder of the records; their hits lie beside them.
        baseline: a row's label or a method; ``cam`` is ``cam tuned`` among tuned rows.
        resamples: of the images.
        quiet: plain progress lines.

    Returns:
        Key of a section -> how its rows stand. What cannot be compared is said there, in words.

    Raises:
        UserError: no table has such a row.
    """
    found = {table.section.key: (table, _baseline(table, baseline)) for table in board.tables}
    if not any(row for _, row in found.values()):
        known = sorted({row.label for table in board.tables for row in table.rows})
        raise UserError(f"--baseline {baseline} is in no table; expected one of {', '.join(known)}")
    made = {}
    for key, (table, row) in found.items():
        if row is None:
            made[key] = Standing(baseline=baseline, said=(f"Not compared: {baseline} was not run here.",))
        elif sum(not row.supervision for row in table.rows) > 1:
            made[key] = _standing(table, row, results, resamples, quiet)
    return made


def _baseline(table: Table, name: str) -> Row | None:
    """Return the row of a label, or else of the method with its own maps, if it has just one."""
    labelled = [row for row in table.rows if row.label == name]
    own = [row for row in table.rows if not row.supervision]
    named = [row for row in own if system_name(row.records[0]).removesuffix(" tuned") == name]
    rows = labelled or named
    return rows[0] if len(rows) == 1 else None


def _standing(table: Table, baseline: Row, results: Path, resamples: int, quiet: bool) -> Standing:
    ranking = headline(table)
    part, metric = ranking.key
    seeds = {seed_of(record) for record in baseline.records}
    rows = [baseline, *(row for row in table.rows if row is not baseline and not row.supervision)]
    able = [row for row in rows if row.by_seed(ranking.key).keys() & seeds]
    left = [row.label for row in rows if row not in able]
    ids = [record.run_id for row in able for record in row.records if metric in _scored(record, part)]
    question = Question(runs=ids, metric=metric, part=part, results=results, resamples=resamples, quiet=quiet)
    try:
        comparison = compare(question)
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
        *(
            [f"Not above {REFERENCE_ROW} by their intervals, so not marked as best: {_some(unclear, rows)}."]
            if unclear
            else []
        ),
    ]
    return Standing(
        baseline=baseline.label,
        ranks={names[side.name]: rank for side, rank in zip(comparison.sides, comparison.ranks, strict=True)},
        differences={
            names[verdict.side]: (verdict.difference.mean, verdict.difference.interval, _claim(verdict))
            for verdict in comparison.verdicts
        },
        unclear=unclear,
        said=tuple(said),
    )


def _some(labels: Collection[str], rows: Sequence[Row]) -> str:
    return "all" if len(labels) == len(rows) else ", ".join(sorted(labels))


def _claim(verdict: Verdict) -> int:
    """Return 1 or -1 where a difference may be claimed, else 0."""
    difference = verdict.difference
    claimed = difference.seeds >= SEEDS_FOR_A_CLAIM and difference.claimed(verdict.adjusted)
    return (1 if difference.mean > 0 else -1) if claimed else 0
