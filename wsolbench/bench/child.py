"""One job of a grid in a process of its own, so that whatever ends it ends nothing else.

Started as ``python -m wsolbench.bench.child`` by :mod:`wsolbench.bench.workers`. Standard input holds one pickled job;
its end means that the process of the grid is gone, and ends this one. Standard output takes a line of JSON for each
report. Whatever the run prints goes to standard error, which is the run's log.
"""

import io
import json
import os
import pickle
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from wsolbench.locks import HeldError
from wsolbench.request import Request

Report = Callable[..., None]

_TRAINING = "wsolbench.engine.fit"
_MEMORY_WORDS = re.compile(r"out of memory|can't allocate memory|_STATUS_ALLOC_FAILED", re.IGNORECASE)


def main() -> int:
    """Do the job; return the exit status."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed belongs to the log

    def report(**said: object) -> None:
        try:
            pipe.write(json.dumps(said) + "\n")
        except BrokenPipeError:
            os._exit(1)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the grid runs in a shell's background
    what, job = pickle.load(sys.stdin.buffer)  # noqa: S301 (from the process that started this one, by a pipe)
    threading.Thread(target=_end_with_the_grid, daemon=True).start()
    sys.stderr = _Screen(sys.stderr, report)
    try:
        _probe(job, report) if what == "probe" else _run(job)
    except KeyboardInterrupt:
        return 130
    except HeldError:
        report(held=True)
        return 1
    except Exception as error:
        traceback.print_exc()
        report(error=_sentence(error), memory=ran_out_of_memory(error))
        return 1
    return 0


def _run(request: Request) -> None:
    from wsolbench.experiment import run

    run(request)


def _probe(requests: Sequence[Request], report: Report) -> None:
    from wsolbench.bench.probe import probe

    report(ready=True)
    for request in requests:
        try:
            images_per_s, score_s = probe(request)
        except Exception:  # the run itself will say it
            traceback.print_exc()
            report(known=False)
        else:
            report(known=True, images_per_s=images_per_s, score_s=score_s)


def _sentence(error: Exception) -> str:
    from wsolbench.cli.main import describe

    return describe(error)


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether a training step ran out of memory, where a smaller batch can help; reading or scoring cannot."""
    frames = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)}
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return _TRAINING in frames and (
        named or (isinstance(error, RuntimeError) and bool(_MEMORY_WORDS.search(str(error))))
    )


def _end_with_the_grid() -> None:
    """Wait for the end of standard input, which nobody writes to any more."""
    # Not sys.stdin: a thread that waits with its lock aborts the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os._exit(1)


class _Screen(io.TextIOBase):
    """A terminal for the run's progress bars: what a bar overwrites is reported, the rest goes to the log.

    Args:
        log: where the rest goes.
        report: takes the progress.
    """

    def __init__(self, log: Any, report: Report) -> None:  # noqa: ANN401
        self._log, self._report, self._in_bar = log, report, False

    def isatty(self) -> bool:
        """Say yes, so that progress comes often."""
        return True

    def write(self, text: str) -> int:
        """Report a bar; write anything else to the log."""
        if text.startswith("\r"):
            self._report(progress=text.partition("] ")[2])
        elif not (self._in_bar and text == "\n"):  # the line that ends a bar
            self._log.write(text)
        self._in_bar = text.startswith("\r")
        return len(text)

    def flush(self) -> None:
        """Flush the log."""
        self._log.flush()


if __name__ == "__main__":
    sys.exit(main())
