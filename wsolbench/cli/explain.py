"""``wsolbench explain RUN``: what is behind a cell."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import Results


def explain(
    run: Annotated[str, typer.Argument(help="The first characters of a run id, or a record's path.")],
    results: Results = Path("results"),
) -> None:
    """Print config, seed, commit, data, metrics with their thresholds, and the command to re-run."""
    from wsolbench.leaderboard.explain import explain as describe
    from wsolbench.records import find_record

    typer.echo(describe(find_record(results, run)))
