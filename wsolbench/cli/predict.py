"""``wsolbench predict CHECKPOINT IMAGE...``: class, score map and box of any picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsolbench.cli.common import Device, Plugin, Quiet, Results
from wsolbench.errors import RunError, UserError

if TYPE_CHECKING:
    from wsolbench.predict import Predicted


def predict(
    checkpoint: Annotated[
        str, typer.Argument(help="The model.pt of a run, its folder runs/RUN-ID, or the first characters of a run id.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, and folders of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder of the overlays and of predictions.json.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Operating threshold, 0 <= t < 1; the one that the run froze on train-fullsup for GT-known."),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Maps a picture: of the k most probable classes.")] = 1,
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="The class of the map, instead of the most probable.")
    ] = None,
    results: Results = Path("results"),
    device: Device = "auto",
    plugin: Plugin = None,
    quiet: Quiet = False,
) -> None:
    """Predict class and box of pictures with a trained network; draw score map and box over each."""
    from wsolbench.predict import LISTED, Asked
    from wsolbench.predict import predict as run_prediction

    if class_name is not None and top_k > 1:
        raise UserError("--class and --top-k were both given; choose one")
    asked = Asked(
        checkpoint=checkpoint,
        images=images,
        out=out,
        threshold=threshold,
        top_k=top_k,
        class_name=class_name,
        results=results,
        device=device,
        plugins=plugin or [],
        quiet=quiet,
    )
    done = run_prediction(asked)
    typer.echo(f"{done.network}; boxes at t = {done.point.threshold:.3f} ({done.point.origin})\n")
    typer.echo(_table(done))
    typer.echo(f"\noverlays and {LISTED}: {out}")
    rotated = [each.image for each in done.images if each.rotated]
    if rotated:
        typer.echo(
            f"warning: viewers turn {len(rotated)} of the pictures by their EXIF data ({rotated[0]}), prediction takes "
            "them as they are stored, as scoring does; save them upright",
            err=True,
        )
    for reason in done.failed.values():
        typer.echo(reason, err=True)
    if done.failed:
        count = len(done.failed) + len(done.images)
        raise RunError(f"{len(done.failed)} of {count} pictures could not be read; the others are done")


def _table(done: "Predicted") -> str:
    """Return a line for each map."""
    from tabulate import tabulate

    rows = [
        [
            each.image,
            found.name or "-",
            "-" if found.probability is None else f"{found.probability:.1%}",
            "none" if found.box is None else " ".join(map(str, found.box)),
            found.overlay,
        ]
        for each in done.images
        for found in each.maps
    ]
    head = ["image", "class", "score", "box x0 y0 x1 y1", "overlay"]
    return tabulate(rows, headers=head, disable_numparse=True, colalign=("left", "left", "right", "left", "left"))
