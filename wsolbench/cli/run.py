"""``wsolbench run METHOD DATASET``: train, score, record."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import (
    AllowPartial,
    Backbone,
    Cache,
    DataOption,
    DataRoot,
    Deterministic,
    Device,
    Epochs,
    ImageSize,
    MasksRoot,
    Metadata,
    Normalization,
    Plugin,
    Precision,
    Quiet,
    Results,
    Weights,
    key_values,
)


def run(
    method: Annotated[str, typer.Argument(help="A method; see `wsolbench list methods`.")],
    dataset: Annotated[str, typer.Argument(help="A dataset; see `wsolbench list datasets`.")],
    backbone: Backbone = None,
    preset: Annotated[
        str | None, typer.Option(help="A row of a paper's table; see `wsolbench list presets`. --set goes on top.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="choice.json of `wsolbench tune`: what it chose. Other options go on top."),
    ] = None,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    allow_partial: AllowPartial = False,
    data_option: DataOption = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order, augmentation and draws.")] = 0,
    epochs: Epochs = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method or the recipe, such as lr=0.01."),
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    feature_map: Annotated[int | None, typer.Option(help="Feature-map stride: 16, 8 or 4.")] = None,
    normalization: Normalization = None,
    precision: Precision = "auto",
    device: Device = "auto",
    deterministic: Deterministic = False,
    results: Results = Path("results"),
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint; keep a record that exists.")] = True,
    cache: Cache = None,
    save_maps: Annotated[Path | None, typer.Option(help="Also write each raw map as SPLIT/IMAGE.npy here.")] = None,
    plugin: Plugin = None,
    quiet: Quiet = False,
) -> None:
    """Train a method on a dataset, score it under the protocol and write a record."""
    from wsolbench.experiment import run as run_experiment
    from wsolbench.leaderboard.explain import explain
    from wsolbench.records import read_record
    from wsolbench.request import Request

    recipe = {
        "seed": seed,
        "epochs": epochs,
        "image_size": image_size,
        "feature_map": feature_map,
        "normalization": normalization,
        "deterministic": deterministic or None,
    }
    request = Request(
        method=method,
        dataset=dataset,
        backbone=backbone,
        preset=preset,
        data_root=data_root,
        metadata=metadata,
        masks_root=masks_root,
        allow_partial=allow_partial,
        data_options=key_values("--data-option", data_option or []),
        settings=key_values("--set", setting or []),
        recipe={name: value for name, value in recipe.items() if value is not None},
        weights=weights,
        precision=precision,
        device=device,
        results=results,
        resume=resume,
        cache=cache,
        save_maps=save_maps,
        plugins=plugin or [],
        quiet=quiet,
    )
    if config is not None:
        from wsolbench.trials import with_choice

        request = with_choice(request, config)
    path = run_experiment(request)
    typer.echo(explain(read_record(path)))
    typer.echo(f"record: {path}")
