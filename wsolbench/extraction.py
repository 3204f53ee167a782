"""The main path of a post-hoc extractor: a finished run's network, maps made by a formula, a record of its own."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wsolbench.data.places import Places
from wsolbench.engine.device import determinism, device_name, peak_memory_mb, reset_peak_memory
from wsolbench.errors import unknown_name
from wsolbench.experiment import Plan, scoring_banks
from wsolbench.files import refuse_unwritable
from wsolbench.method import Method, count_parameters
from wsolbench.null_rows import write_null_rows
from wsolbench.outcome import hit_arrays, keep_outputs, make_record, refuse_damaged, score_splits
from wsolbench.posthoc import EXTRACTORS, extractor
from wsolbench.provenance import Clock, provenance
from wsolbench.record_schema import Record, Tuned, identity_hash
from wsolbench.records import find_record, record_path, write_hits, write_record
from wsolbench.trained import open_run


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What the user asked for; None is "the default".

    Attributes:
        extractor: ``gradcam`` or ``layercam``.
        run: the first characters of a run id, or a record's path.
        point: where features and gradients are taken; None: the network's last point.
        places: where the dataset's files are; its cache is that of the decoded images.
        results: folder of records and runs.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        plugins: local method files.
        quiet: plain progress lines.
    """

    extractor: str
    run: str
    point: str | None = None
    places: Places = field(default_factory=Places)
    results: Path = Path("results")
    device: str = "auto"
    plugins: Sequence[Path] = ()
    quiet: bool = False

    @property
    def command(self) -> str:
        """The command line that repeats this extraction."""
        words = ["wsolbench", "extract", self.extractor, self.run]
        words += [] if self.point is None else ["--point", self.point]
        words += self.places.options()
        words += [word for path in self.plugins for word in ("--plugin", str(path))]
        return shlex.join(words)


def extract(asked: Extraction) -> Path:
    """Score the maps that an extractor makes of a finished run, or return the record that is already there.

    Args:
        asked: what to do.

    Returns:
        The record's path. Its identity is the run's, with ``extractor`` added; raw maps and logits lie in
        ``<results>/runs/<its run-id>/``.

    Raises:
        UserError: no such run, extractor or point; no trained network, another dataset, or a method without logits.
    """
    clock = Clock()
    if asked.extractor not in EXTRACTORS:
        raise unknown_name("extractor", asked.extractor, EXTRACTORS)
    run = find_record(asked.results, asked.run)
    plan, method = _prepare(run, asked)
    path = record_path(plan.identity, asked.results)
    if path.is_file():
        refuse_damaged(path, "move it away")
    else:
        _extract(plan, method, replace(asked, run=run.run_id), clock, path, run.tuned)
    return path


def _extract(plan: Plan, method: Method[Any], asked: Extraction, clock: Clock, path: Path, tuned: Tuned | None) -> None:
    """Score and record."""
    refuse_unwritable("--results", asked.results)
    reset_peak_memory(plan.device)
    predict = extractor(method, plan.identity["extractor"]["point"], EXTRACTORS[asked.extractor])
    with determinism(plan.recipe.deterministic):
        banks = scoring_banks(plan, asked.places.cache, asked.quiet)
        splits = score_splits(
            method, plan.division, banks, plan.recipe.normalization, quiet=asked.quiet, predict=predict
        )
    keep_outputs(plan.division, splits, asked.results / "runs" / plan.run_id)
    origin = provenance(
        clock,
        asked.command,
        device=device_name(plan.device),
        train_images_per_s=None,
        peak_memory_mb=peak_memory_mb(plan.device),
    )
    record = make_record(
        plan.identity, plan.division, splits, origin, [], tuned=tuned, parameters=count_parameters(method)
    )
    side, normalization = plan.recipe.image_size, plan.recipe.normalization
    write_null_rows(plan.dataset, side, record.map_size, asked.results, asked.command, clock.code, normalization)
    write_hits(path.with_suffix(".npz"), **hit_arrays(splits, plan.division, side))
    write_record(record, asked.results)


def _prepare(run: Record, asked: Extraction) -> tuple[Plan, Method[Any]]:
    """Return the plan of an extraction and the trained method, frozen."""
    plan, method = open_run(run, asked.results, places=asked.places, device=asked.device, plugins=asked.plugins)
    points = method.network.points
    if asked.point is not None and asked.point not in points:
        raise unknown_name("point", asked.point, points)
    point = list(points)[-1] if asked.point is None else asked.point
    identity = {**run.identity, "extractor": {"name": asked.extractor, "point": point}}
    method.requires_grad_(False)  # the only gradient wanted is that of the features
    return replace(plan, identity=identity, run_id=identity_hash(identity)), method
