"""Running the cells of a grid: who is next, what becomes of one that ends badly, and stopping in order."""

import selectors
import shlex
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from wsolbench.bench.estimate import Remaining
from wsolbench.bench.grid import Cell
from wsolbench.bench.workers import Child, Outcome, Slot, Slots, stop_all
from wsolbench.failures import Failure, failure_path, forget_failure, read_failure, write_failure
from wsolbench.locks import holder, run_lock
from wsolbench.records import read_record, record_path

SMALLEST_BATCH = 8
"""Below that many images a step, BatchNorm's statistics are mostly noise, so a run fails instead."""

TICK_S = 0.5
POLL_S = 5.0
"""Seconds between two looks at runs that another process is at."""


@dataclass
class Tally:
    """What became of the cells.

    Attributes:
        done: finished here, with seconds.
        elsewhere: finished by another process meanwhile.
        failed: with the sentence and the log.
        smaller: ran out of memory, and what was tried in its place.
    """

    done: list[tuple[Cell, float]] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)
    failed: list[tuple[Cell, str, str]] = field(default_factory=list)
    smaller: list[tuple[Cell, Cell]] = field(default_factory=list)


class Show(Protocol):
    """What is told about a grid while it runs."""

    def began(self, cell: Cell, *, resumed: bool) -> None:
        """A run starts."""

    def ended(self, cell: Cell, outcome: Outcome, tally: Tally) -> None:
        """A run is done or failed."""

    def shrinks(self, cell: Cell, smaller: Cell, error: str) -> None:
        """A run needs more memory than there is; a smaller one takes its place."""

    def waits(self, cells: Sequence[Cell], who: str) -> None:
        """Only runs of other processes are left."""

    def tick(self, running: Sequence[tuple[Cell, Child]], waiting: Sequence[Cell], tally: Tally) -> None:
        """Time has passed."""


Start = Callable[[Cell, Slot, Path], Child]


def start_run(cell: Cell, slot: Slot, log: Path) -> Child:
    """Start a run in a process of its own."""
    return Child(("run", cell.on(slot.device)), log, slot.environment, command(cell))


def command(cell: Cell) -> str:
    """Return the command line that runs a cell on its own."""
    request = cell.request
    kind: str = cell.identity["device_type"]
    return f"{request.command} {shlex.join(['--device', kind, '--results', str(request.results)])}"


def has_record(cell: Cell) -> bool:
    """Whether a usable record is there."""
    try:
        read_record(record_path(cell.identity, cell.request.results))
    except ValueError:
        return False
    return True


def last_failure(cell: Cell) -> Failure | None:
    """Return the failure that is recorded of a run; None where there is none that can be read."""
    path = failure_path(cell.identity, cell.request.results)
    try:
        return read_failure(path) if path.is_file() else None
    except ValueError:
        return None


