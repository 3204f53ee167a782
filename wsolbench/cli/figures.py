"""``wsolbench figures``: records to figures for papers."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import DataOption, DataRoot, Metadata, key_values
from wsolbench.errors import UserError


def figures(
    results: Annotated[Path, typer.Argument(help="Folder of the records.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write into, a folder inside it for each table.")] = Path(
        "figures"
    ),
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="qualitative, curves, iou, best-of-k, training, accuracy-localisation or seeds; repeatable. All.",
        ),
    ] = None,
    formats: Annotated[str, typer.Option(help="Some of svg, png, pdf, separated by commas.")] = "svg,png",
    dataset: Annotated[str | None, typer.Option(help="Only the tables of this dataset.")] = None,
    data_option: DataOption = None,
    methods: Annotated[str | None, typer.Option(help="Only these rows: names separated by commas.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Images that methods are compared on.")] = 6,
    data_root: DataRoot = None,
    metadata: Metadata = None,
) -> None:
    """Draw the figures of every table of the records below RESULTS, each with its caption.

    Pictures, IoUs and curves on a slice need the data, and the raw maps that a run keeps in RESULTS/runs.
    """
    from wsolbench.data.places import Places
    from wsolbench.files import refuse_unwritable
    from wsolbench.report.figures.gallery import Wanted, draw_gallery
    from wsolbench.report.figures.saving import check_formats, save

    kinds = _names(formats)
    check_formats("--formats", kinds)
    refuse_unwritable("--out", out)
    wanted = Wanted(
        results=results,
        only=_names(",".join(only or [])),
        dataset=dataset,
        data_options=key_values("--data-option", data_option or []),
        methods=_names(methods or ""),
        images=images,
        places=Places(data_root=data_root, metadata=metadata),
    )
    notes, drawn = [], 0
    for each in draw_gallery(wanted):
        if isinstance(each, str):
            notes.append(each)
            continue
        paths = save(each.drawing, out / each.folder, kinds)
        typer.echo(f"wrote {paths[0].with_suffix('')}{', '.join(path.suffix for path in paths)}")
        drawn += 1
    if not drawn:
        raise UserError("no figure was drawn; " + "; ".join(notes))
    for note in notes:
        typer.echo(f"not drawn: {note}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
