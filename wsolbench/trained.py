"""A finished run's network, rebuilt from its record and checkpoint, on the data that the record names."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from wsolbench.backbones.registry import build_backbone
from wsolbench.data.places import Places
from wsolbench.data.registry import open_places
from wsolbench.data.splits import SPLITS
from wsolbench.engine.checkpoint import load_checkpoint
from wsolbench.engine.device import resolve_device
from wsolbench.errors import UserError
from wsolbench.experiment import Plan, build_method
from wsolbench.method import Method, count_parameters
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method, method_entry
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Record
from wsolbench.recorded_data import refuse_other_data
from wsolbench.supervision import divide

ConfigT = TypeVar("ConfigT")


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
    if not run.trainable or "extractor" in run.identity:
        what = "extracted from another run" if run.trainable else "a null row"
        raise UserError(f"run {run.run_id} is {what} and has no network; give the run of a trained method")
    checkpoint = results / "runs" / run.run_id / "model.pt"
    folder = "" if results == Path("results") else f" {shlex.join(['--results', str(results)])}"
    again = f"train it again with `{run.provenance.command}{folder} --no-resume`"
    if not checkpoint.is_file():
        raise UserError(f"the trained network of run {run.run_id} is not in '{checkpoint}'; {again}")
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
    identity = run.identity
    if "plugin" in identity or identity["method"] not in find_methods():
        return None
    kind, recipe = load_method(identity["method"]), _restored(Recipe, identity["recipe"], run)
    with torch.device("meta"):
        network = build_network(build_backbone(recipe.backbone, recipe.feature_map), num_classes)
        return count_parameters(kind(network, _restored(kind.Config, identity["config"], run)))


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
        config=_restored(kind.Config, identity["config"], run),
        recipe=_restored(Recipe, identity["recipe"], run),
        dataset=dataset,
        division=divide(dataset, kind.supervision),
        weights="none",
        device=resolve_device(device),
        identity=identity,
        run_id=run.run_id,
    )


def _restored(kind: type[ConfigT], values: Mapping[str, Any], run: Record) -> ConfigT:
    """Return the configuration or recipe that a record holds."""
    unknown = sorted(values.keys() - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise UserError(
            f"run {run.run_id} has settings that this version does not know: {', '.join(unknown)}; use the version "
            f"that trained it (`wsolbench explain {run.run_id}` names the commit)"
        )
    return kind(**values)
