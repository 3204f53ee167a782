"""``wsolbench run METHOD DATASET``: train, score, record."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import key_values


def run(
    method: Annotated[str, typer.Argument(help="A method; see `wsolbench list methods`.")],
    dataset: Annotated[str, typer.Argument(help="A dataset; see `wsolbench list datasets`.")],
    backbone: Annotated[
        str | None, typer.Option(help="A backbone; see `wsolbench list backbones`. The preset's, or resnet50.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A row of a paper's table; see `wsolbench list presets`. --set goes on top.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="choice.json of `wsolbench tune`: what it chose. Other options go on top."),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the dataset, such as classes=20.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order, augmentation and draws.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over train-weaksup; the dataset's default.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method or the recipe, such as lr=0.01."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, none or a file; imagenet where there are any.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of crop and evaluation size, pixels.")] = None,
    feature_map: Annotated[int | None, typer.Option(help="Feature-map stride: 16, 8 or 4.")] = None,
    normalization: Annotated[
        str | None, typer.Option(help="Score-map normalisation: min-max, the protocol's; or max, pas, ivr.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Training arithmetic: auto, bf16 or fp32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Refuse nondeterministic kernels.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results"),
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint; keep a record that exists.")] = True,
    cache: Annotated[Path | None, typer.Option(help="Folder of the decoded images; ~/.cache/wsolbench.")] = None,
    save_maps: Annotated[Path | None, typer.Option(help="Also write each raw map as SPLIT/IMAGE.npy here.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A Python file with a method of your own.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain progress lines.")] = False,
) -> None:
    """Train a method on a dataset, score it under the protocol and write a record."""
    from wsolbench.experiment import run as run_experiment
    from wsolbench.leaderboard import explain
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
