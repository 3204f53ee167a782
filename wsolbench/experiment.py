"""The main path: one method on one dataset, from the user's request to a record.

Resolve what decides the numbers, name the run by it, train, score, write. Everything a run does is here in order.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsolbench.backbones.registry import backbone_entry, build_backbone
from wsolbench.backbones.weights import load_weights, weights_identity
from wsolbench.config import as_dict, override
from wsolbench.data.bank import ImageBank
from wsolbench.data.cache import cached_images, default_cache_dir
from wsolbench.data.registry import open_dataset
from wsolbench.data.splits import SPLITS, Dataset, SplitName
from wsolbench.engine.checkpoint import save_checkpoint
from wsolbench.engine.device import (
    determinism,
    device_name,
    peak_memory_mb,
    reset_peak_memory,
    resolve_device,
    resolve_precision,
)
from wsolbench.engine.fit import Fitted, fit
from wsolbench.engine.infer import Inference, infer
from wsolbench.engine.seeding import derive_seed
from wsolbench.errors import RunError, UserError, unknown_name
from wsolbench.files import refuse_unwritable
from wsolbench.method import Method
from wsolbench.network import build_network
from wsolbench.null_rows import write_null_rows
from wsolbench.plugins import load_method, method_entry
from wsolbench.protocols import PROTOCOL_VERSION, SplitScores, label_ranks
from wsolbench.provenance import Clock, join_sessions, provenance
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Record, identity_hash
from wsolbench.records import read_record, record_path, write_hits, write_record
from wsolbench.request import Request, option_name
from wsolbench.scoring import BoxScorer, score_with_slices

SCORED: tuple[SplitName, ...] = ("train-fullsup", "test")

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
        weights: ``none``, ``imagenet`` or a path (the recipe holds the content's name).
        device: where to run.
        identity: everything that decides the numbers.
        run_id: its hash.
    """

    method: type[Method[Any]]
    config: Any
    recipe: Recipe
    dataset: Dataset
    weights: str
    device: torch.device
    identity: Mapping[str, Any]
    run_id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredSplit:
    """What scoring one split gives: hits and ranks for the protocol, and the network's outputs."""

    scores: SplitScores
    inference: Inference


def run(request: Request) -> Path:
    """Train and score one method, or return the record that is already there.

    Args:
        request: what to do.

    Returns:
        The record's path. Checkpoint, raw maps and logits lie in ``<results>/runs/<run-id>/``.

    Raises:
        UserError: the request cannot be carried out as it is.
        RunError: training or scoring failed.
    """
    clock = Clock()
    plan = make_plan(request)
    path = record_path(plan.identity, request.results)
    run_dir = request.results / "runs" / plan.run_id
    if request.save_maps is not None:
        refuse_unwritable("--save-maps", request.save_maps)
    if request.resume and path.is_file():
        _refuse_damaged(path)
    else:
        _run(plan, request, clock, run_dir)
    if request.save_maps is not None:
        _save_maps(run_dir, request.save_maps)
    return path


def _run(plan: Plan, request: Request, clock: Clock, run_dir: Path) -> None:
    """Train, score and record."""
    refuse_unwritable("--results", request.results)
    if not request.resume:
        (run_dir / "last.pt").unlink(missing_ok=True)
    reset_peak_memory(plan.device)
    with determinism(plan.recipe.deterministic):
        method = build_method(plan)
        banks = _decode(plan, request)  # all of them now: a damaged test picture should not cost a training first
        clock = join_sessions(run_dir / "sessions.log", clock, resumed=(run_dir / "last.pt").is_file())
        labels = torch.from_numpy(plan.dataset.images("train-weaksup").labels)
        fitted = fit(
            method,
            banks["train-weaksup"],
            labels,
            plan.recipe,
            run_dir=run_dir,
            run_id=plan.run_id,
            quiet=request.quiet,
        )
        splits = {split: score_split(method, plan, split, banks[split], request.quiet) for split in SCORED}
    _keep(method, plan, splits, run_dir)
    command = replace(request, precision=plan.recipe.precision).command  # what auto was here, it may not be elsewhere
    record = _record(plan, fitted, splits, clock, command)
    write_null_rows(plan.dataset, plan.recipe.image_size, record.map_size, request.results, command, clock.code)
    write_hits(record_path(plan.identity, request.results).with_suffix(".npz"), **_hit_arrays(splits))
    write_record(record, request.results)
    for name in ("last.pt", "sessions.log"):  # model.pt has the weights, and nothing is left to resume
        (run_dir / name).unlink(missing_ok=True)


