"""``wsolbench tune METHOD DATASET``: random search on train-fullsup; the test split stays sealed."""

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


def tune(
    method: Annotated[str, typer.Argument(help="A method; see `wsolbench list methods`.")],
    dataset: Annotated[str, typer.Argument(help="A dataset; see `wsolbench list datasets`.")],
    trials: Annotated[int, typer.Option(help="Number of configurations.")] = 30,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of the ledger: sqlite:///FILE for one worker (the default, a file below --results), "
            "postgresql://USER@HOST/DATABASE for any number on any machines; a worker stays until all trials are done.",
        ),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(help="Run only this trial, from 0, without a ledger: for a cluster's job array.")
    ] = None,
    backbone: Backbone = None,
    preset: Annotated[
        str | None, typer.Option(help="A row of a paper's table, for what is not drawn; see `wsolbench list presets`.")
    ] = None,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    allow_partial: AllowPartial = False,
    data_option: DataOption = None,
    epochs: Epochs = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that is not drawn, such as batch_size=64."),
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    normalization: Normalization = None,
    precision: Precision = "auto",
    device: Device = "auto",
    deterministic: Deterministic = False,
    results: Results = Path("results"),
    cache: Cache = None,
    plugin: Plugin = None,
    quiet: Quiet = False,
) -> None:
    """Try random configurations, choose one on train-fullsup; `wsolbench run --config` trains it with fresh seeds."""
    from wsolbench.request import Request
    from wsolbench.study import Tuning
    from wsolbench.study import tune as run_tuning

    recipe = {
        "epochs": epochs,
        "image_size": image_size,
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
        cache=cache,
        plugins=plugin or [],
        quiet=quiet,
    )
    choice = run_tuning(Tuning(request=request, trials=trials, storage=storage, trial=trial), typer.echo)
    if choice is not None:
        typer.echo(f"choice: {choice}")
