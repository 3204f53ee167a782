"""``wsolbench data check DATASET`` and ``wsolbench data prepare DATASET``: your data, looked at and decoded."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsolbench.cli.common import Cache, DataOption, DataRoot, ImageSize, MasksRoot, Metadata, Quiet, key_values
from wsolbench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsolbench.data.preparing import CachePart
    from wsolbench.data.splits import SplitName

app = typer.Typer(help="Check a dataset, or decode it before the first run.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset; see `wsolbench list datasets`.")]
Splits = Annotated[
    list[str] | None, typer.Option("--split", help="train-weaksup, train-fullsup or test; repeatable. All of them.")
]


@app.command("check")
def check(
    dataset: Name,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    data_option: DataOption = None,
    split: Splits = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw pictures of each class with their boxes: .png.")] = None,
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Read every picture and box once and say what is wrong, and what to do. Status 2: `run` would refuse it."""
    from wsolbench.data.checking import check_dataset, open_splits
    from wsolbench.data.registry import open_dataset
    from wsolbench.files import atomic_write
    from wsolbench.report.check_text import report_json, report_text
    from wsolbench.report.contact_sheet import ContactSheet

    _refuse_outputs(json_file, sheet)
    options = key_values("--data-option", data_option or [])
    opened = open_dataset(dataset, data_root, options, metadata=metadata, masks_root=masks_root, cache=cache)
    splits = open_splits(opened, _splits(split))
    drawn = None if sheet is None else ContactSheet(opened, splits)
    report = check_dataset(opened, splits, None if drawn is None else drawn.add, quiet)
    typer.echo(report_text(report))
    if json_file is not None:
        atomic_write(json_file, (json.dumps(report_json(report), indent=1) + "\n").encode())
    if drawn is not None and sheet is not None:
        drawn.draw(sheet)
        typer.echo(f"contact sheet: {sheet}")
    if report.problems:
        raise typer.Exit(2)


@app.command("prepare")
def prepare(
    dataset: Name,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    data_option: DataOption = None,
    split: Splits = None,
    image_size: ImageSize = None,
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Decode every picture once, as the first run would, and say before how much disk that takes."""
    from wsolbench.data.cache import default_cache_dir
    from wsolbench.data.preparing import free_bytes, make_caches, plan_caches
    from wsolbench.data.registry import open_dataset

    folder = cache or default_cache_dir()
    options = key_values("--data-option", data_option or [])
    opened = open_dataset(dataset, data_root, options, metadata=metadata, masks_root=masks_root, cache=cache)
    parts = plan_caches(opened, _splits(split), folder, image_size)
    typer.echo(_plan_text(parts))
    missing = sum(part.missing for part in parts)
    if not missing:
        typer.echo(f"all of it is in {folder}")
        return
    typer.echo(f"{missing / 1e6:,.1f} MB to write into {folder} ({free_bytes(folder) / 1e6:,.0f} MB free)")
    make_caches(parts, folder, quiet)
    typer.echo("done")


def _plan_text(parts: "list[CachePart]") -> str:
    """Return what a cache of each split takes, and what of it is there."""
    from tabulate import tabulate

    def state(part: "CachePart") -> str:
        if not part.missing:
            return "there"
        return "missing" if part.missing >= part.bytes else f"{1 - part.missing / part.bytes:.0%} there"

    rows = [
        [part.images.name, f"{len(part.images):,}", f"{part.side}x{part.side}", f"{part.bytes / 1e6:,.1f}", state(part)]
        for part in parts
    ]
    head = ["split", "images", "pixels", "MB", "cache"]
    return tabulate(rows, headers=head, disable_numparse=True, colalign=["left", *["right"] * 3, "left"])


def _refuse_outputs(json_file: Path | None, sheet: Path | None) -> None:
    """Refuse files that could not be written: better now than after reading everything."""
    from wsolbench.files import refuse_unwritable_file

    if json_file is not None:
        refuse_unwritable_file("--json", json_file)
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise UserError(f"--sheet {sheet} has an unknown ending; expected .png")
        refuse_unwritable_file("--sheet", sheet)


def _splits(names: list[str] | None) -> "list[SplitName]":
    """Return the splits that were asked for, in their usual order."""
    from wsolbench.data.splits import SPLITS

    for name in names or ():
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
    return [split for split in SPLITS if not names or split in names]
