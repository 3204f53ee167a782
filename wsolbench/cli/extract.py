"""``wsolbench extract gradcam|layercam RUN``: post-hoc maps of a trained network, scored and recorded."""

from pathlib import Path
from typing import Annotated

import typer


def extract(
    extractor: Annotated[str, typer.Argument(help="gradcam or layercam.")],
    run: Annotated[str, typer.Argument(help="The first characters of a run id, or a record's path.")],
    point: Annotated[str | None, typer.Option(help="A point of the network; the last one.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the records and runs.")] = Path("results"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    cache: Annotated[Path | None, typer.Option(help="Folder of the decoded images; ~/.cache/wsolbench.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="The Python file of the run's method.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain progress lines.")] = False,
) -> None:
    """Score the maps that an extractor makes of a trained run, as a row of their own."""
    from wsolbench.extraction import Extraction
    from wsolbench.extraction import extract as run_extraction
    from wsolbench.leaderboard import explain
    from wsolbench.records import read_record

    asked = Extraction(
        extractor=extractor,
        run=run,
        point=point,
        data_root=data_root,
        results=results,
        device=device,
        cache=cache,
        plugins=plugin or [],
        quiet=quiet,
    )
    path = run_extraction(asked)
    typer.echo(explain(read_record(path)))
    typer.echo(f"record: {path}")
