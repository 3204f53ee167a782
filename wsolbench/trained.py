"""A finished run's network, rebuilt from its record and checkpoint, on the data that the record names."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from wsolbench.data.places import Places
from wsolbench.data.registry import open_places
from wsolbench.data.splits import SPLITS
from wsolbench.engine.checkpoint import load_checkpoint
from wsolbench.engine.device import resolve_device
from wsolbench.errors import UserError
from wsolbench.experiment import Plan, build_method
from wsolbench.kept_network import CHECKPOINT, assemble, restored
from wsolbench.method import Method, count_parameters
from wsolbench.plugins import find_methods, load_method, method_entry
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Record
from wsolbench.recorded_data import refuse_other_data
from wsolbench.records import find_record
from wsolbench.supervision import divide


def open_run(
    run: Record, results: Path, *, places: Places, device: str = "auto", plugins: Sequence[Path] = ()
) -> tuple[Plan, Method[Any]]:
    """Return the plan that a run was made by, and its trained method.

    Args:
        run: the run's record.
        results: the folder whose ``runs/`` holds the checkpoint.
        places: where the dataset's files are.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        plugins: local method files.

    Raises:
        UserError: a row without a network, no checkpoint or one that does not fit, other data, another plugin file.
    """
    checkpoint, again = checkpoint_of(run, results), _train_again(run, results)
    plan = _plan(run, places, device, plugins)
    method = build_method(plan)
    try:
        state = load_checkpoint(checkpoint)
    except UserError as error:  # what to do about it is not what it is in a training
        raise UserError(f"the trained network {checkpoint} cannot be read; {again}") from error
    try:
        method.load_state_dict(state["weights"])
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"the network in '{checkpoint}' is not the one that {plan.method.name} builds in this version; {again}"
        ) from error
    return plan, method


def recorded_parameters(run: Record, num_classes: int) -> int | None:
    """Return how many parameters the network of a run has, without making it; None for a method from a file.

    Args:
        run: its record.
        num_classes: of its dataset.
    """
    identity, nowhere = run.identity, torch.device("meta")
    if "plugin" in identity or identity["method"] not in find_methods():
        return None
    kind, recipe = load_method(identity["method"]), restored(Recipe, identity["recipe"], run.run_id)
    with nowhere:
        config = restored(kind.Config, identity["config"], run.run_id)
        return count_parameters(assemble(kind, config, recipe, num_classes, nowhere))


def find_checkpoint(name: str, results: Path) -> Path:
    """Return the file of a trained network.

    Args:
        name: the file, the folder of a run that holds it, a record's path, or the first characters of a run id.
        results: the folder of records and runs, for the last two.

    Raises:
        UserError: there is none.
    """
    path = Path(name)
    if path.is_dir():
        if not (path / CHECKPOINT).is_file():
            raise UserError(
                f"'{name}' holds no {CHECKPOINT}; expected the folder of a trained run, runs/RUN-ID (null rows and "
                "extracted maps have no network)"
            )
        return path / CHECKPOINT
    if path.suffix == ".json" or (name.isalnum() and not path.is_file()):  # what a run id is made of
        return checkpoint_of(find_record(results, name), results)
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint '{name}'; expected a {CHECKPOINT}, its folder runs/RUN-ID, or a run id"
        )
    return path


def checkpoint_of(run: Record, results: Path) -> Path:
    """Return the file of a run's trained network.

    Raises:
        UserError: the row has no network, or it is not there.
    """
    if not run.trainable or "extractor" in run.identity:
        what = "extracted from another run" if run.trainable else "a null row"
        raise UserError(f"run {run.run_id} is {what} and has no network; give the run of a trained method")
    path = results / "runs" / run.run_id / CHECKPOINT
    if not path.is_file():
        again = _train_again(run, results)
        raise UserError(f"the trained network of run {run.run_id} is not in '{path}'; {again}")
    return path


def _train_again(run: Record, results: Path) -> str:
    """Return the advice for a network that is gone."""
    folder = "" if results == Path("results") else f" {shlex.join(['--results', str(results)])}"
    return f"train it again with `{run.provenance.command}{folder} --no-resume`"


def _plan(run: Record, places: Places, device: str, plugins: Sequence[Path]) -> Plan:
    """Return the plan that a run was made by; weights come from its checkpoint."""
    identity = run.identity
    if "plugin" in identity and identity["method"] not in find_methods(plugins):
        raise UserError(
            f"run {run.run_id} used a file for the method '{identity['method']}'; pass that file with --plugin"
        )
    kind = load_method(identity["method"], plugins)
    if method_entry(kind.name, plugins).content_hash() != identity.get("plugin"):
        raise UserError(
            f"run {run.run_id} used another file for the method '{kind.name}'; pass the one it used with --plugin"
        )
    options = {name: str(value) for name, value in identity["dataset_options"].items()}
    dataset = open_places(identity["dataset"], places, options)
    refuse_other_data(run, {split: dataset.fingerprint(split) for split in SPLITS})
    return Plan(
        method=kind,
        config=restored(kind.Config, identity["config"], run.run_id),
        recipe=restored(Recipe, identity["recipe"], run.run_id),
        dataset=dataset,
        division=divide(dataset, kind.supervision),
        weights="none",
        device=resolve_device(device),
        identity=identity,
        run_id=run.run_id,
    )
