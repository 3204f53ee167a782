"""``wsolbench compare RUN RUN...``: what may be claimed of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import DataOption, Metadata, Quiet, Results, key_values


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Run ids, paths of records, or methods: all their runs.")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="The method that all others are compared with; that of the first RUN.")
    ] = None,
    metric: Annotated[str, typer.Option(help="A metric of the records, such as gt_known.")] = "max_box_acc_v2",
    part: Annotated[str, typer.Option("--slice", help="A slice of the test images, such as boxes_5_50.")] = "",
    data_option: DataOption = None,
    results: Results = Path("results"),
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images, for --slice.")] = None,
    metadata: Metadata = None,
    resamples: Annotated[int, typer.Option(help="Number of resamples of the images.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Say in words which method is above which, pairing their seeds, and what the runs at hand cannot tell."""
    from wsolbench.comparison import compare as find
    from wsolbench.comparison_runs import Question
    from wsolbench.comparison_words import describe
    from wsolbench.data.places import Places

    question = Question(
        runs=runs,
        baseline=baseline,
        metric=metric,
        part=part,
        data_options=key_values("--data-option", data_option or []),
        results=results,
        places=Places(data_root=data_root, metadata=metadata),
        resamples=resamples,
        seed=seed,
        quiet=quiet,
    )
    typer.echo(describe(find(question)), nl=False)
