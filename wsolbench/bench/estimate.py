"""How long runs will take, from how long runs took: images per second of training, seconds per scored image.

A rate is of a kind of run: method, backbone, sizes, batch and arithmetic on one kind of device. The dataset decides how
many images there are, and the epochs how often; a rate therefore carries over from one dataset to another.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from wsolbench.bench.grid import Cell
from wsolbench.record_schema import Record, canonical

START_S = 6.0
"""Seconds that a process takes to import everything, where no probe measured it."""

AROUND_S = 2.5
"""Seconds of a run beside training and scoring: opening the data, event files, checkpoints, the record."""

_SIZES = ("backbone", "image_size", "feature_map", "precision", "batch_size")
_NEEDED = {*_SIZES, "epochs"}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a kind of run is.

    Attributes:
        images_per_s: trained.
        score_s: seconds per scored image; from records, with everything else that is not training.
        around_s: seconds of everything else, where it is not in ``score_s``.
        source: where it is known from.
    """

    images_per_s: float
    score_s: float
    source: str
    around_s: float = 0.0


def training_images(identity: Mapping[str, Any], images: Mapping[str, int]) -> int:
    """Return how many images a run trains on in all its epochs, which are full batches."""
    batch: int = identity["recipe"]["batch_size"]
    epochs: int = identity["recipe"]["epochs"]
    return images["train-weaksup"] // batch * batch * epochs


def kind(identity: Mapping[str, Any]) -> str:
    """Return what tells paces apart: the method with its configuration, the backbone, sizes and arithmetic."""
    return canonical([_loose(identity), identity["config"]])


def _loose(identity: Mapping[str, Any]) -> str:
    """Return the same without the method's configuration, which rarely changes what a step costs."""
    return canonical([identity["method"], *(identity["recipe"].get(name) for name in _SIZES)])


class Paces:
    """The paces that are known, from records and from probes.

    Args:
        records: of finished runs.
        device: in words; records of another one do not count.

    Attributes:
        start_s: seconds that the process of a run takes before it begins.
    """

    def __init__(self, records: Iterable[Record], device: str) -> None:
        self.start_s = START_S
        self._seen: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
        self._probed: dict[str, Pace] = {}
        for record in records:
            rate = record.provenance.train_images_per_s
            if rate and record.provenance.device == device and record.identity["recipe"].keys() >= _NEEDED:
                rest = record.provenance.wall_s - training_images(record.identity, record.images) / rate
                # A resumed run knows the wall time of its last session only: the rest comes out negative.
                score_s = rest / _scored(record.images) if rest > 0 else None
                for key in (kind(record.identity), _loose(record.identity)):
                    self._seen[key].append((rate, score_s))

    def probed(self, identity: Mapping[str, Any], images_per_s: float, score_s: float) -> None:
        """Add what a probe measured."""
        self._probed[kind(identity)] = Pace(
            images_per_s=images_per_s, score_s=score_s, source="measured now", around_s=AROUND_S
        )

    def pace(self, identity: Mapping[str, Any]) -> Pace | None:
        """Return the pace of a run, None if nothing like it was seen."""
        for key, what in ((kind(identity), ""), (_loose(identity), " of other settings")):
            if seen := self._seen.get(key):
                rests = [rest for _, rest in seen if rest is not None]
                return Pace(
                    images_per_s=median(rate for rate, _ in seen),
                    score_s=median(rests) if rests else 0.0,
                    source=f"{len(seen)} record{'s' if len(seen) > 1 else ''}{what}",
                )
            if key in self._probed:
                return self._probed[key]
        return None

    def seconds(self, cell: Cell) -> float | None:
        """Return how long a run should take, None if nothing like it was seen."""
        pace = self.pace(cell.identity)
        if pace is None:
            return None
        training = training_images(cell.identity, cell.images) / pace.images_per_s
        return self.start_s + pace.around_s + training + pace.score_s * _scored(cell.images)


def _scored(images: Mapping[str, int]) -> int:
    """Return how many images a run scores."""
    return sum(images.get(split, 0) for split in ("train-fullsup", "test"))


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long runs take that are given, in order, to whichever worker is free first.

    >>> makespan([3, 1, 1, 1], 2)
    3
    """
    free: list[float] = [0] * workers
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


class Remaining:
    """The time left, refined by every run that finishes.

    Args:
        paces: what was known before the start.
        workers: how many runs go on at once.
    """

    def __init__(self, paces: Paces, workers: int) -> None:
        self._paces, self._workers = paces, workers
        self._took: dict[str, list[float]] = defaultdict(list)
        self._compared: list[tuple[float, float]] = []

    def finished(self, cell: Cell, seconds: float) -> None:
        """Take note of how long a run took."""
        self._took[self._like(cell)].append(seconds)
        if (expected := self._paces.seconds(cell)) is not None:
            self._compared.append((expected, seconds))

    def expected(self, cell: Cell) -> float | None:
        """Return how long a run should take: as its finished twins did, else as estimated, corrected by all others."""
        if took := self._took.get(self._like(cell)):
            return sum(took) / len(took)
        seconds = self._paces.seconds(cell)
        return None if seconds is None else seconds * self._correction()

    def left(self, waiting: Sequence[Cell], running: Sequence[tuple[Cell, float]]) -> float | None:
        """Return the seconds until all are done.

        Args:
            waiting: not started.
            running: with the seconds that each has run for.

        Returns:
            None where some run's length is unknown.
        """
        ahead = [
            None if (seconds := self.expected(cell)) is None else max(seconds - since, 0) for cell, since in running
        ]
        ahead += [self.expected(cell) for cell in waiting]
        known = [seconds for seconds in ahead if seconds is not None]
        return makespan(known, self._workers) if len(known) == len(ahead) else None

    def _correction(self) -> float:
        """Return how much longer runs took than estimated."""
        expected = sum(each for each, _ in self._compared)
        return sum(took for _, took in self._compared) / expected if expected else 1.0

    @staticmethod
    def _like(cell: Cell) -> str:
        return canonical([*cell.group, dict(cell.images)])
