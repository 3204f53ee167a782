"""A results folder as runs leave it, with score maps made by hand instead of trained."""

import numpy as np
from data_examples import made_dataset
from PIL import Image
from record_examples import make_identity, make_provenance

from wsolbench.data.splits import SPLITS
from wsolbench.null_rows import write_null_rows
from wsolbench.protocols import SplitScores
from wsolbench.record_schema import Record
from wsolbench.records import record_path, write_hits, write_record
from wsolbench.scoring import scaled_boxes, score_raw_maps, score_with_slices
from wsolbench.stored_hits import SCORED, score_arrays


def write_results(
    folder, dataset, methods=("cam", "has", "adl"), seeds=(0, 1), map_side=8, noise=None, fields=None, **changes
):
    """Write records, hits, kept maps and null rows; return the records.

    Better methods come first: their maps follow the true boxes more closely, unless all have the same ``noise``.
    ``fields`` replaces those of the records, other keywords those of their identities.
    """
    side = dataset.image_size
    boxes = {split: dataset.annotations(split) for split in SCORED}
    records = []
    for place, method in enumerate(methods):
        for seed in seeds:
            rng = np.random.default_rng([place, seed])
            spread = 0.4 + 0.2 * place if noise is None else noise
            raw = {split: noisy_maps(found, side, map_side, spread, rng) for split, found in boxes.items()}
            identity = make_identity(
                method,
                seed,
                dataset=dataset.name,
                dataset_options=dict(dataset.options),
                fingerprints={split: dataset.fingerprint(split) for split in SPLITS},
                recipe={"image_size": side, "normalization": "min-max"},
                **changes,
            )
            record, scores = scored_record(identity, dataset, boxes, raw, rng, fields or {})
            write_hits(record_path(identity, folder).with_suffix(".npz"), **score_arrays(scores))
            write_record(record, folder)
            ids = np.array(boxes["test"].ids)
            write_hits(folder / "runs" / record.run_id / "test.npz", ids=ids, maps=raw["test"])
            records.append(record)
    write_null_rows(dataset, side, (map_side, map_side), folder, "wsolbench run cam parts", (None, None))
    return records


def noisy_maps(annotations, side, map_side, noise, rng):
    """Return maps that are high inside the true boxes, float32 (N, h, w)."""
    cells = side / map_side
    maps = noise * rng.standard_normal((len(annotations), map_side, map_side))
    for index, boxes in enumerate(np.split(scaled_boxes(annotations, side), annotations.offsets[1:-1])):
        for x0, y0, x1, y1 in boxes:
            maps[index, int(y0 / cells) : int(y1 / cells) + 1, int(x0 / cells) : int(x1 / cells) + 1] += 1
    return maps.astype(np.float32)


def scored_record(identity, dataset, boxes, raw, rng, fields):
    """Score the maps as a run does; return the record, and the scores."""
    side, classes = dataset.image_size, len(dataset.class_names)
    scores = {
        split: SplitScores(
            hits=score_raw_maps(raw[split], found, side).hits,
            ranks=rng.integers(0, classes, len(found)),
            num_classes=classes,
        )
        for split, found in boxes.items()
    }
    whole, slices = score_with_slices(scores, boxes, side)
    values = {
        "identity": identity,
        "trainable": True,
        "headline": dataset.headline,
        "metrics": whole.metrics,
        "thresholds": whole.thresholds,
        "absent": whole.absent,
        "slices": slices,
        "images": {split: len(dataset.images(split)) for split in SPLITS},
        "counts": {"constant_maps_test": 0},
        "map_size": raw["test"].shape[1:],
        "provenance": make_provenance(command=f"wsolbench run {identity['method']} {dataset.name} --seed 0"),
        "history": [{"cls": 2.0 / (1 + epoch), "lr": 0.02} for epoch in range(5)],
    }
    return Record(**{**values, **fields}), scores


def noise_dataset(side, images, class_names=("cat", "dog"), name="made"):
    """Return a dataset of pictures that no codec can make small, with a box each."""
    dataset = made_dataset(name, class_names=class_names, image_size=side)
    for place, made in enumerate(dataset.splits.values()):
        rng = np.random.default_rng(place)
        size = (side, side)
        count = images if place == 2 else 2 * len(class_names)
        made.pictures = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]
        made.ids = [f"{place}/{index}.jpg" for index in range(count)]
        made.labels = [index % len(class_names) for index in range(count)]
        made.boxes = [[(side // 8, side // 8, side // 2 + index % 5, side // 2)] for index in range(count)]
        made.sizes = [size] * count
    return dataset
