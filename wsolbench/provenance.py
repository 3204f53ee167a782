"""Where a record comes from: commit, versions, device, cost."""

import json
import platform
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from wsolbench import __version__
from wsolbench.files import atomic_write
from wsolbench.record_schema import Provenance
from wsolbench.records import git_state

PACKAGES = ("torch", "torchvision", "numpy", "numba", "scipy", "pillow")


Code = tuple[str | None, bool | None]
"""A commit and whether the tree had changes; None where unknown."""


@dataclass(frozen=True)
class Clock:
    """When something started, and with which code: by the end of a long run the tree may have moved on.

    Attributes:
        started: wall time.
        ticks: monotonic time, for durations.
        code: commit and whether the tree was dirty; see :func:`wsolbench.records.git_state`.
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ticks: float = field(default_factory=time.monotonic)
    code: Code = field(default_factory=lambda: git_state(Path(__file__).resolve().parents[1]))


def join_sessions(path: Path, clock: Clock, *, resumed: bool) -> Clock:
    """Note with which code a session of a run starts.

    Args:
        path: the run's list of sessions.
        clock: the session's.
        resumed: whether it goes on from a checkpoint.

    Returns:
        The clock, its code marked dirty if an earlier session of the run had other code or a dirty tree.
    """
    earlier = json.loads(path.read_text(encoding="utf-8")) if resumed and path.is_file() else []
    sessions = [*earlier, list(clock.code)]
    atomic_write(path, json.dumps(sessions).encode())
    commit, dirty = clock.code
    mixed = any(code != [commit, False] for code in sessions)
    return replace(clock, code=(commit, None if dirty is None else mixed))


def provenance(
    clock: Clock, command: str, *, device: str, train_images_per_s: float | None, peak_memory_mb: float | None
) -> Provenance:
    """Describe how a record that is finished now came about.

    Args:
        clock: made at the start.
        command: the command line that repeats it.
        device: in words.
        train_images_per_s: training rate, None where nothing was trained.
        peak_memory_mb: MiB, None where not measured.
    """
    commit, dirty = clock.code
    versions = {"wsolbench": __version__, "python": platform.python_version()}
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=versions | {package: version(package) for package in PACKAGES},
        device=device,
        wall_s=time.monotonic() - clock.ticks,
        train_images_per_s=train_images_per_s,
        peak_memory_mb=peak_memory_mb,
        command=command,
        started=clock.started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
