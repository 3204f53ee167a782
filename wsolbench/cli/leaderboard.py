"""``wsolbench leaderboard``: records to tables."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsolbench.cli.common import Quiet
from wsolbench.errors import UserError

if TYPE_CHECKING:
    from wsolbench.leaderboard.pages import Standings


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
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder or archive of the images, for --baseline where older runs kept no slices."),
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Write leaderboard.md, .tex, .html and .csv, all layouts of one dataset, beside the records.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Print the tables made from the records below RESULTS, or write them in all formats."""
    import gc

    from wsolbench.leaderboard.pages import check_choices, write_tables

    check_choices(format, layout)
    if baseline is not None and not write and layout not in ("main", "criteria", "all"):
        raise UserError(f"--baseline has no place in the layout {layout}; it is for main, criteria and all")
    standings = None
    if baseline is not None:
        from wsolbench.data.places import Places
        from wsolbench.leaderboard.significance import standings as compare_rows

        places = Places(data_root=data_root)
        standings = partial(compare_rows, baseline=baseline, places=places, resamples=resamples, quiet=quiet)
    gc.disable()  # walking thousands of live records costs a fifth of the time and finds nothing
    try:
        if write:
            for path in write_tables(results, standings, published=published):
                typer.echo(f"wrote {path}")
        else:
            typer.echo(_printed(results, format, layout, published, standings), nl=False)
    finally:
        gc.enable()


def _printed(results: Path, format: str, layout: str, published: bool, standings: "Standings | None") -> str:
    """Return what is printed, or raise UserError where that would be nothing."""
    from wsolbench.failures import load_failures
    from wsolbench.leaderboard.model import build
    from wsolbench.leaderboard.pages import make_page, nothing_to_show, render
    from wsolbench.leaderboard.sections import Beside
    from wsolbench.records import load_records

    try:
        records, warnings = load_records(results)
    except UserError as error:
        if not published:  # what papers print needs no results
            raise
        records, warnings = [], [str(error)]
    failures, skipped = load_failures(results)
    board = build(records, [*warnings, *skipped])
    beside = Beside(published=published, failures=failures, standings=standings(board, results) if standings else {})
    if not records and not failures and not make_page(board, layout, beside).grids:
        raise nothing_to_show(warnings)
    return render(board, format, layout, beside)
