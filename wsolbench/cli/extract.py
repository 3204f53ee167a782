"""``wsolbench extract gradcam|layercam RUN``: post-hoc maps of a trained network, scored and recorded."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import Cache, DataRoot, Device, MasksRoot, Metadata, Quiet, Results


def extract(
    extractor: Annotated[str, typer.Argument(help="gradcam or layercam.")],
    run: Annotated[str, typer.Argument(help="The first characters of a run id, or a record's path.")],
    point: Annotated[str | None, typer.Option(help="A point of the network; the last one.")] = None,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    results: Results = Path("results"),
    device: Device = "auto",
    cache: Cache = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="The Python file of the run's method.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score the maps that an extractor makes of a trained run, as a row of their own."""
    from wsolbench.data.places import Places
    from wsolbench.extraction import Extraction
    from wsolbench.extraction import extract as run_extraction
    from wsolbench.leaderboard.explain import explain
    from wsolbench.records import read_record

    asked = Extraction(
        extractor=extractor,
        run=run,
        point=point,
        places=Places(data_root=data_root, metadata=metadata, masks_root=masks_root, cache=cache),
        results=results,
        device=device,
        plugins=plugin or [],
        quiet=quiet,
    )
    path = run_extraction(asked)
    typer.echo(explain(read_record(path)))
    typer.echo(f"record: {path}")
