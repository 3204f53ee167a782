"""The runs of a grid: which there are, what names each, and whether it can be carried out at all.

Every cell is planned before anything is trained, so that a wrong name or a missing file is refused at once and not in
the middle of the night.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from wsolbench.backbones.registry import backbone_entry, build_backbone
from wsolbench.bench.recipes import Block, GridRow
from wsolbench.data.places import Places
from wsolbench.data.registry import dataset_entry, open_places
from wsolbench.data.splits import SPLITS, Dataset
from wsolbench.errors import UserError
from wsolbench.experiment import OF_OPTIONS, Plan, make_plan, resolved
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method
from wsolbench.record_schema import identity_hash
from wsolbench.request import Request
from wsolbench.supervision import refuse_partial
from wsolbench.trials import read_choice, with_choice


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one dataset is and which of its options are taken.

    Attributes:
        data_root: folder or archive of the images.
        metadata: folder of split files.
        masks_root: folder of the masks.
        options: the dataset's options, as text.
    """

    data_root: Path | None = None
    metadata: Path | None = None
    masks_root: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the user asked for.

    Attributes:
        blocks: rows, backbones and datasets.
        seeds: of each run.
        shared: a request with what all runs share; its method, dataset, backbone and places are not looked at.
        sources: dataset -> where it is.
        settings: of the recipe of a table, as text; those of ``shared`` go on top.
        schedules: dataset -> fields of the recipe that its runs have; those of ``shared`` go on top.
        tuned: take what a study of ``wsolbench tune`` in the results chose.
    """

    blocks: Sequence[Block]
    seeds: Sequence[int]
    shared: Request
    sources: Mapping[str, Source]
    settings: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tuned: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One run of a grid.

    Attributes:
        row: what is trained.
        request: of the run, with what auto is here written out.
        identity: everything that decides its numbers.
        images: split -> number of images.
        written_for: backbone of the row's preset; empty: it has none.
    """

    row: GridRow
    request: Request
    identity: Mapping[str, Any]
    images: Mapping[str, int]
    written_for: str = ""

    @property
    def run_id(self) -> str:
        """The hash of the identity."""
        return identity_hash(self.identity)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The resolved recipe."""
        recipe: Mapping[str, Any] = self.identity["recipe"]
        return recipe

    @property
    def group(self) -> tuple[str, str, str, int]:
        """What the seeds of a row share: its name, the backbone, the dataset and the batch size."""
        return str(self.row), self.recipe["backbone"], self.identity["dataset"], self.recipe["batch_size"]

    def __str__(self) -> str:
        """Say which run it is."""
        name, backbone, dataset, _ = self.group
        return f"{name}, {backbone}, {dataset}, seed {self.recipe['seed']}"

    def on(self, device: str) -> Request:
        """Return the request of the run on a device of its kind."""
        return replace(self.request, device=device)

    def with_batch(self, size: int) -> "Cell":
        """Return the same run with another batch size, which is another run."""
        request = replace(self.request, settings={**self.request.settings, "batch_size": str(size)})
        return replace(self, request=request, identity=_with_recipe(self.identity, batch_size=size))


def _with_recipe(identity: Mapping[str, Any], **changes: int) -> dict[str, Any]:
    return {**identity, "recipe": {**identity["recipe"], **changes}}


def weakly_supervised(plugins: Sequence[Path]) -> list[str]:
    """Return the methods that are trained on labels, local files included; one that cannot be imported is named."""
    names = []
    for name in find_methods(plugins):
        try:
            method = load_method(name, plugins)
        except UserError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        if method.supervision == "labels":
            names.append(name)
    return names


def cells_of(grid: Grid) -> list[Cell]:
    """Plan every run of a grid; trains nothing and reads no picture.

    Args:
        grid: what was asked for.

    Returns:
        The runs, each once: by dataset, backbone, seed and row, so that every row has a seed early.

    Raises:
        UserError: a name, a file, a setting or a combination that no run can be made of.
    """
    opened = _open_datasets(grid)
    groups: dict[tuple[str, str], list[tuple[GridRow, Request, Plan]]] = {}
    for block in grid.blocks:
        for dataset in block.datasets:
            for backbone in block.backbones:
                group = groups.setdefault((dataset, backbone), [])
                group += [(row, *_planned(grid, row, backbone, opened[dataset])) for row in block.rows]
    found: dict[str, Cell] = {}
    for group in groups.values():
        for seed in grid.seeds:
            for row, request, plan in group:
                cell = Cell(
                    row=row,
                    request=replace(request, recipe={**request.recipe, "seed": seed}),
                    identity=_with_recipe(plan.identity, seed=seed),
                    images={split: len(plan.dataset.images(split)) for split in SPLITS},
                    written_for="" if row.preset is None else plan.method.presets[row.preset].backbone,
                )
                found.setdefault(cell.run_id, cell)
    return list(found.values())


def _open_datasets(grid: Grid) -> dict[str, Dataset]:
    """Open every dataset once, and refuse those whose splits are not the benchmark's."""
    opened = {}
    for name in dict.fromkeys(name for block in grid.blocks for name in block.datasets):
        dataset_entry(name)
        source = grid.sources.get(name, Source())
        places = Places(
            data_root=source.data_root,
            metadata=source.metadata,
            masks_root=source.masks_root,
            cache=grid.shared.cache,
        )
        opened[name] = open_places(name, places, source.options)
        refuse_partial(opened[name], SPLITS, allowed=grid.shared.allow_partial)
    return opened


