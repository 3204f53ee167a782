"""``wsolbench report``: one HTML file with tables, curves, pictures and what is behind each cell."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import DataRoot, MasksRoot, Metadata


def report(
    results: Annotated[Path, typer.Argument(help="Folder of the records.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    images: Annotated[int, typer.Option(min=0, help="Number of pictures; 0 leaves them out.")] = 50,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
) -> None:
    """Write one page that needs no network: sortable tables, threshold curves, pictures, classes, and every run."""
    from wsolbench.data.places import Places
    from wsolbench.report.page.data import gather
    from wsolbench.report.page.writer import check_out, write_page

    check_out(out)
    page = gather(results, Places(data_root=data_root, metadata=metadata, masks_root=masks_root), images)
    size = write_page(page, out)
    for note in (*page.skipped, *page.notes):
        typer.echo(f"note: {note}", err=True)
    parts = [f"{size / 1e6:.1f} MB", _plural(len(page.tables), "table"), _plural(page.pictures, "picture")]
    typer.echo(f"report: {out}, {', '.join(parts)}")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
