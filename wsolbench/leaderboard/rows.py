"""A row of the leaderboard: one method and configuration, and its numbers over the seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsolbench.record_schema import Record, Slice, Tuned

Key = tuple[str, str]
"""(slice name, metric key); the slice of all test images is the empty text."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric over the seeds that have it.

    Attributes:
        mean: percent.
        std: sample standard deviation (n - 1), None for one seed.
        n: number of seeds.
    """

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One (method, config) with its seeds. Numbers are computed when asked for: a printed table needs few of them.

    Attributes:
        label: the method's name, with the config fields that tell it from its neighbours: ``has (cell=8)``; with the
            extractor of post-hoc maps: ``cam + gradcam``.
        records: one per seed, at least one, sorted by seed.
    """

    label: str
    records: tuple[Record, ...]

    @property
    def method(self) -> str:
        """The method's name."""
        name: str = self.records[0].identity["method"]
        return name

    @property
    def config(self) -> Mapping[str, Any]:
        """All fields of the method's config."""
        config: Mapping[str, Any] = self.records[0].identity["config"]
        return config

    @property
    def extractor(self) -> str:
        """The name of the post-hoc extractor that made the maps; empty: the method's own maps."""
        name: str = self.records[0].identity.get("extractor", {}).get("name", "")
        return name

    @property
    def supervision(self) -> Mapping[str, Any]:
        """What a method that trains on more than labels used, as in the identity; empty for all others."""
        supervision: Mapping[str, Any] = self.records[0].identity.get("supervision", {})
        return supervision

    @property
    def tuned(self) -> Tuned | None:
        """The study that chose the hyperparameters; None where they were given."""
        return self.records[0].tuned

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.records)

    def mentions(self, key: Key) -> bool:
        """Whether a seed has the metric or says why not."""
        part, name = key
        found = [_part(record, part) for record in self.records]
        return any(name in scored.metrics or name in scored.absent for scored in found if scored)

    def keys(self) -> list[Key]:
        """Return what at least one seed has, or says why not; sorted."""
        parts: list[tuple[str, Record | Slice]] = [("", record) for record in self.records]
        parts += [item for record in self.records for item in record.slices.items()]
        return sorted({(part, name) for part, scored in parts for name in (*scored.metrics, *scored.absent)})

    def score(self, key: Key) -> Score | None:
        """Return mean and sample standard deviation over the seeds that have the metric, None if none has it."""
        part, name = key
        sources = [_metrics(record, part) for record in self.records]
        return mean_score([metrics[name] for metrics in sources if name in metrics])

    def by_seed(self, key: Key) -> dict[int, float]:
        """Return seed -> the metric in percent, of the seeds that have it."""
        part, name = key
        found = {record.identity["recipe"]["seed"]: _metrics(record, part) for record in self.records}
        return {seed: metrics[name] for seed, metrics in found.items() if name in metrics}

    def reason(self, key: Key) -> str:
        """Return why seeds lack a metric; empty if all have it."""
        part, name = key
        without = [record for record in self.records if name not in _metrics(record, part)]
        return "; ".join(sorted({_reason(record, part, name) for record in without}))

    def images(self, part: str) -> int | None:
        """Return the number of test images in a slice (the empty text: all), None if it is not recorded."""
        record = self.records[0]
        if not part:
            return record.images.get("test")
        return record.slices[part].images if part in record.slices else None


def _part(record: Record, part: str) -> Record | Slice | None:
    """Return the slice, the record itself for the empty text, None where the slice was not scored."""
    return record.slices.get(part) if part else record


def _metrics(record: Record, part: str) -> Mapping[str, float]:
    scored = _part(record, part)
    return scored.metrics if scored else {}


def _reason(record: Record, part: str, name: str) -> str:
    scored = _part(record, part)
    return scored.absent.get(name, "not recorded") if scored else "not recorded"


def mean_score(values: Sequence[float]) -> Score | None:
    """Return mean and sample standard deviation, None without a value."""
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n  # fsum: exact, so the order of the seeds does not matter
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None
    return Score(mean=mean, std=spread, n=n)