def _planned(grid: Grid, row: GridRow, backbone: str, dataset: Dataset) -> tuple[Request, Plan]:
    """Return the request and the plan of a row's first seed."""
    backbone_entry(backbone)
    source, shared = grid.sources.get(dataset.name, Source()), grid.shared
    schedule = grid.schedules.get(dataset.name, {})
    given = {name: str(value) for name, value in schedule.items() if name not in OF_OPTIONS}
    request = replace(
        shared,
        method=row.method,
        preset=row.preset,
        dataset=dataset.name,
        backbone=backbone,
        data_root=source.data_root,
        metadata=source.metadata,
        masks_root=source.masks_root,
        data_options=source.options,
        settings={**grid.settings, **given, **row.settings, **shared.settings},
        recipe={
            **{name: value for name, value in schedule.items() if name in OF_OPTIONS},
            **shared.recipe,
            "seed": grid.seeds[0],
        },
    )
    try:
        if grid.tuned:
            request = _tuned(request, own={*shared.settings})
        plan = make_plan(request, dataset=dataset)
        _refuse_unbuildable(plan)
    except UserError as error:
        raise UserError(f"{row} on {dataset.name} with {backbone}: {error}") from None
    request = replace(resolved(request, plan), device=str(plan.device))
    return request, plan


def _refuse_unbuildable(plan: Plan) -> None:
    """Raise UserError where a configuration does not fit its backbone, without a byte of weights."""
    with torch.device("meta"):
        network = build_network(
            build_backbone(plan.recipe.backbone, plan.recipe.feature_map), len(plan.dataset.class_names)
        )
        try:
            plan.method(network, plan.config)
        except UserError:
            raise
        except Exception:  # noqa: S110 (a broken method fails as a run, where its log says how)
            pass


def _tuned(request: Request, own: set[str]) -> Request:
    """Return a request with what its study chose in place of what a table's recipe says.

    Args:
        request: of a run.
        own: settings that the user typed, which a choice must not contradict.
    """
    path = _study(request)
    drawn = read_choice(path)["chosen"]["drawn"]
    kept = {name: text for name, text in request.settings.items() if name not in drawn or name in own}
    return with_choice(replace(request, settings=kept), path)


def _study(request: Request) -> Path:
    """Return the choice of the one study of a request's method, backbone and dataset.

    Raises:
        UserError: there is none, or more than one.
    """
    folder = request.results / request.dataset / "tuning"
    fitting = []
    for path in sorted(folder.glob("*/choice.json")):
        of = read_choice(path)["request"]
        same = all(of[name] == getattr(request, name) for name in ("method", "dataset", "backbone", "preset"))
        epochs = request.recipe.get("epochs", of["recipe"].get("epochs"))
        if same and of["data_options"] == dict(request.data_options) and epochs == of["recipe"].get("epochs"):
            fitting.append(path)
    if not fitting:
        raise UserError(
            f"no study below '{folder}' tuned it with these data options and epochs; run `wsolbench tune "
            f"{request.method} {request.dataset} --backbone {request.backbone}` with them, or leave out --tuned"
        )
    if len(fitting) > 1:
        raise UserError(
            f"{len(fitting)} studies tuned it: {', '.join(path.parent.name for path in fitting)}; "
            "say which with `wsolbench run --config`, or move the others away"
        )
    return fitting[0]
