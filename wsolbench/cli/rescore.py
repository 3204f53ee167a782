"""``wsolbench rescore RUN``: hits and metrics again, from the kept raw maps."""

from pathlib import Path
from typing import Annotated

import typer


def rescore(
    run: Annotated[str, typer.Argument(help="The first characters of a run id, or a record's path.")],
    results: Annotated[Path, typer.Option(help="Folder of the records and runs.")] = Path("results"),
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images.")] = None,
) -> None:
    """Score a finished run under the present protocol and write its record anew; trains nothing."""
    from wsolbench.rescoring import changes
    from wsolbench.rescoring import rescore as score_again

    rescored = score_again(run, results, data_root)
    for line in changes(rescored):
        typer.echo(line)
    typer.echo(f"record: {rescored.path}")
