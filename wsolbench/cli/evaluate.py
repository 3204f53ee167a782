"""``wsolbench evaluate MAPS DATASET``: score maps made by anyone."""

import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsolbench.cli.common import DataOption, DataRoot, MasksRoot, Metadata, Quiet, key_values
from wsolbench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsolbench.data.splits import Annotations, SplitName
    from wsolbench.evaluation import Evaluation, MapSource

SCORED = ("train-fullsup", "test")


def evaluate(
    maps: Annotated[
        Path,
        typer.Argument(
            help="Folder with <image id>.npy, float (h, w), any size, any range; or one .npz with 'ids', 'maps' and "
            "perhaps 'logits', as runs keep; or one .npy (N, h, w) with --ids."
        ),
    ],
    dataset: Annotated[
        str, typer.Argument(help="See `wsolbench list datasets`; 'folder' for your own --metadata in the same format.")
    ],
    split: Annotated[str, typer.Option(help="test or train-fullsup.")] = "test",
    ids: Annotated[Path | None, typer.Option(help="For one .npy: the maps' image ids, one a line.")] = None,
    fullsup_maps: Annotated[Path | None, typer.Option(help="Maps of train-fullsup, for frozen thresholds.")] = None,
    fullsup_ids: Annotated[Path | None, typer.Option(help="For one .npy: the ids of those maps.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Predicted labels for Top-k: lines id,label[,label...], best first.")
    ] = None,
    metadata: Metadata = None,
    masks_root: MasksRoot = None,
    data_root: DataRoot = None,
    data_option: DataOption = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the evaluation size, pixels.")] = None,
    normalization: Annotated[
        str,
        typer.Option(
            help="min-max, the protocol's; its variants max, pas, ivr; none: maps are in [0, 1] at the evaluation size."
        ),
    ] = "min-max",
    iou: Annotated[
        list[float] | None, typer.Option(help="A further IoU criterion, beside 0.3, 0.5 and 0.7; repeatable.")
    ] = None,
    allow_invalid: Annotated[
        bool, typer.Option("--allow-invalid", help="Score a map with NaN or infinity as all zeros.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
    curves: Annotated[
        Path | None, typer.Option(help="Also draw box accuracy over the threshold: .png, .svg or .pdf.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score maps under the protocol."""
    from wsolbench import evaluation
    from wsolbench.data.registry import open_annotations
    from wsolbench.files import atomic_write, refuse_unwritable_file
    from wsolbench.report.curves import check_format, draw_curves

    places = _places(split, maps, ids, fullsup_maps, fullsup_ids)
    if json_file is not None:
        refuse_unwritable_file("--json", json_file)
    if curves is not None:
        check_format("--curves", curves)
    options = key_values("--data-option", data_option or [])
    if metadata is not None and (options or data_root is not None):
        raise UserError("--metadata says what the split is; leave out --data-root and --data-option, or it")
    found, default_side = open_annotations(
        dataset, places, root=data_root, metadata=metadata, masks_root=masks_root, options=options
    )
    sources = [
        evaluation.MapSource(
            maps=place,
            ids=file,
            annotations=found[name],
            side=default_side if image_size is None else image_size,
            normalization=normalization,
            allow_invalid=allow_invalid,
            predictions=predictions if name == split else None,
            criteria=_criteria(iou or []),
        )
        for name, (place, file) in places.items()
    ]
    if sources[0].annotations.masks is not None and (curves is not None or iou):
        raise UserError("--curves and --iou are about boxes, and this split has masks; leave them out")
    result = evaluation.evaluate(sources[0], sources[1] if len(sources) > 1 else None, quiet)
    body = _report(dataset, sources, result, _warnings(dataset, list(found.values())))
    typer.echo(_table(body))
    if json_file is not None:
        atomic_write(json_file, (json.dumps(body, indent=1, sort_keys=True) + "\n").encode())
    if curves is not None and result.hits is not None:
        draw_curves(result.hits, result.scores.thresholds, _title(body), curves)


def _places(
    split: str, maps: Path, ids: Path | None, fullsup_maps: Path | None, fullsup_ids: Path | None
) -> "dict[SplitName, tuple[Path, Path | None]]":
    """Return where each split's maps and their ids are, those of the split to score first."""
    if split not in SCORED:
        raise unknown_name("split", split, SCORED)
    if fullsup_maps is None and fullsup_ids is not None:
        raise UserError("--fullsup-ids is for the maps of --fullsup-maps; give both or neither")
    if split == "test":
        scored: dict[SplitName, tuple[Path, Path | None]] = {"test": (maps, ids)}
        return scored if fullsup_maps is None else {**scored, "train-fullsup": (fullsup_maps, fullsup_ids)}
    if fullsup_maps is not None:
        raise UserError("--fullsup-maps is for --split test; the maps scored here are those of train-fullsup already")
    return {"train-fullsup": (maps, ids)}


def _criteria(further: list[float]) -> tuple[float, ...]:
    """Return the protocol's IoU criteria and further ones, in order."""
    from wsolbench.protocols import CRITERIA

    for d in further:
        if not 0 < d <= 1 or abs(100 * d - round(100 * d)) > 1e-9:
            raise UserError(f"--iou {d:g} is not allowed; expected a fraction of whole percents, such as 0.9")
    return tuple(sorted({*CRITERIA, *further}))


def _warnings(dataset: str, splits: "list[Annotations]") -> list[str]:
    """Return what keeps the numbers from being compared with others: wrong counts, splits that overlap."""
    from wsolbench.data.published import check_counts, check_overlap

    texts = [check_counts(dataset, split) for split in splits]
    texts += [check_overlap(first, second) for first, second in combinations(splits, 2)]
    return [text for text in texts if text]


def _report(dataset: str, sources: "list[MapSource]", result: "Evaluation", warnings: list[str]) -> dict[str, Any]:
    """Return everything that was found, as JSON values; the second source, if there is one, is train-fullsup."""
    from wsolbench.protocols import AS_GIVEN, MIN_MAX, PROTOCOL_VERSION

    source, normalization = sources[0], result.normalization
    if normalization.name not in (MIN_MAX.name, AS_GIVEN):
        percentile = "" if normalization.percentile is None else f" (percentile {normalization.percentile})"
        warnings = [
            *warnings,
            f"--normalization {normalization.name}{percentile} is not the protocol's; the numbers do not compare with "
            "those of min-max",
        ]
    return {
        "dataset": dataset,
        "split": source.annotations.split,
        "image_size": source.side,
        "normalization": normalization.name,
        "percentile": normalization.percentile,
        "protocol": PROTOCOL_VERSION,
        "images": result.scores.images,
        "fullsup_images": len(sources[1].annotations) if len(sources) > 1 else None,
        "metrics": result.scores.metrics,
        "thresholds": result.scores.thresholds,
        "absent": result.scores.absent,
        "counts": result.counts,
        "named": result.named,
        "warnings": warnings,
    }


def _title(body: dict[str, Any]) -> str:
    fullsup = "" if body["fullsup_images"] is None else f" (train-fullsup: {body['fullsup_images']:,})"
    return f"{body['dataset']}, {body['split']}: {body['images']:,} maps{fullsup}, protocol {body['protocol']}"


def _table(body: dict[str, Any]) -> str:
    """Return the numbers as a readable table: a metric a line, oracle and frozen beside each other."""
    from tabulate import tabulate

    metrics, thresholds = body["metrics"], body["thresholds"]

    def cells(key: str) -> list[str]:
        at = f"{thresholds[key]:.3f}" if key in thresholds else ""
        return [f"{metrics[key]:.2f}" if key in metrics else "", at]

    names = list(dict.fromkeys(key.removesuffix("_fullsup") for key in metrics))
    names.sort(key=lambda name: (not name.startswith("max_box_acc_v2"), not name.startswith("max")))  # stable
    rows = [[name, *cells(name), *cells(f"{name}_fullsup")] for name in names]
    head = ["metric", "%", "threshold", "fullsup %", "fullsup threshold"]
    if not any(key.endswith("_fullsup") for key in metrics):
        head, rows = head[:3], [row[:3] for row in rows]
    align = ["left", *["right"] * (len(head) - 1)]
    lines = [_title(body), tabulate(rows, headers=head, disable_numparse=True, colalign=align)]
    for kind, count in body["counts"].items():
        if count:
            shown = body["named"][kind][:3]
            lines.append(f"{kind.replace('_', ' ')}: {count:,} ({', '.join(shown)}{', ...' if count > 3 else ''})")
    reasons: dict[str, list[str]] = {}
    for key, reason in body["absent"].items():
        if body["absent"].get(key.removesuffix("_fullsup")) != reason or not key.endswith("_fullsup"):
            reasons.setdefault(reason, []).append(key)  # what is said of a metric goes for its frozen twin
    lines += [f"absent: {', '.join(keys)} ({reason})" for reason, keys in reasons.items()]
    lines += [f"warning: {text}" for text in body["warnings"]]
    return "\n".join(lines)