def make_plan(request: Request) -> Plan:
    """Fill in every default and name the run; trains nothing and reads no picture."""
    method = load_method(request.method, request.plugins)
    dataset = open_dataset(request.dataset, request.data_root, request.data_options)
    device = resolve_device(request.device)
    trunk = backbone_entry(request.backbone)
    weights = request.weights or ("imagenet" if trunk.weights else "none")
    of_method = {entry.name for entry in fields(method.Config)}
    of_recipe = {entry.name for entry in fields(Recipe)} - OF_OPTIONS - {"world_size"}
    for name in request.settings:
        if name in OF_OPTIONS:
            raise UserError(f"{name} is not taken from --set; use {option_name(name)}")
        if name not in of_method | of_recipe:
            raise unknown_name("setting", name, of_method | of_recipe)
    chosen = {
        "feature_map": trunk.strides[0],
        "image_size": dataset.image_size,
        **dataset.defaults,
        **request.recipe,
        "backbone": request.backbone,
        "weights": weights_identity(weights, request.backbone),
        "precision": resolve_precision(request.precision, device),
    }
    recipe = override(Recipe(**chosen), {k: v for k, v in request.settings.items() if k in of_recipe})
    config = override(method.defaults(request.backbone), {k: v for k, v in request.settings.items() if k in of_method})
    identity = {
        "method": method.name,
        "config": as_dict(config),
        "backbone": request.backbone,
        "dataset": dataset.name,
        "dataset_options": dict(dataset.options),
        "recipe": as_dict(recipe),
        "fingerprints": {split: dataset.fingerprint(split) for split in SPLITS},
        "protocol": PROTOCOL_VERSION,
        "device_type": device.type,  # random numbers are drawn there, and differ from one kind of device to another
    }
    if (content := method_entry(request.method, request.plugins).content_hash()) is not None:
        identity["plugin"] = content
    return Plan(
        method=method,
        config=config,
        recipe=recipe,
        dataset=dataset,
        weights=weights,
        device=device,
        identity=identity,
        run_id=identity_hash(identity),
    )


def build_method(plan: Plan) -> Method[Any]:
    """Build the method with its initial weights on the device.

    The trunk and head are drawn before the method's own layers, from a stream of the seed alone: methods that share a
    seed start from the same network.
    """
    torch.manual_seed(derive_seed(plan.recipe.seed, "weights"))
    backbone = build_backbone(plan.recipe.backbone, plan.recipe.feature_map)
    network = build_network(backbone, len(plan.dataset.class_names))
    load_weights(network, plan.weights, plan.recipe.backbone)
    method = plan.method(network, plan.config)
    return method.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _decode(plan: Plan, request: Request) -> dict[SplitName, ImageBank]:
    """Return every split's decoded images: at the resized side for training, at the evaluation size for scoring."""
    cache = request.cache or default_cache_dir()
    sides: dict[SplitName, int] = dict.fromkeys(SCORED, plan.recipe.image_size) | {
        "train-weaksup": plan.recipe.resized_side
    }
    return {
        split: ImageBank(cached_images(plan.dataset.images(split), side, cache, request.quiet), plan.device)
        for split, side in sides.items()
    }


