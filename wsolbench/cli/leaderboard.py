"""``wsolbench leaderboard``: records to tables."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.errors import UserError


def leaderboard(
    results: Annotated[Path, typer.Argument(help="Folder of the records.")] = Path("results"),
    format: Annotated[str, typer.Option(help="markdown or csv.")] = "markdown",
    write: Annotated[bool, typer.Option("--write", help="Write leaderboard.md and .csv beside the records.")] = False,
) -> None:
    """Print the tables made from the records below RESULTS, or write them."""
    from wsolbench.leaderboard import to_csv, to_markdown, write_tables
    from wsolbench.leaderboard_model import build
    from wsolbench.records import load_records

    renderers = {"markdown": to_markdown, "csv": to_csv}
    if format not in renderers:
        raise UserError(f"--format {format} is not known; expected one of {', '.join(renderers)}")
    records, warnings = load_records(results)
    if not records:
        raise UserError("; ".join(warnings[:5]) + (f"; and {len(warnings) - 5} more" if len(warnings) > 5 else ""))
    if write:
        for path in write_tables(results):
            typer.echo(f"wrote {path}")
        return
    typer.echo(renderers[format](build(records, warnings)))
