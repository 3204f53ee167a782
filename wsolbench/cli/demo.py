"""``wsolbench demo``: train four methods on generated images and compare them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import Cache, Quiet

METHODS = ("cam", "has", "adl", "inca")


def demo(
    methods: Annotated[str, typer.Option(help="all, or names separated by commas.")] = "all",
    seed: Annotated[int, typer.Option(help="Seed of the runs.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    train: Annotated[int | None, typer.Option(help="Number of training images.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the demo's records.")] = Path("demo-results"),
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Train and compare methods on generated images (about three minutes on two cores)."""
    from wsolbench.data.registry import open_dataset
    from wsolbench.experiment import run
    from wsolbench.leaderboard.model import build
    from wsolbench.leaderboard.pages import to_markdown
    from wsolbench.plugins import method_entry
    from wsolbench.records import load_records, read_record
    from wsolbench.report.qualitative import draw_comparison
    from wsolbench.request import Request

    names = METHODS if methods == "all" else tuple(name.strip() for name in methods.split(","))
    for name in names:
        method_entry(name)
    options = {} if train is None else {"train": str(train)}
    dataset = open_dataset("parts", None, options)
    recipe = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    records = {}
    for name in names:
        request = Request(
            method=name,
            dataset="parts",
            backbone="resnet-tiny",
            data_options=options,
            recipe=recipe,
            results=results,
            cache=cache,
            quiet=quiet,
        )
        records[name] = read_record(run(request))
        typer.echo(f"{name}: {convergence(records[name].history, len(dataset.class_names))}")
    typer.echo("")
    typer.echo(to_markdown(build(*load_records(results))))
    picture = draw_comparison(
        dataset,
        records,
        results,
        results / "comparison.png",
    )
    typer.echo(f"picture: {picture}")


def convergence(history: Sequence[Mapping[str, float | None]], num_classes: int) -> str:
    """Say whether training had converged, by the classification loss against that of guessing, ln K.

    It had if the last epoch moved the loss by less than 2 % of ln K and left it below half of ln K: a loss that stands
    still near guessing has learned nothing yet.

    Args:
        history: of a record.
        num_classes: number of classes K.

    >>> convergence([{"cls": 0.12}, {"cls": 0.1}], 8)
    'converged: the last epoch moved the classification loss from 0.120 to 0.100 (guessing: 2.079)'
    >>> convergence([{"cls": 1.0}, {"cls": 0.5}], 8).partition(":")[0]
    'not converged'
    """
    losses = [epoch.get("cls") for epoch in history]
    before, last = (losses[-2], losses[-1]) if len(losses) > 1 else (None, None)
    if before is None or last is None:
        return "convergence cannot be judged from fewer than two epochs"
    guessing = math.log(num_classes)
    text = f"the last epoch moved the classification loss from {before:.3f} to {last:.3f} (guessing: {guessing:.3f})"
    if abs(before - last) < 0.02 * guessing and last < guessing / 2:
        return f"converged: {text}"
    return f"not converged: {text}; train longer (--epochs N)"
