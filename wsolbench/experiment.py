"""The main path: one method on one dataset, from the user's request to a record.

Resolve what decides the numbers, name the run by it, train, score, write. Everything a run does is here in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsolbench.backbones.registry import backbone_entry
from wsolbench.backbones.weights import weights_identity
from wsolbench.config import as_dict, override
from wsolbench.data.bank import ImageBank
from wsolbench.data.decoded import decoded_images
from wsolbench.data.registry import open_places
from wsolbench.data.splits import SPLITS, Dataset, SplitName
from wsolbench.engine.device import (
    determinism,
    device_name,
    peak_memory_mb,
    reset_peak_memory,
    resolve_device,
    resolve_precision,
)
from wsolbench.engine.fit import Fitted, fit
from wsolbench.engine.seeding import derive_seed
from wsolbench.errors import UserError, unknown_name
from wsolbench.failures import forget_failure
from wsolbench.files import refuse_unwritable
from wsolbench.kept_network import CHECKPOINT, assemble, keep_network
from wsolbench.locks import hold, run_lock
from wsolbench.method import Method, Preset, count_parameters
from wsolbench.null_rows import write_null_rows
from wsolbench.outcome import SCORED, Scored, hit_arrays, keep_outputs, make_record, refuse_damaged, score_splits
from wsolbench.plugins import load_method, method_entry
from wsolbench.protocols import PROTOCOL_VERSION
from wsolbench.provenance import Clock, join_sessions, provenance
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Provenance, identity_hash
from wsolbench.records import read_record, record_path, write_hits, write_record
from wsolbench.request import Request, option_name
from wsolbench.supervision import Division, divide, refuse_partial, with_masks

OF_OPTIONS = frozenset(
    (
        "backbone",
        "weights",
        "precision",
        "normalization",
        "seed",
        "epochs",
        "image_size",
        "feature_map",
        "deterministic",
    )
)
"""Recipe fields that have an option of their own and are not taken from ``--set``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A request with every default filled in: what the run's identity is made of.

    Attributes:
        method: the method's class.
        config: its configuration.
        recipe: the training recipe.
        dataset: the opened dataset.
        division: which of its images the method trains on and is scored on.
        weights: ``none``, ``imagenet`` or a path (the recipe holds the content's name).
        device: where to run.
        identity: everything that decides the numbers.
        run_id: its hash.
    """

    method: type[Method[Any]]
    config: Any
    recipe: Recipe
    dataset: Dataset
    division: Division
    weights: str
    device: torch.device
    identity: Mapping[str, Any]
    run_id: str


def run(request: Request) -> Path:
    """Train and score one method, or return the record that is already there.

    Args:
        request: what to do.

    Returns:
        The record's path. Checkpoint, raw maps and logits lie in ``<results>/runs/<run-id>/``.

    Raises:
        UserError: the request cannot be carried out as it is; HeldError: another process is at this run.
        RunError: training or scoring failed.
    """
    clock = Clock()
    plan = make_plan(request)
    refuse_partial(plan.dataset, SPLITS, allowed=request.allow_partial)
    path = record_path(plan.identity, request.results)
    run_dir = request.results / "runs" / plan.run_id
    if request.save_maps is not None:
        refuse_unwritable("--save-maps", request.save_maps)
    if request.resume and path.is_file():
        refuse_damaged(path, "move it away or use --no-resume")
        _credit(path, request)
    else:
        refuse_unwritable("--results", request.results)
        with hold(run_lock(plan.run_id, request.results), f"run {plan.run_id}"):
            _run(plan, request, clock, run_dir)
    if request.save_maps is not None:
        _save_maps(run_dir, request.save_maps)
    return path


def _credit(path: Path, request: Request) -> None:
    """Say in a record that is there already which study chose it: more trials may choose the same."""
    if request.tuned is not None and (record := read_record(path)).tuned != request.tuned:
        write_record(replace(record, tuned=request.tuned), request.results)


def _run(plan: Plan, request: Request, clock: Clock, run_dir: Path) -> None:
    """Train, score and record; the run is this process's alone."""
    if request.resume and record_path(plan.identity, request.results).is_file():
        return  # of a process that held the run until a moment ago
    done = train_and_score(plan, request, clock, run_dir)
    keep_outputs(plan.division, done.splits, run_dir)
    record = make_record(
        plan.identity,
        plan.division,
        done.splits,
        done.origin,
        done.fitted.history,
        tuned=request.tuned,
        parameters=count_parameters(done.method),
    )
    keep_network(run_dir / CHECKPOINT, done.method, plan.dataset.class_names, record)
    write_null_rows(
        plan.dataset,
        plan.recipe.image_size,
        record.map_size,
        request.results,
        done.origin.command,
        done.clock.code,
        plan.recipe.normalization,
    )
    write_hits(
        record_path(plan.identity, request.results).with_suffix(".npz"),
        **hit_arrays(done.splits, plan.division, plan.recipe.image_size),
    )
    write_record(record, request.results)
    forget_session(run_dir)  # model.pt has the weights, and nothing is left to resume
    forget_failure(plan.identity, request.results)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What training and scoring give.

    Attributes:
        method: trained.
        splits: each split that was asked for, scored.
        fitted: history and speed.
        origin: where it comes from.
        clock: of this session, with the code of all of them.
    """

    method: Method[Any]
    splits: Scored
    fitted: Fitted
    origin: Provenance
    clock: Clock


def train_and_score(
    plan: Plan, request: Request, clock: Clock, run_dir: Path, scored: Sequence[SplitName] = SCORED
) -> Trained:
    """Train a method, from its last checkpoint if there is one, and score it.

    Args:
        plan: what to train.
        request: where files are, and whether to resume.
        clock: made at the start.
        run_dir: folder of the checkpoint.
        scored: the splits to score; of others neither pictures nor boxes are opened.

    Raises:
        RunError: training or scoring failed.
    """
    if not request.resume:
        (run_dir / "last.pt").unlink(missing_ok=True)
    reset_peak_memory(plan.device)
    with determinism(plan.recipe.deterministic):
        method = build_method(plan)
        # All splits now: a damaged test picture should not cost a training first.
        training, banks = _training_bank(plan, request), scoring_banks(plan, request.cache, request.quiet, scored)
        clock = join_sessions(run_dir / "sessions.log", clock, resumed=(run_dir / "last.pt").is_file())
        fitted = fit(
            method,
            training,
            torch.from_numpy(plan.division.train.labels),
            plan.recipe,
            run_dir=run_dir,
            run_id=plan.run_id,
            epoch_images=plan.division.epoch_images,
            quiet=request.quiet,
        )
        splits = score_splits(method, plan.division, banks, plan.recipe.normalization, quiet=request.quiet)
    origin = origin_of(plan, clock, resolved(request, plan).command, fitted)
    return Trained(method=method, splits=splits, fitted=fitted, origin=origin, clock=clock)


def resolved(request: Request, plan: Plan) -> Request:
    """Say what the plan found: what auto was here, it may not be elsewhere; a preset's backbone is better said."""
    return replace(request, backbone=plan.recipe.backbone, precision=plan.recipe.precision)


def origin_of(plan: Plan, clock: Clock, command: str, fitted: Fitted | None) -> Provenance:
    """Return where a record that is finished now comes from; ``fitted`` is None where training failed."""
    return provenance(
        clock,
        command,
        device=device_name(plan.device),
        train_images_per_s=None if fitted is None else fitted.images / fitted.seconds,
        peak_memory_mb=peak_memory_mb(plan.device),
    )


def forget_session(run_dir: Path) -> None:
    """Remove what a finished run would have been resumed from."""
    for name in ("last.pt", "sessions.log"):
        (run_dir / name).unlink(missing_ok=True)


def make_plan(request: Request, splits: Sequence[SplitName] = SPLITS, dataset: Dataset | None = None) -> Plan:
    """Fill in every default and name the run; trains nothing and reads no picture.

    What decides a setting, weakest first: the recipe's and the backbone's defaults, the dataset's, the preset's, the
    options, ``--set``. The method's configuration is the preset's or the method's default, then ``--set``.

    Args:
        request: what the user asked for.
        splits: those whose fingerprints are part of the run's identity; tuning leaves ``test`` out.
        dataset: the request's, opened already; None: it is opened.
    """
    method = load_method(request.method, request.plugins)
    preset = None if request.preset is None else named_preset(method, request.preset)
    dataset = dataset or open_places(request.dataset, request.places, request.data_options)
    device = resolve_device(request.device)
    backbone = request.backbone or (Recipe().backbone if preset is None else preset.backbone)
    trunk = backbone_entry(backbone)
    start = preset or Preset(backbone=backbone, config=method.defaults(backbone))
    weights = request.weights or ("imagenet" if trunk.weights else "none")
    of_method, of_recipe = _split_settings(method, request.settings)
    defaults = dict(dataset.defaults)
    if defaults.get("feature_map", trunk.strides[0]) not in trunk.strides:
        defaults["feature_map"] = min(trunk.strides)  # a dataset of small images asks for a finer map than this has
    chosen = {
        "feature_map": trunk.strides[0],
        "image_size": dataset.image_size,
        **defaults,
        **start.recipe,
        **request.recipe,
        "backbone": backbone,
        "weights": weights_identity(weights, backbone),
        "precision": resolve_precision(request.precision, device),
    }
    recipe = override(Recipe(**chosen), of_recipe)
    config = override(start.config, of_method)
    division = divide(dataset, method.supervision)
    identity = _identity(request, config, recipe, division, device, splits)
    return Plan(
        method=method,
        config=config,
        recipe=recipe,
        dataset=dataset,
        division=division,
        weights=weights,
        device=device,
        identity=identity,
        run_id=identity_hash(identity),
    )


def named_preset(method: type[Method[Any]], name: str) -> Preset:
    """Return one of a method's presets.

    Raises:
        UserError: the method has none, or none of that name; the nearest name is suggested.
    """
    if not method.presets:
        raise UserError(f"{method.name} has no presets; leave out --preset {name}")
    if name not in method.presets:
        raise unknown_name(f"preset of {method.name}", name, method.presets)
    return method.presets[name]


def _split_settings(method: type[Method[Any]], settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the method's and the recipe's part of ``--set``; raise UserError for what is neither's."""
    of_method = {entry.name for entry in fields(method.Config)}
    of_recipe = {entry.name for entry in fields(Recipe)} - OF_OPTIONS - {"world_size"}
    for name in settings:
        if name in OF_OPTIONS:
            raise UserError(f"{name} is not taken from --set; use {option_name(name)}")
        if name not in of_method | of_recipe:
            raise unknown_name("setting", name, of_method | of_recipe)
    return (
        {name: text for name, text in settings.items() if name in of_method},
        {name: text for name, text in settings.items() if name in of_recipe},
    )


def _identity(
    request: Request,
    config: Any,  # noqa: ANN401
    recipe: Recipe,
    division: Division,
    device: torch.device,
    splits: Sequence[SplitName],
) -> dict[str, Any]:
    """Return everything that decides a run's numbers, as plain JSON values."""
    dataset = division.dataset
    identity = {
        "method": request.method,
        "config": as_dict(config),
        "backbone": recipe.backbone,
        "dataset": dataset.name,
        "dataset_options": dict(dataset.options),
        "recipe": as_dict(recipe),
        "fingerprints": {split: dataset.fingerprint(split) for split in splits},
        "protocol": PROTOCOL_VERSION,
        "device_type": device.type,  # random numbers are drawn there, and differ from one kind of device to another
    }
    if (content := method_entry(request.method, request.plugins).content_hash()) is not None:
        identity["plugin"] = content
    if division.identity is not None:
        identity["supervision"] = division.identity
    return identity


def build_method(plan: Plan) -> Method[Any]:
    """Build the method with its initial weights on the device.

    The trunk and head are drawn before the method's own layers, from a stream of the seed alone: methods that share a
    seed start from the same network.
    """
    torch.manual_seed(derive_seed(plan.recipe.seed, "weights"))
    classes = len(plan.dataset.class_names)
    return assemble(plan.method, plan.config, plan.recipe, classes, plan.device, plan.weights)


def _training_bank(plan: Plan, request: Request) -> ImageBank:
    """Return the training pictures at the resized side, with masks if the method trains on them."""
    pictures = decoded_images(plan.division.train, plan.recipe.resized_side, request.cache, request.quiet)
    if plan.division.boxes is not None:
        pictures = with_masks(np.asarray(pictures), plan.division.boxes)  # in memory: train-fullsup is small
    return ImageBank(pictures, plan.device, request.quiet)


def scoring_banks(
    plan: Plan, cache: Path | None, quiet: bool, scored: Sequence[SplitName] = SCORED
) -> dict[SplitName, ImageBank]:
    """Return the pictures that are scored at the evaluation size.

    Args:
        plan: of the run.
        cache: folder of the decoded images; None: the user's; ``none``: nowhere.
        quiet: plain progress lines.
        scored: the splits.
    """
    side = plan.recipe.image_size
    return {
        split: ImageBank(decoded_images(plan.division.images(split), side, cache, quiet), plan.device, quiet)
        for split in scored
    }


def _save_maps(run_dir: Path, folder: Path) -> None:
    """Write each raw map of a finished run where ``wsolbench evaluate`` finds it: ``<split>/<image id>.npy``."""
    for split in SCORED:
        kept = run_dir / f"{split}.npz"
        if not kept.is_file():
            raise UserError(f"the raw maps of the run are not in '{kept}' any more; make them again with --no-resume")
        with np.load(kept) as arrays:
            ids, maps = arrays["ids"], arrays["maps"]
        for image, raw in zip(ids, maps, strict=True):
            path = folder / split / f"{image}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, raw)
