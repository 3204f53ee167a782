"""``wsolbench bench``: a grid of methods, datasets, backbones and seeds, or the whole of a paper's table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsolbench.cli.common import (
    AllowPartial,
    Cache,
    Deterministic,
    Device,
    Epochs,
    ImageSize,
    Normalization,
    Plugin,
    Precision,
    Quiet,
    Results,
    Weights,
    key_values,
)
from wsolbench.errors import UserError

if TYPE_CHECKING:
    from wsolbench.bench.grid import Grid, Source
    from wsolbench.bench.recipes import Block
    from wsolbench.request import Request

DATASETS, BACKBONES, SEEDS = "parts", "resnet-tiny", "0,1,2"
"""What a plain ``wsolbench bench`` runs: the embedded dataset, for a small machine."""

_PLACE = "Given as {0}, or as DATASET={0} for each of several datasets."
_Places = list[str] | None


def bench(
    methods: Annotated[
        str | None, typer.Option(help="all that train on labels (the default), or names separated by commas.")
    ] = None,
    datasets: Annotated[str | None, typer.Option(help=f"Names separated by commas; {DATASETS}.")] = None,
    backbones: Annotated[str | None, typer.Option(help=f"Names separated by commas; {BACKBONES}.")] = None,
    seeds: Annotated[str | None, typer.Option(help=f"Numbers separated by commas; {SEEDS}.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="The grid of a paper's table; see `wsolbench list recipes`. Other options go on top."),
    ] = None,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Run what `wsolbench tune` chose, whose studies lie in --results.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Runs at once; one for each GPU, one on a CPU, whose cores they share.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and how long it takes.")] = False,
    retry: Annotated[bool, typer.Option(help="Try again what failed before.")] = True,
    probe: Annotated[bool, typer.Option(help="Measure a few steps of what no record tells the speed of.")] = True,
    data_root: Annotated[
        _Places, typer.Option(metavar="PATH", help="Folder or archive of the images. " + _PLACE.format("PATH"))
    ] = None,
    metadata: Annotated[
        _Places, typer.Option(metavar="DIR", help="Folder of published split files. " + _PLACE.format("DIR"))
    ] = None,
    masks_root: Annotated[
        _Places, typer.Option(metavar="DIR", help="Folder of the masks. " + _PLACE.format("DIR"))
    ] = None,
    allow_partial: AllowPartial = False,
    data_option: Annotated[
        _Places,
        typer.Option(metavar="KEY=VALUE", help="An option of the dataset. " + _PLACE.format("KEY=VALUE")),
    ] = None,
    epochs: Epochs = None,
    setting: Annotated[
        _Places, typer.Option("--set", metavar="KEY=VALUE", help="A setting of every run, such as lr=0.01.")
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    feature_map: Annotated[int | None, typer.Option(help="Feature-map stride: 16, 8 or 4.")] = None,
    normalization: Normalization = None,
    precision: Precision = "auto",
    device: Device = "auto",
    deterministic: Deterministic = False,
    results: Results = Path("results"),
    cache: Cache = None,
    plugin: Plugin = None,
    quiet: Quiet = False,
) -> None:
    """Run a grid: what is recorded is skipped, a run that fails leaves the others alone, any time is a time to stop."""
    from wsolbench.bench.runner import Bench
    from wsolbench.bench.runner import bench as run_grid
    from wsolbench.request import Request

    fields = {
        "epochs": epochs,
        "image_size": image_size,
        "feature_map": feature_map,
        "normalization": normalization,
        "deterministic": deterministic or None,
    }
    shared = Request(
        method="",
        dataset="",
        allow_partial=allow_partial,
        settings=key_values("--set", setting or []),
        recipe={name: value for name, value in fields.items() if value is not None},
        weights=weights,
        precision=precision,
        device=device,
        results=results,
        cache=cache,
        plugins=plugin or [],
        quiet=quiet,
    )
    given = {
        "--data-root": data_root or [],
        "--metadata": metadata or [],
        "--masks-root": masks_root or [],
        "--data-option": data_option or [],
    }
    grid, ours = _grid(shared, (methods, datasets, backbones), seeds, recipe, given, tuned)
    asked = Bench(grid=grid, ours=ours, workers=workers, retry=retry, probe=probe, dry_run=dry_run)
    try:
        succeeded = run_grid(asked, typer.echo)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if not succeeded:
        raise typer.Exit(1)


def _grid(
    shared: "Request",
    names: tuple[str | None, str | None, str | None],
    seeds: str | None,
    recipe: str | None,
    given: Mapping[str, Sequence[str]],
    tuned: bool,
) -> "tuple[Grid, Sequence[str]]":
    """Return the grid, and what of it is not stated by the recipe's paper.

    Args:
        shared: what all runs share.
        names: texts of --methods, --datasets and --backbones.
        seeds: text of --seeds.
        recipe: a table's recipe.
        given: the options that may be given for each dataset.
        tuned: take what studies chose.
    """
    from wsolbench.bench.grid import Grid
    from wsolbench.bench.recipes import recipe as named_recipe

    table = None if recipe is None else named_recipe(recipe)
    if table is not None and tuned and not table.tuned:
        raise UserError(f"--tuned is not for {recipe}, whose paper tunes nothing there; leave it out")
    blocks = _blocks(None if table is None else table.blocks, *names, shared.plugins)
    datasets = list(dict.fromkeys(name for block in blocks for name in block.datasets))
    own = SEEDS if table is None else ",".join(map(str, table.seeds))
    grid = Grid(
        blocks=blocks,
        seeds=[_seed(text) for text in _names("--seeds", seeds or own)],
        shared=shared,
        sources=_sources(datasets, given),
        settings={} if table is None else table.settings,
        schedules={} if table is None else table.schedules,
        tuned=tuned,
    )
    if table is None:
        return grid, ()
    return grid, [*table.ours, *([] if seeds else [table.why_seeds])]


def _blocks(
    blocks: "Sequence[Block] | None",
    methods: str | None,
    datasets: str | None,
    backbones: str | None,
    plugins: Sequence[Path],
) -> "list[Block]":
    """Return the grid's blocks: a table's, narrowed by what was asked for, or everything with everything."""
    from wsolbench.bench.grid import weakly_supervised
    from wsolbench.bench.recipes import Block, GridRow, narrowed

    asked = {
        "rows": weakly_supervised(plugins) if methods == "all" else methods and _names("--methods", methods),
        "datasets": datasets and _names("--datasets", datasets),
        "backbones": backbones and _names("--backbones", backbones),
    }
    if blocks is None:
        rows = asked["rows"] or weakly_supervised(plugins)
        return [
            Block(
                rows=[GridRow(method=name) for name in rows],
                datasets=asked["datasets"] or [DATASETS],
                backbones=asked["backbones"] or [BACKBONES],
            )
        ]
    found = narrowed(blocks, {part: names for part, names in asked.items() if names})
    if not found:
        raise UserError("the recipe has no run of these methods, datasets and backbones together; ask for less")
    return found


def _names(option: str, text: str) -> list[str]:
    """Read names separated by commas; each once."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{option} '{text}' names nothing; expected names separated by commas")
    return list(dict.fromkeys(names))


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"--seeds {text} cannot be read; expected whole numbers from 0 on, separated by commas")
    return int(text)


