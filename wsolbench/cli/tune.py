"""``wsolbench tune METHOD DATASET``: random search on train-fullsup; the test split stays sealed."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import key_values


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
    backbone: Annotated[
        str | None, typer.Option(help="A backbone; see `wsolbench list backbones`. The preset's, or resnet50.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A row of a paper's table, for what is not drawn; see `wsolbench list presets`.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the dataset, such as classes=20.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over train-weaksup; the dataset's default.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting that is not drawn, such as batch_size=64."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, none or a file; imagenet where there are any.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of crop and evaluation size, pixels.")] = None,
    normalization: Annotated[str | None, typer.Option(help="Score-map normalisation; see `wsolbench run`.")] = None,
    precision: Annotated[str, typer.Option(help="Training arithmetic: auto, bf16 or fp32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Refuse nondeterministic kernels.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results"),
    cache: Annotated[Path | None, typer.Option(help="Folder of the decoded images; ~/.cache/wsolbench.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A Python file with a method of your own.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain progress lines.")] = False,
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
