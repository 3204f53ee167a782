"""``wsolbench rescore RUN...``: hits and metrics again, from the kept raw maps."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import DataRoot, MasksRoot, Metadata, Results


def rescore(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="First characters of run ids, or paths of records.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every record below --results.")] = False,
    results: Results = Path("results"),
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
) -> None:
    """Score finished runs under the present protocol and write their records anew; trains nothing."""
    from wsolbench.data.places import Places
    from wsolbench.errors import RunError, UserError
    from wsolbench.leaderboard.model import system_name
    from wsolbench.records import record_files
    from wsolbench.rescoring import changes
    from wsolbench.rescoring import rescore as score_again

    if every == bool(runs):
        raise UserError("which records? give run ids or paths, or --all for every record below --results")
    places = Places(data_root=data_root, metadata=metadata, masks_root=masks_root)
    chosen = [str(path) for path in record_files(results)] if every else runs or []
    failed = 0
    for run in chosen:
        try:
            rescored = score_again(run, results, places)
        except (UserError, RunError) as error:
            if len(chosen) == 1:
                raise
            failed += 1
            typer.echo(f"error: {error}", err=True)
            continue
        typer.echo(f"{system_name(rescored.after)}: {rescored.path}")
        for line in changes(rescored):
            typer.echo(f"  {line}")
    if failed:
        raise UserError(f"{failed} of {len(chosen)} records could not be scored again, for the reasons above")
