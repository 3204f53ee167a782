"""The trained network of a run as one file, ``runs/<run-id>/model.pt``: all that a prediction needs.

Weights, class names, method, configuration and recipe, and how its score maps become boxes: the thresholds that were
frozen on train-fullsup, and the percentile of the normalisation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from wsolbench.backbones.registry import build_backbone
from wsolbench.backbones.weights import load_weights
from wsolbench.engine.checkpoint import load_checkpoint, save_checkpoint
from wsolbench.errors import UserError
from wsolbench.method import Method
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method, method_entry
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Record

ConfigT = TypeVar("ConfigT")

CHECKPOINT = "model.pt"
"""The file's name in the folder of its run."""

FROZEN = "_fullsup"
"""End of the metric keys whose threshold was chosen on train-fullsup; one chosen on test is for no other picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptNetwork:
    """What the file holds.

    Attributes:
        run_id: of the run that trained it.
        method: the method's name.
        config: its configuration, as in the run's identity.
        recipe: the resolved recipe.
        class_names: K names, index = label.
        weights: the method's state dict, on the CPU.
        plugin: hash of the local file that the method came from; empty: none, or not known.
        thresholds: metric key -> its operating threshold, frozen on train-fullsup.
        percentile: of the normalisation, for one that has a percentile.
        complete: False for a file of an older version, which lacks the last three.
    """

    run_id: str
    method: str
    config: Mapping[str, Any]
    recipe: Mapping[str, Any]
    class_names: tuple[str, ...]
    weights: Mapping[str, Tensor]
    plugin: str
    thresholds: Mapping[str, float]
    percentile: int | None
    complete: bool


def keep_network(path: Path, method: Method[Any], class_names: Sequence[str], record: Record) -> None:
    """Write a trained network with all that its record says about using it.

    Args:
        path: the file.
        method: trained.
        class_names: K names, index = label.
        record: of the run.
    """
    identity = record.identity
    state = {
        "run_id": record.run_id,
        "method": identity["method"],
        "config": dict(identity["config"]),
        "recipe": dict(identity["recipe"]),
        "class_names": list(class_names),
        "weights": method.state_dict(),
        "plugin": identity.get("plugin", ""),
        "thresholds": frozen_thresholds(record),
        "percentile": record.percentile,
    }
    save_checkpoint(path, state)


def frozen_thresholds(record: Record) -> dict[str, float]:
    """Return the thresholds of a record that were chosen on train-fullsup, by metric key."""
    return {key: t for key, t in record.thresholds.items() if key.endswith(FROZEN)}


def read_network(path: Path) -> KeptNetwork:
    """Read what :func:`keep_network` wrote, of this or an older version.

    Raises:
        UserError: it is damaged, or no network of a finished run.
    """
    try:
        state = load_checkpoint(path)
    except UserError as error:  # what to do about it is not what it is in a training
        raise UserError(
            f"the checkpoint {path} cannot be read; expected the {CHECKPOINT} of a finished run, so copy it again or "
            "train it again"
        ) from error
    needed = ("run_id", "method", "config", "recipe", "class_names", "weights")
    if missing := [name for name in needed if name not in state]:
        raise UserError(
            f"{path} is no network of a finished run (it lacks {', '.join(missing)}); expected its {CHECKPOINT}, "
            "not its last.pt"
        )
    return KeptNetwork(
        **{name: state[name] for name in needed if name != "class_names"},
        class_names=tuple(state["class_names"]),
        plugin=state.get("plugin", ""),
        thresholds=state.get("thresholds", {}),
        percentile=state.get("percentile"),
        complete="thresholds" in state,
    )


def rebuild(kept: KeptNetwork, device: torch.device, plugins: Sequence[Path] = ()) -> tuple[Method[Any], Recipe]:
    """Build the method with its trained weights, in evaluation mode, and the recipe that it was trained by.

    Args:
        kept: the file's content.
        device: where it shall be.
        plugins: local method files.

    Raises:
        UserError: the method's file is missing or another one, or this version builds another network.
    """
    who = f"the network of run {kept.run_id}"
    if kept.method not in find_methods(plugins):
        raise UserError(
            f"{who} is one of '{kept.method}', which is no method of this version; pass that method's file by --plugin"
        )
    kind = load_method(kept.method, plugins)
    if kept.plugin != (method_entry(kept.method, plugins).content_hash() or "") and kept.complete:
        raise UserError(f"{who} was made with another file for the method '{kept.method}'; pass that one by --plugin")
    config, recipe = restored(kind.Config, kept.config, kept.run_id), restored(Recipe, kept.recipe, kept.run_id)
    method = assemble(kind, config, recipe, len(kept.class_names), device)
    try:
        method.load_state_dict(kept.weights)
    except RuntimeError as error:
        raise UserError(
            f"{who} is not the one that {kept.method} builds in this version; use the version that trained it"
        ) from error
    return method.eval(), recipe


def assemble(
    kind: type[Method[Any]],
    config: Any,  # noqa: ANN401
    recipe: Recipe,
    classes: int,
    device: torch.device,
    weights: str = "none",
) -> Method[Any]:
    """Put a method together on its device, with the weights that it starts from.

    The trunk and head are drawn before the method's own layers: methods that share a seed start from the same network.

    Args:
        kind: the method's class.
        config: its configuration.
        recipe: names the backbone and its stride.
        classes: number of classes.
        device: where it shall be.
        weights: of the trunk: ``none``, ``imagenet`` or a path.
    """
    network = build_network(build_backbone(recipe.backbone, recipe.feature_map), classes)
    load_weights(network, weights, recipe.backbone)
    method = kind(network, config)
    return method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def restored(kind: type[ConfigT], values: Mapping[str, Any], run_id: str) -> ConfigT:
    """Return the configuration or recipe that a run was made with.

    Args:
        kind: its class.
        values: its fields.
        run_id: of the run, for the error.

    Raises:
        UserError: this version does not know a field.
    """
    unknown = sorted(values.keys() - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise UserError(
            f"run {run_id} has settings that this version does not know: {', '.join(unknown)}; use the version "
            f"that trained it (`wsolbench explain {run_id}` names the commit)"
        )
    return kind(**values)
