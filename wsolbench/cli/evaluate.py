"""``wsolbench evaluate MAPS_DIR DATASET``: score maps made by anyone."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from wsolbench.cli.common import key_values
from wsolbench.errors import UserError, unknown_name

SCORED = ("train-fullsup", "test")


def evaluate(
    maps: Annotated[Path, typer.Argument(help="Folder with <image id>.npy, float (h, w), any size, any range.")],
    dataset: Annotated[str, typer.Argument(help="A dataset; see `wsolbench list datasets`.")],
    split: Annotated[str, typer.Option(help="test or train-fullsup.")] = "test",
    fullsup_maps: Annotated[Path | None, typer.Option(help="Maps of train-fullsup, for frozen thresholds.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Published split files: train/ val/ test/.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images.")] = None,
    data_option: Annotated[list[str] | None, typer.Option(help="key=value of the dataset.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the evaluation size, pixels.")] = None,
    normalization: Annotated[
        str, typer.Option(help="min-max, or none: maps are in [0, 1] at the evaluation size.")
    ] = "min-max",
    allow_invalid: Annotated[
        bool, typer.Option("--allow-invalid", help="Score a map with NaN or infinity as all zeros.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Plain progress lines.")] = False,
) -> None:
    """Score a folder of maps under the protocol."""
    from wsolbench import evaluation
    from wsolbench.data.published import check_counts
    from wsolbench.data.registry import dataset_entry, open_annotations
    from wsolbench.files import atomic_write

    side = dataset_entry(dataset).image_size if image_size is None else image_size
    options = key_values("--data-option", data_option or [])
    sources = {"test": maps} if split == "test" else {"train-fullsup": maps}
    if split not in SCORED:
        raise unknown_name("split", split, SCORED)
    if fullsup_maps is not None:
        if split == "train-fullsup":
            raise UserError(
                "--fullsup-maps is for --split test; the maps scored here are those of train-fullsup already"
            )
        sources["train-fullsup"] = fullsup_maps
    found = {
        name: open_annotations(dataset, name, root=data_root, metadata=metadata, options=options)  # type: ignore[arg-type]
        for name in sources
    }
    opened = {
        name: evaluation.MapSource(
            folder=folder,
            annotations=found[name],
            side=side,
            normalization=normalization,
            allow_invalid=allow_invalid,
        )
        for name, folder in sources.items()
    }
    result = evaluation.evaluate(opened.pop(split), opened.get("train-fullsup"), quiet)
    warnings = [text for boxes in found.values() if (text := check_counts(dataset, boxes))]
    body = _report(dataset, split, side, normalization, result, warnings)
    typer.echo(_table(body))
    if json_file is not None:
        atomic_write(json_file, (json.dumps(body, indent=1, sort_keys=True) + "\n").encode())


def _report(
    dataset: str,
    split: str,
    side: int,
    normalization: str,
    result: Any,  # noqa: ANN401
    warnings: list[str],
) -> dict[str, Any]:
    """Return everything that was found, as JSON values."""
    from wsolbench.protocols import PROTOCOL_VERSION

    return {
        "dataset": dataset,
        "split": split,
        "image_size": side,
        "normalization": normalization,
        "protocol": PROTOCOL_VERSION,
        "images": result.scores.images,
        "metrics": result.scores.metrics,
        "thresholds": result.scores.thresholds,
        "absent": result.scores.absent,
        "counts": result.counts,
        "warnings": warnings,
    }


def _table(body: dict[str, Any]) -> str:
    """Return the numbers as a readable table."""
    from tabulate import tabulate

    rows = [
        (key, f"{value:.2f}", f"{body['thresholds'][key]:.3f}" if key in body["thresholds"] else "")
        for key, value in body["metrics"].items()
    ]
    head = f"{body['dataset']}, {body['split']}: {body['images']:,} maps, protocol {body['protocol']}"
    lines = [head, tabulate(rows, headers=("metric", "%", "threshold"), disable_numparse=True)]
    lines += [f"{kind.replace('_', ' ')}: {count}" for kind, count in body["counts"].items() if count]
    lines += [f"absent: {key} ({reason})" for key, reason in body["absent"].items()]
    lines += [f"warning: {text}" for text in body["warnings"]]
    return "\n".join(lines)
