"""``wsolbench leaderboard``: records to tables."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import Quiet
from wsolbench.errors import UserError


def leaderboard(
    results: Annotated[Path, typer.Argument(help="Folder of the records.")] = Path("results"),
    format: Annotated[str, typer.Option(help="markdown, latex, html or csv.")] = "markdown",
    layout: Annotated[
        str,
        typer.Option(
            help="main; criteria (one IoU criterion after the other), cost, or all of them; or a table of the InCA "
            "paper: table2 to table7, supplement1."
        ),
    ] = "main",
    published: Annotated[
        bool, typer.Option("--published", help="Add what papers print, in a block of its own with its sources.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="A method: adds every row's difference from it, what may be claimed, and intervals of ranks."
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Number of resamples of the images, for --baseline.")] = 10_000,
    write: Annotated[
        bool, typer.Option("--write", help="Write leaderboard.md, .tex, .html and .csv beside the records.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Print the tables made from the records below RESULTS, or write them."""
    import gc
    from functools import partial

    from wsolbench.failures import load_failures
    from wsolbench.leaderboard.model import build
    from wsolbench.leaderboard.pages import check_choices, render, write_tables
    from wsolbench.leaderboard.sections import Beside
    from wsolbench.records import load_records

    gc.disable()  # walking thousands of live records costs a fifth of the time and finds nothing
    check_choices(format, layout)
    standings = None
    if baseline is not None:
        from wsolbench.leaderboard.significance import standings as compare_rows

        standings = partial(compare_rows, baseline=baseline, resamples=resamples, quiet=quiet)
    if write:
        for path in write_tables(results, standings):
            typer.echo(f"wrote {path}")
        return
    records, warnings = load_records(results)
    failures, skipped = load_failures(results)
    if not records and not failures and not published:
        raise UserError("; ".join(warnings[:5]) + (f"; and {len(warnings) - 5} more" if len(warnings) > 5 else ""))
    board = build(records, [*warnings, *skipped])
    beside = Beside(published=published, failures=failures, standings=standings(board, results) if standings else {})
    typer.echo(render(board, format, layout, beside), nl=False)