class Schedule:
    """Runs cells, in order, on every slot.

    Args:
        cells: to run; of none is there a record.
        slots: where.
        remaining: takes note of what was learned about time.
        show: is told what happens.
        start: starts a process.
    """

    def __init__(
        self, cells: Sequence[Cell], slots: Slots, remaining: Remaining, show: Show, start: Start = start_run
    ) -> None:
        self._slots, self._remaining, self._show, self._start = slots, remaining, show, start
        self._waiting = deque(cells)
        self._held: list[Cell] = []  # by other processes
        self._alone: deque[Cell] = deque()  # ran out of memory that was shared with others
        self._free = list(slots.places)
        self._running: dict[Child, tuple[Cell, Slot, bool]] = {}
        self._tally = Tally()
        self._polled = 0.0

    def run(self) -> Tally:
        """Run everything; whatever ends this ends the processes too.

        Raises:
            KeyboardInterrupt: Ctrl-C; the runs that were going on have been stopped.
        """
        try:
            while self._begin_all() or self._running or self._held:
                self._wait()
                for child in [child for child in self._running if child.is_over()]:
                    self._end(child)
                running = [(cell, child) for child, (cell, _, _) in self._running.items()]
                self._show.tick(running, [*self._waiting, *self._alone], self._tally)
        finally:
            stop_all(list(self._running))
        return self._tally

    def _begin_all(self) -> bool:
        """Start what there is room for; tell whether anything was left to start."""
        while self._free and (found := self._next()) is not None:
            cell, alone = found
            slot = self._free.pop(0)
            run_dir = cell.request.results / "runs" / cell.run_id
            self._show.began(cell, resumed=(run_dir / "last.pt").is_file())
            self._running[self._start(cell, slot, run_dir / "bench.log")] = (cell, slot, alone)
        return bool(self._waiting or self._alone)

    def _next(self) -> tuple[Cell, bool] | None:
        """Return the next cell and whether it has to run alone; None where nothing can be started now."""
        if any(alone for _, _, alone in self._running.values()):
            return None
        while self._waiting:
            cell = self._waiting.popleft()
            if has_record(cell):
                self._tally.elsewhere.append(cell)
            elif holder(run_lock(cell.run_id, cell.request.results)):
                self._held.append(cell)
            else:
                return cell, False
        if self._alone and not self._running:
            return self._alone.popleft(), True
        self._look_at_held()
        return (self._waiting.popleft(), False) if self._waiting else None

    def _look_at_held(self) -> None:
        """Take back the runs whose other process has gone, with or without a record."""
        if not self._held or time.monotonic() - self._polled < POLL_S:
            return
        self._polled = time.monotonic()
        who = {cell: holder(run_lock(cell.run_id, cell.request.results)) for cell in self._held}
        free = [cell for cell in self._held if not who[cell]]
        self._held = [cell for cell in self._held if who[cell]]
        self._tally.elsewhere += [cell for cell in free if has_record(cell)]
        self._waiting += [cell for cell in free if cell not in self._tally.elsewhere]
        if self._held and not self._running:
            self._show.waits(self._held, who[self._held[0]])

    def _wait(self) -> None:
        """Wait for a report of any process, or a moment."""
        with selectors.DefaultSelector() as selector:
            for child in self._running:
                selector.register(child.pipe, selectors.EVENT_READ)
            if not selector.select(TICK_S):
                return
        time.sleep(0.05)  # a process that ended closes its pipe a little before

    def _end(self, child: Child) -> None:
        """Take note of what came of a run."""
        cell, slot, alone = self._running.pop(child)
        self._free.append(slot)
        outcome = child.outcome(record_path(cell.identity, cell.request.results))
        if outcome.end == "held":
            self._held.append(cell)
        elif outcome.end == "memory":
            self._shrink(cell, outcome, alone=alone or not self._slots.shared)
        else:
            if outcome.end == "done":
                self._tally.done.append((cell, outcome.seconds))
                self._remaining.finished(cell, outcome.seconds)
                forget_failure(cell.identity, cell.request.results)  # of a run that died with its record written
            else:
                self._fail(cell, outcome.error)
            self._show.ended(cell, outcome, self._tally)

    def _shrink(self, cell: Cell, outcome: Outcome, *, alone: bool) -> None:
        """Try again with all the memory there is; after that with half the batch, as a run of its own."""
        if not alone:
            self._alone.append(cell)
            return
        batch = cell.recipe["batch_size"]
        error = f"a training step ran out of memory with batch_size={batch}"
        if batch // 2 < SMALLEST_BATCH:
            self._fail(cell, f"{error}, and fewer than {SMALLEST_BATCH} images a step are not tried")
            self._show.ended(cell, outcome, self._tally)
            return
        smaller = cell.with_batch(batch // 2)
        self._note(cell, error, smaller=smaller.run_id)
        self._tally.smaller.append((cell, smaller))
        self._show.shrinks(cell, smaller, outcome.error)
        if not has_record(smaller):
            self._waiting.appendleft(smaller)

    def _fail(self, cell: Cell, error: str) -> None:
        """Count a failure and write its file."""
        self._tally.failed.append((cell, error, self._note(cell, error)))

    def _note(self, cell: Cell, error: str, smaller: str = "") -> str:
        """Write the file of a failure; return the log's path."""
        results, before = cell.request.results, last_failure(cell)
        log = Path("runs") / cell.run_id / "bench.log"
        failure = Failure(
            identity=cell.identity,
            error=error,
            command=command(cell),
            device=self._slots.device,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            attempts=1 if before is None else before.attempts + 1,
            log=log.as_posix(),
            smaller=smaller,
        )
        write_failure(failure, results)
        return str(results / log)
