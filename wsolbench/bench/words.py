"""What a grid says: the plan before it starts, and what became of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

from wsolbench.bench.estimate import Paces, makespan
from wsolbench.bench.grid import Cell
from wsolbench.bench.schedule import Tally
from wsolbench.bench.workers import Slots
from wsolbench.progress import clock

State = Literal["done", "to run", "failed before", "left out", "elsewhere"]
STATES: tuple[State, ...] = ("done", "to run", "failed before", "left out", "elsewhere")


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """How a run of the grid stands before the start.

    Attributes:
        asked: the run that was asked for.
        cell: the run that is meant: another one where memory was too small for its batch.
        state: ``done``: it has a record; ``failed before``: it is tried again; ``left out``: it failed, and is not
            tried again; ``elsewhere``: another process is at it.
    """

    asked: Cell
    cell: Cell
    state: State

    @property
    def is_open(self) -> bool:
        """Whether it has to be run."""
        return self.state in ("to run", "failed before", "elsewhere")


def describe_plan(standings: Sequence[Standing], paces: Paces, slots: Slots, ours: Sequence[str]) -> str:
    """Say what will be done, and how long it will take.

    Args:
        standings: every run of the grid.
        paces: what is known about time.
        slots: where runs go.
        ours: what a table's recipe has that its paper does not say.
    """
    lines = [_table(standings, paces), "", _counts(standings), _time(standings, paces, slots)]
    again = sum(standing.state == "failed before" for standing in standings)
    if again:
        lines.append(f"{again} that failed before are tried again; --no-retry leaves them out")
    if any(standing.state == "elsewhere" for standing in standings):
        lines.append("what another process is at is waited for, and taken over if that process goes")
    lines += _borrowed(standings)
    if ours:
        lines += ["not stated by the paper, and so ours:", *(f"- {each}" for each in ours)]
    return "\n".join(lines)


def _borrowed(standings: Sequence[Standing]) -> list[str]:
    """Say where presets run on a backbone that they were not written for."""
    cells = [standing.asked for standing in standings]
    pairs = {(cell.written_for, cell.recipe["backbone"]) for cell in cells if cell.written_for}
    return [
        f"presets written for {own} keep its hyperparameters on {other}, at the insertion points of {other}"
        for own, other in sorted(pairs)
        if own != other
    ]


def _table(standings: Sequence[Standing], paces: Paces) -> str:
    """Draw a line for each method, backbone and dataset, with the seeds in each state."""
    rows: dict[tuple[str, ...], list[Standing]] = defaultdict(list)
    for standing in standings:
        name, backbone, dataset, batch = standing.cell.group
        asked = standing.asked.recipe["batch_size"]
        label = name if batch == asked else f"{name}, batch_size={batch} ({asked} ran out of memory)"
        rows[label, backbone, dataset].append(standing)
    shown = [state for state in STATES if any(standing.state == state for standing in standings)]
    body = []
    for names, row in rows.items():
        seeds = [" ".join(str(s.cell.recipe["seed"]) for s in row if s.state == state) for state in shown]
        first = row[0].cell
        seconds, pace = paces.seconds(first), paces.pace(first.identity)
        known = ["?", ""] if seconds is None or pace is None else [clock(seconds), pace.source]
        body.append([*names, first.recipe["epochs"], *seeds, *known])
    head = ["method", "backbone", "dataset", "epochs", *(f"{s}: seeds" for s in shown), "a run", "known from"]
    return tabulate(body, headers=head, disable_numparse=True)


def _counts(standings: Sequence[Standing]) -> str:
    """Count the runs by state."""
    counts = {state: sum(standing.state == state for standing in standings) for state in STATES}
    return f"{runs(len(standings))}: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def estimated(standings: Sequence[Standing], paces: Paces, workers: int) -> tuple[float, int]:
    """Return the seconds that the runs of known length take, and the number of the others."""
    seconds = [paces.seconds(standing.cell) for standing in standings if standing.is_open]
    known = [each for each in seconds if each is not None]
    return makespan(known, workers), len(seconds) - len(known)


def runs(count: int) -> str:
    """Count runs in words.

    >>> runs(1), runs(2)
    ('1 run', '2 runs')
    """
    return f"{count} run{'s' if count != 1 else ''}"


def _time(standings: Sequence[Standing], paces: Paces, slots: Slots) -> str:
    """Say how long it will take."""
    workers = len(slots.places)
    where = f"{'one at a time' if workers == 1 else f'{workers} at once'} on {slots.device}"
    if not any(standing.is_open for standing in standings):
        return "nothing to do"
    seconds, unknown = estimated(standings, paces, workers)
    if not unknown:
        return f"about {clock(seconds)}, {where}"
    rest = f"{runs(unknown)} like none that was seen: the length is known once the first of each is done"
    return f"about {clock(seconds)} and {rest}; {where}" if seconds else f"{rest}; {where}"


def describe_end(tally: Tally, expected: tuple[float, int], took: float, results: str) -> str:
    """Say what became of a grid, and how long it took against the estimate.

    Args:
        tally: what became of the runs.
        expected: of :func:`estimated`, before the start.
        took: seconds.
        results: the results folder.
    """
    lines = [f"{runs(len(tally.done))} done in {clock(took)}{_against(expected, took)}"]
    if tally.elsewhere:
        lines.append(f"{runs(len(tally.elsewhere))} done by another process")
    lines += [
        f"SMALLER BATCH: {cell} ran out of memory; {smaller.run_id} has batch_size={smaller.recipe['batch_size']} and "
        "stands in a table of its own"
        for cell, smaller in tally.smaller
    ]
    lines += [f"FAILED: {cell}: {error} (log: {log})" for cell, error, log in tally.failed]
    if tally.failed:
        lines.append("the same command tries again what failed")
    lines.append(f"tables: wsolbench leaderboard {results}")
    return "\n".join(lines)


def _against(expected: tuple[float, int], took: float) -> str:
    """Compare the time with the estimate, where there was one for all."""
    seconds, unknown = expected
    if unknown or not seconds:
        return ""
    return f" (estimated {clock(seconds)}: {100 * (took - seconds) / seconds:+.0f} %)"
