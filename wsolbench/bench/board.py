"""What a running grid shows: a line for each run that starts or ends, and on a terminal a bar below them."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence

from wsolbench.bench.estimate import Remaining
from wsolbench.bench.grid import Cell
from wsolbench.bench.schedule import Tally
from wsolbench.bench.words import runs
from wsolbench.bench.workers import Child, Outcome
from wsolbench.progress import clock
from wsolbench.record_schema import Record
from wsolbench.records import read_record, record_path

SECONDS_BETWEEN_LINES = 60.0
"""How often a plain line says how far a run is, where there is no terminal."""


class Board:
    """Shows a grid's progress.

    Args:
        say: takes lines that stay.
        total: number of runs to do.
        remaining: the time left.
        quiet: plain lines even on a terminal.
    """

    def __init__(self, say: Callable[[str], None], total: int, remaining: Remaining, quiet: bool) -> None:
        self._say, self._total, self._remaining = say, total, remaining
        self._plain = quiet or not sys.stderr.isatty()
        self._started = self._shown = time.monotonic()

    def began(self, cell: Cell, *, resumed: bool) -> None:
        """A run starts."""
        seconds = self._remaining.expected(cell)
        about = "" if seconds is None else f", about {clock(seconds)}"
        self._line(f"{cell}: {'goes on from its last epoch' if resumed else 'starts'}{about}")

    def ended(self, cell: Cell, outcome: Outcome, tally: Tally) -> None:
        """A run is done or failed."""
        if outcome.end == "done":
            record = read_record(record_path(cell.identity, cell.request.results))
            found = f"{headline(record)} after {clock(outcome.seconds)}"
        else:
            _, error, log = tally.failed[-1]
            found = f"FAILED after {clock(outcome.seconds)}: {error} (log: {log})"
        self._line(f"[{self._over(tally)}/{self._total}] {cell}: {found}")

    def shrinks(self, cell: Cell, smaller: Cell, error: str) -> None:
        """A run needs more memory than there is; a smaller one takes its place."""
        batch, less = cell.recipe["batch_size"], smaller.recipe["batch_size"]
        self._line(
            f"OUT OF MEMORY: {cell} with batch_size={batch} ({error}). It is tried with batch_size={less}, which is "
            f"another run, {smaller.run_id}: its numbers do not compare with those of {batch}"
        )

    def waits(self, cells: Sequence[Cell], who: str) -> None:
        """Only runs of other processes are left."""
        if time.monotonic() - self._shown >= SECONDS_BETWEEN_LINES or not self._plain:
            self._show(f"waiting for {runs(len(cells))} of other processes, such as {cells[0]} ({who})")

    def tick(self, running: Sequence[tuple[Cell, Child]], waiting: Sequence[Cell], tally: Tally) -> None:
        """Time has passed."""
        gap = SECONDS_BETWEEN_LINES if self._plain else 0.2
        if not running or time.monotonic() - self._shown < gap:
            return
        left = self._remaining.left(waiting, [(cell, child.seconds) for cell, child in running])
        cell, child = running[0]
        over, elapsed = self._over(tally), clock(time.monotonic() - self._started)
        about = "time left unknown" if left is None else f"about {clock(left)} left"
        now = child.progress or f"{cell.row}, starting"
        text = f"{over}/{self._total} runs, {elapsed}, {about} | seed {cell.recipe['seed']}: {now}"
        self._show(text if len(running) == 1 else f"{text} | {len(running)} at once")

    def close(self) -> None:
        """Leave the bar behind."""
        if not self._plain:
            self._clear()

    def _over(self, tally: Tally) -> int:
        return len(tally.done) + len(tally.failed) + len(tally.elsewhere)

    def _line(self, text: str) -> None:
        """Print a line that stays."""
        self.close()
        self._say(text)
        self._shown = time.monotonic()

    def _show(self, text: str) -> None:
        """Draw the bar anew, or print a plain line."""
        self._shown = time.monotonic()
        if self._plain:
            self._say(text)
            return
        self._clear()
        sys.stderr.write(text[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()

    def _clear(self) -> None:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def headline(record: Record) -> str:
    """Return the number that ranks a record, in words; the run's id where it has none."""
    scores = record.slices[record.headline] if record.headline else record
    for name, key in (("PxAP", "pxap"), ("V2", "max_box_acc_v2")):
        if key in scores.metrics:
            return f"{name} {scores.metrics[key]:.2f}"
    return record.run_id
