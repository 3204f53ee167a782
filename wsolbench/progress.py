"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counts the items of one piece of work; made by :func:`progress`.

    Attributes:
        total: number of items.
        unit: what one item is, in the plural.
        seconds_between_lines: how often a plain line is printed where there is no terminal.
    """

    label: str
    total: int
    unit: str
    plain: bool
    seconds_between_lines: float = 20.0
    done: int = 0
    _start: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    def advance(self, count: int, note: str = "") -> None:
        """Report that ``count`` more items are done; ``note`` (a loss, say) is shown beside the rate."""
        self.done += count
        now = time.monotonic()
        gap = self.seconds_between_lines if self.plain else 0.2
        if now - self._last >= gap:
            self._last = now
            self._show(note)

    def finish(self) -> None:
        """Print the last state."""
        if not self.plain:
            self._show("")
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _show(self, note: str) -> None:
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        text = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:,.0f}/s, {clock(left)} left"
        if note:
            text += f", {note}"
        if self.plain:
            sys.stderr.write(text + "\n")
        else:
            filled = int(24 * self.done / max(self.total, 1))
            sys.stderr.write(f"\r\033[K[{'#' * filled}{'.' * (24 - filled)}] {text}")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """Write a duration as m:ss, or h:mm:ss from one hour on.

    >>> clock(61.4), clock(3600), clock(float("inf"))
    ('1:01', '1:00:00', '?')
    """
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(label: str, total: int, unit: str = "images", quiet: bool = False) -> Iterator[Progress]:
    """Show the progress of ``total`` items on standard error.

    Args:
        label: what is being done.
        total: number of items.
        unit: what one item is, in the plural.
        quiet: plain lines even on a terminal.

    Yields:
        The counter; call ``advance(n)`` on it.
    """
    bar = Progress(label=label, total=total, unit=unit, plain=quiet or not sys.stderr.isatty())
    try:
        yield bar
    finally:
        bar.finish()  # after an error too, whose message needs a line of its own
