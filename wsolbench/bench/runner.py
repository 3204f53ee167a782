"""The main path of a grid: plan every run, say what will be done and how long it takes, run, say what came of it.

Decided by records alone: a run that has one is done. Whatever stops a grid, the same command goes on with it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wsolbench.bench.board import Board
from wsolbench.bench.estimate import Paces, Remaining, kind
from wsolbench.bench.grid import Cell, Grid, cells_of
from wsolbench.bench.schedule import SMALLEST_BATCH, Schedule, Tally, has_record, last_failure
from wsolbench.bench.words import Standing, describe_end, describe_plan, estimated
from wsolbench.bench.workers import Child, Slot, Slots, slots, stop_all
from wsolbench.engine.device import resolve_device
from wsolbench.errors import UserError
from wsolbench.files import refuse_unwritable
from wsolbench.locks import holder, run_lock
from wsolbench.records import load_records

PROBE_S = 90.0
"""How long the probe of one configuration may take; what takes longer stays unknown."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the user asked for.

    Attributes:
        grid: the runs.
        ours: what a table's recipe has that its paper does not say, a sentence each.
        workers: runs at once; None: one for each GPU, one on a CPU.
        retry: try what failed before again.
        probe: measure what no record tells the speed of.
        dry_run: stop before the first run.
    """

    grid: Grid
    ours: Sequence[str] = ()
    workers: int | None = None
    retry: bool = True
    probe: bool = True
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers} is out of range; expected at least 1")


def bench(asked: Bench, say: Say) -> bool:
    """Run a grid.

    Args:
        asked: what to do.
        say: takes lines to show.

    Returns:
        Whether nothing failed.

    Raises:
        UserError: the grid cannot be carried out as it is; nothing was started.
        KeyboardInterrupt: Ctrl-C; what was going on has been stopped.
    """
    shared = asked.grid.shared
    refuse_unwritable("--results", shared.results)
    cells = cells_of(asked.grid)
    where = slots(resolve_device(shared.device), asked.workers)
    standings = [standing(cell, where.device, retry=asked.retry) for cell in cells]
    todo = [each.cell for each in standings if each.is_open]
    paces = Paces(load_records(shared.results)[0] if shared.results.is_dir() else [], where.device)
    if asked.probe:
        measure(paces, todo, where, say)
    say(describe_plan(standings, paces, where, asked.ours))
    if asked.dry_run or not todo:
        return True
    expected, started = estimated(standings, paces, len(where.places)), time.monotonic()
    tally = _run(todo, where, paces, say, quiet=shared.quiet)
    say(describe_end(tally, expected, time.monotonic() - started, str(shared.results)))
    return not tally.failed


def _run(todo: Sequence[Cell], where: Slots, paces: Paces, say: Say, *, quiet: bool) -> Tally:
    """Run cells, and show it."""
    remaining = Remaining(paces, len(where.places))
    board = Board(say, len(todo), remaining, quiet)
    try:
        return Schedule(todo, where, remaining, board).run()
    finally:
        board.close()


def standing(asked: Cell, device: str, *, retry: bool) -> Standing:
    """Say how a run stands.

    One that ran out of memory on this kind of device has a smaller one in its place, which counts instead.

    Args:
        asked: the run.
        device: that it would run on, in words.
        retry: try what failed before again.
    """
    cell = asked
    while not has_record(cell):
        failure = last_failure(cell)
        if holder(run_lock(cell.run_id, cell.request.results)):
            return Standing(asked=asked, cell=cell, state="elsewhere")
        if failure is None:
            return Standing(asked=asked, cell=cell, state="to run")
        batch = cell.recipe["batch_size"] // 2
        smaller = cell.with_batch(batch) if batch >= SMALLEST_BATCH else None
        if smaller is None or failure.smaller != smaller.run_id or failure.device != device:
            return Standing(asked=asked, cell=cell, state="failed before" if retry else "left out")
        cell = smaller
    return Standing(asked=asked, cell=cell, state="done")


def measure(paces: Paces, cells: Sequence[Cell], where: Slots, say: Say) -> None:
    """Measure every configuration that no record tells the speed of, in a process of its own."""
    unknown = {kind(cell.identity): cell for cell in reversed(cells) if paces.pace(cell.identity) is None}
    wanted = list(reversed(unknown.values()))
    if not wanted:
        return
    what = "1 configuration" if len(wanted) == 1 else f"{len(wanted)} configurations"
    say(f"measuring {what} that no record tells the speed of (--no-probe leaves it out)")
    while wanted:
        said = _probed(wanted, where.places[0], paces)
        for cell, found in zip(wanted, said, strict=False):
            if found["known"]:
                paces.probed(cell.identity, found["images_per_s"], found["score_s"])
        wanted = wanted[len(said) + 1 :]  # the next one ended the process, or took too long


def _probed(cells: Sequence[Cell], slot: Slot, paces: Paces) -> list[dict[str, Any]]:
    """Measure one configuration after another, until one ends the process or takes too long."""
    with TemporaryDirectory() as folder:
        child = Child(("probe", [cell.on(slot.device) for cell in cells]), Path(folder) / "log", slot.environment, "")
        heard, last = 0, time.monotonic()
        try:
            while not child.is_over() and time.monotonic() - last < PROBE_S:
                if len(child.reports) > heard:
                    paces.start_s = paces.start_s if heard else child.seconds
                    heard, last = len(child.reports), time.monotonic()
                time.sleep(0.1)
        finally:
            stop_all([child])
    return child.reports[1:]  # the first one says that the process has started
