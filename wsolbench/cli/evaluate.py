"""``wsolbench evaluate MAPS_DIR DATASET``: score maps made by anyone."""

import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsolbench.cli.common import key_values
from wsolbench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsolbench.data.splits import Annotations, SplitName

SCORED = ("train-fullsup", "test")


def evaluate(
    maps: Annotated[Path, typer.Argument(help="Folder with <image id>.npy, float (h, w), any size, any range.")],
    dataset: Annotated[str, typer.Argument(help="A dataset; see `wsolbench list datasets`.")],
    split: Annotated[str, typer.Option(help="test or train-fullsup.")] = "test",
    fullsup_maps: Annotated[Path | None, typer.Option(help="Maps of train-fullsup, for frozen thresholds.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Published split files: train/ val/ test/.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the images.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the dataset, such as classes=20.")
    ] = None,
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
    from wsolbench.data.registry import open_annotations
    from wsolbench.files import atomic_write, refuse_unwritable_file

    folders = _folders(maps, split, fullsup_maps)
    if json_file is not None:
        refuse_unwritable_file("--json", json_file)
    options = key_values("--data-option", data_option or [])
    found, default_side = open_annotations(dataset, folders, root=data_root, metadata=metadata, options=options)
    side = default_side if image_size is None else image_size
    scored, *frozen = (
        evaluation.MapSource(
            folder=folder,
            annotations=found[name],
            side=side,
            normalization=normalization,
            allow_invalid=allow_invalid,
        )
        for name, folder in folders.items()
    )
    result = evaluation.evaluate(scored, frozen[0] if frozen else None, quiet)
    body = _report(dataset, split, side, normalization, result, _warnings(dataset, list(found.values())))
    typer.echo(_table(body))
    if json_file is not None:
        atomic_write(json_file, (json.dumps(body, indent=1, sort_keys=True) + "\n").encode())


def _folders(maps: Path, split: str, fullsup_maps: Path | None) -> "dict[SplitName, Path]":
    """Return the folder of each split's maps, that of the split to score first."""
    if split not in SCORED:
        raise unknown_name("split", split, SCORED)
    if split == "test":
        return {"test": maps} if fullsup_maps is None else {"test": maps, "train-fullsup": fullsup_maps}
    if fullsup_maps is not None:
        raise UserError("--fullsup-maps is for --split test; the maps scored here are those of train-fullsup already")
    return {"train-fullsup": maps}


def _warnings(dataset: str, splits: "list[Annotations]") -> list[str]:
    """Return what keeps the numbers from being compared with others: wrong counts, splits that overlap."""
    from wsolbench.data.published import check_counts, check_overlap

    texts = [check_counts(dataset, split) for split in splits]
    texts += [check_overlap(first, second) for first, second in combinations(splits, 2)]
    return [text for text in texts if text]


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
