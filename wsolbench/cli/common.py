"""What several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wsolbench.errors import UserError

# --- options that mean the same everywhere ----------------------------------------------------------------------------

Backbone = Annotated[
    str | None, typer.Option(help="A backbone; see `wsolbench list backbones`. The preset's, or resnet50.")
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder or archive of the images.")]
Metadata = Annotated[
    Path | None, typer.Option(help="Folder of split files in the published format: train/ val/ test/.")
]
MasksRoot = Annotated[Path | None, typer.Option(help="Folder that the names of the masks are relative to.")]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Go on where the splits are not the benchmark's: fewer images, say.")
]
DataOption = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the dataset, such as classes=20.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over train-weaksup; the dataset's default.")]
Weights = Annotated[str | None, typer.Option(help="imagenet, none or a file; imagenet where there are any.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of crop and evaluation size, pixels.")]
Normalization = Annotated[
    str | None, typer.Option(help="Score-map normalisation: min-max, the protocol's; or max, pas, ivr.")
]
Precision = Annotated[str, typer.Option(help="Training arithmetic: auto, bf16 or fp32.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Refuse nondeterministic kernels.")]
Results = Annotated[Path, typer.Option(help="Folder of the records and runs.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|none",
        help="Folder of the decoded images; ~/.cache/wsolbench. A split that would take more than half of what is "
        "free there is decoded anew each time it is needed; with none, every split is.",
    ),
]
Plugin = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A Python file with a method of your own.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Plain progress lines.")]


def key_values(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read repeated ``key=value`` options.

    Args:
        option: the option's name, for the error.
        texts: what the user wrote.

    Raises:
        UserError: no ``=`` in a text, or a key given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"{option} {text} cannot be read; expected key=value")
        if key in values:
            raise UserError(f"{option} {key} was given twice; give it once")
        values[key] = value
    return values