def score_split(method: Method[Any], plan: Plan, split: SplitName, images: ImageBank, quiet: bool) -> ScoredSplit:
    """Score one split: the network forward, with boxes scored beside it."""
    annotations = plan.dataset.annotations(split)
    assert annotations.ids == plan.dataset.images(split).ids, "pictures and boxes are in the same order"
    labels = torch.from_numpy(annotations.labels)
    with BoxScorer(annotations, plan.recipe.image_size) as scorer:
        inference = infer(method, images, labels, scorer.submit, label=f"{method.name}, {split}", quiet=quiet)
        hits = scorer.hits()
    ranks = _ranks(inference.logits, annotations.labels, split)
    scores = SplitScores(hits=hits, ranks=ranks, num_classes=len(plan.dataset.class_names))
    return ScoredSplit(scores=scores, inference=inference)


def _ranks(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], split: SplitName) -> npt.NDArray[np.int64]:
    """Return the labels' ranks; an image with NaN among its logits is wrong at every k."""
    finite = np.asarray(np.isfinite(logits).all(axis=1), dtype=bool)
    if not finite.any():
        raise RunError(
            f"no image of {split} has finite logits: training diverged; lower the learning rate (--set lr=...)"
        )
    ranks = label_ranks(np.where(finite[:, None], logits, 0), labels)
    ranks[~finite] = logits.shape[1]
    return ranks


def _refuse_damaged(path: Path) -> None:
    """Raise UserError if the record that is already there cannot be used."""
    try:
        read_record(path)
    except ValueError as error:
        raise UserError(f"'{path}' is there but unusable: {error}; move it away or use --no-resume") from None


def _keep(method: Method[Any], plan: Plan, splits: Mapping[SplitName, ScoredSplit], run_dir: Path) -> None:
    """Keep the trained network and, for a later re-score, the raw maps and logits."""
    state = {
        "run_id": plan.run_id,
        "method": plan.method.name,
        "config": as_dict(plan.config),
        "recipe": asdict(plan.recipe),
        "class_names": list(plan.dataset.class_names),
        "weights": method.state_dict(),
    }
    save_checkpoint(run_dir / "model.pt", state)
    for split, scored in splits.items():
        ids = np.array(plan.dataset.annotations(split).ids)
        write_hits(run_dir / f"{split}.npz", ids=ids, maps=scored.inference.raw_maps, logits=scored.inference.logits)


def _record(plan: Plan, fitted: Fitted, splits: Mapping[SplitName, ScoredSplit], clock: Clock, command: str) -> Record:
    """Score the protocol's metrics and put the record together."""
    scores, slices = score_with_slices(
        {split: scored.scores for split, scored in splits.items()}, plan.dataset, plan.recipe.image_size
    )
    counts = {
        f"{kind}_maps_{split}": int(getattr(scored.inference, kind).sum())
        for split, scored in splits.items()
        for kind in ("constant", "invalid")
    }
    for split, scored in splits.items():
        counts[f"invalid_logits_{split}"] = int((~np.isfinite(scored.inference.logits).all(axis=1)).sum())
    height, width = splits["test"].inference.raw_maps.shape[1:]
    return Record(
        identity=plan.identity,
        trainable=True,
        headline=plan.dataset.headline,
        metrics=scores.metrics,
        thresholds=scores.thresholds,
        absent=scores.absent,
        slices=slices,
        images={split: len(plan.dataset.images(split)) for split in SPLITS},
        counts=counts,
        map_size=(height, width),
        provenance=provenance(
            clock,
            command,
            device=device_name(plan.device),
            train_images_per_s=fitted.images / fitted.seconds,
            peak_memory_mb=peak_memory_mb(plan.device),
        ),
        history=fitted.history,
    )


def _hit_arrays(splits: Mapping[SplitName, ScoredSplit]) -> dict[str, npt.NDArray[Any]]:
    """Return the hits and label ranks of every scored split as named arrays."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, scored in splits.items():
        assert scored.scores.ranks is not None
        arrays |= {f"{split}/{name}": array for name, array in scored.scores.hits.arrays().items()}
        arrays[f"{split}/ranks"] = scored.scores.ranks
    return arrays


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
