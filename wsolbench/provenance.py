"""Where a record comes from: commit, versions, device, cost."""

import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from wsolbench import __version__
from wsolbench.record_schema import Provenance
from wsolbench.records import git_state

PACKAGES = ("torch", "torchvision", "numpy", "numba", "scipy", "pillow")


@dataclass(frozen=True)
class Clock:
    """When something started: wall time for the record, monotonic time for durations."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ticks: float = field(default_factory=time.monotonic)


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
    commit, dirty = git_state(Path(__file__).resolve().parents[1])
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
