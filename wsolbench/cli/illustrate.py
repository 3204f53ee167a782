"""``wsolbench illustrate RUN``: a figure of what a trained method does to its training images."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import DataRoot, MasksRoot, Metadata, Results
from wsolbench.errors import UserError

FORMATS = (".png", ".pdf", ".svg")


def illustrate(
    run: Annotated[str, typer.Argument(help="The first characters of a run id, or a record's path.")],
    out: Annotated[Path | None, typer.Option(help="The picture to write; METHOD.png.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Number of images, one a class.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the step that is shown.")] = 0,
    data_root: DataRoot = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    results: Results = Path("results"),
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="The Python file of the run's method.")
    ] = None,
) -> None:
    """Draw hidden cells, pasted boxes, attentions, masks or guidance of one training step, with the trained network."""
    from wsolbench.data.places import Places
    from wsolbench.files import refuse_unwritable
    from wsolbench.records import find_record
    from wsolbench.report.illustrate import draw_views
    from wsolbench.trained import open_run

    record = find_record(results, run)
    path = out or Path(f"{record.identity['method']}.png")
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--out {path}: expected a file name that ends in {', '.join(FORMATS)}")
    refuse_unwritable("--out", path.parent)
    places = Places(data_root=data_root, metadata=metadata, masks_root=masks_root)
    plan, method = open_run(record, results, places=places, device="cpu", plugins=plugin or [])
    typer.echo(f"picture: {draw_views(method, plan.division, plan.recipe.image_size, path, images, seed)}")
