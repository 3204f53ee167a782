"""``wsolbench explain RUN``: what is behind a cell."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import Results


def explain(
    run: Annotated[str, typer.Argument(help="The first characters of a run id, or a record's path.")],
    results: Results = Path("results"),
) -> None:
    """Print config, seed, commit, data, metrics, files, table rows and the command to re-run; or why a run failed."""
    from wsolbench.leaderboard.explain import explain_run

    typer.echo(explain_run(results, run), nl=False)
