"""Processes of a grid: where they run, how they are started and watched, and what came of them."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from wsolbench.data.streaming import usable_cores
from wsolbench.engine.device import device_name

PATIENCE_S = 15.0
"""How long a process that is asked to stop may take."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for one run.

    Attributes:
        device: what the run is given for ``--device``.
        environment: variables of its process.
    """

    device: str
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Where runs go on side by side.

    Attributes:
        places: one for each run.
        device: of a run, in words, as its record will say.
        shared: whether runs share memory, so that one may take another's.
    """

    places: Sequence[Slot]
    device: str
    shared: bool


def slots(device: torch.device, workers: int | None) -> Slots:
    """Decide where runs go: one GPU for each, and the cores of a CPU divided among them.

    Args:
        device: as resolved for the grid.
        workers: how many runs at once; None: one for each GPU, one on a CPU.
    """
    if device.type == "cuda":
        gpus: list[str] = _visible_gpus() if device.index is None else []
        count = workers or max(len(gpus), 1)
        # Said by name in any case: where the driver fails, auto would train on the CPU.
        places = [
            Slot(device="cuda", environment={"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]})
            if len(gpus) > 1
            else Slot(device=str(device), environment={})
            for index in range(count)
        ]
        return Slots(places=places, device=device_name(device), shared=count > max(len(gpus), 1))
    count = workers or 1
    threads = max(usable_cores() // count, 1)
    own = {} if count == 1 or "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}
    if own:
        torch.set_num_threads(threads)  # for the device's name: nothing is trained in this process
    places = [Slot(device=str(device), environment=own)] * count
    return Slots(places=places, device=device_name(device), shared=count > 1)


def _visible_gpus() -> list[str]:
    """Return the GPUs as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(index) for index in range(count)]


End = Literal["done", "held", "memory", "failed"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        end: ``done``; ``held`` by another process; ``memory``: a training step needed more than there is; ``failed``.
        error: one sentence; empty where there is none.
        seconds: from start to end.
    """

    end: End
    seconds: float
    error: str = ""


class Child:
    """A process with one job.

    Args:
        job: what :mod:`wsolbench.bench.child` is told.
        log: file that gets what the process prints, behind what is there.
        environment: variables beside this process's own.
        command: what to write at the head of the log.
    """

    def __init__(self, job: tuple[str, Any], log: Path, environment: Mapping[str, str], command: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.progress = ""
        self.reports: list[dict[str, Any]] = []
        self._started, self._kills, self._rest = time.monotonic(), _memory_kills(), b""
        with log.open("a", encoding="utf-8") as file:
            file.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {command}\n")
            file.flush()
            # A session of its own: Ctrl-C on the terminal is for the grid alone, which stops its children in order.
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter)
                [sys.executable, "-m", "wsolbench.bench.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pipe = self._process.stdout
        os.set_blocking(self.pipe.fileno(), False)
        with suppress(BrokenPipeError):  # it ended at once; its status says so
            self._process.stdin.write(pickle.dumps(job))
            self._process.stdin.flush()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._started

    def is_over(self) -> bool:
        """Read what the process reports; tell whether it has ended."""
        over = self._process.poll() is not None  # before reading, so that nothing said before the end is missed
        while data := self._read():
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "progress" in said:
                    self.progress = said["progress"]
                else:
                    self.reports.append(said)
        return over

    def _read(self) -> bytes:
        try:
            return os.read(self.pipe.fileno(), 65536)
        except BlockingIOError:
            return b""

    def outcome(self, record: Path) -> Outcome:
        """Say what came of a run whose process is over.

        Args:
            record: where its record should be.
        """
        self.close()
        said = self.reports[-1] if self.reports else {}
        end, error = judged(self._process.returncode, said, record.is_file(), _memory_kills() > self._kills)
        return Outcome(end=end, error=error, seconds=self.seconds)

    def stop(self) -> None:
        """Ask the process to stop, as Ctrl-C does."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def end(self, patience: float = PATIENCE_S) -> None:
        """Wait for the process to stop; kill it if that takes too long."""
        try:
            self._process.wait(patience)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Close the pipes."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self.pipe.close()


def stop_all(children: Sequence[Child]) -> None:
    """Stop processes, all at once."""
    for child in children:
        child.stop()
    for child in children:
        child.end()


def judged(status: int, said: Mapping[str, Any], recorded: bool, kernel_killed: bool) -> tuple[End, str]:
    """Say what came of a run whose process is over.

    Args:
        status: of the process, negative for a signal.
        said: its last report.
        recorded: whether the run's record is there, which decides.
        kernel_killed: whether the kernel has killed for want of memory since the process began.

    Returns:
        The end and a sentence on it.

    >>> judged(-9, {}, False, True)
    ('memory', 'the system killed it for want of memory')
    """
    if recorded:
        return "done", ""
    if said.get("held"):
        return "held", ""
    if "error" in said:
        return "memory" if said["memory"] else "failed", said["error"]
    if status == -signal.SIGKILL and kernel_killed:
        return "memory", "the system killed it for want of memory"
    return "failed", _ending(status)


def _ending(status: int) -> str:
    """Say how a process ended that did not say so itself.

    >>> _ending(-9), _ending(7)
    ('the process was killed by SIGKILL', 'the process left with status 7 before the run was done')
    """
    if status < 0:
        return f"the process was killed by {signal.Signals(-status).name}"
    return f"the process left with status {status} before the run was done"


def _memory_kills() -> int:
    """Return how often the kernel has killed for want of memory, as far as it says."""
    return sum(_counters(Path("/proc/vmstat"))) + sum(_counters(Path("/sys/fs/cgroup/memory.events")))


def _counters(path: Path) -> Iterator[int]:
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                yield int(value)