def _sources(datasets: Sequence[str], given: Mapping[str, Sequence[str]]) -> "dict[str, Source]":
    """Say where each dataset is: what is given without a name is for the one dataset that has files."""
    from wsolbench.bench.grid import Source
    from wsolbench.data.registry import dataset_entry

    with_files = [name for name in datasets if not dataset_entry(name).generated]
    divided = {
        option: _divided(option, texts, datasets, datasets if option == "--data-option" else with_files)
        for option, texts in given.items()
    }
    return {
        name: Source(
            data_root=_path("--data-root", name, divided),
            metadata=_path("--metadata", name, divided),
            masks_root=_path("--masks-root", name, divided),
            options=key_values("--data-option", divided["--data-option"].get(name, [])),
        )
        for name in datasets
    }


def _divided(
    option: str, texts: Sequence[str], datasets: Sequence[str], candidates: Sequence[str]
) -> dict[str, list[str]]:
    """Give each dataset its texts of a repeated option."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, rest = text.partition("=")
        if name in datasets and rest:
            found.setdefault(name, []).append(rest)
        elif len(candidates) == 1:
            found.setdefault(candidates[0], []).append(text)
        elif not candidates:
            raise UserError(f"{option} {text} is of no use: {', '.join(datasets)} is generated; leave it out")
        else:
            raise UserError(f"{option} {text} could be of {' or '.join(candidates)}; write {option} DATASET={text}")
    return found


def _path(option: str, dataset: str, divided: Mapping[str, Mapping[str, Sequence[str]]]) -> Path | None:
    texts = divided[option].get(dataset, [])
    if len(texts) > 1:
        raise UserError(f"{option} was given twice for {dataset}; give it once")
    return Path(texts[0]) if texts else None
