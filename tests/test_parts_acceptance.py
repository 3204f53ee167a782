"""What the generated dataset promises: CAM learns it, looks at the part, and methods can be told apart on it."""

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from wsolbench.data.parts import masks
from wsolbench.data.registry import open_dataset
from wsolbench.experiment import run
from wsolbench.protocols import prepare
from wsolbench.records import load_records, read_record
from wsolbench.request import Request

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def cam(tmp_path_factory):
    """Train CAM with every default of the dataset; return (record, results folder). About a minute on one core."""
    results = tmp_path_factory.mktemp("acceptance")
    return read_record(run(Request(method="cam", dataset="parts", backbone="resnet-tiny", results=results))), results


def test_cam_learns_the_classes(cam):
    record, _ = cam
    assert record.metrics["top1_cls"] >= 85


def test_the_null_rows_leave_room(cam):
    records, _ = load_records(cam[1])
    v2 = {record.identity["method"]: record.metrics["max_box_acc_v2"] for record in records}
    assert v2["center"] <= 30
    assert v2["ceiling"] >= 95
    assert v2["center"] < v2["cam"] < v2["ceiling"]


def test_cam_looks_at_the_part_more_than_at_the_body(cam):
    record, results = cam
    with np.load(results / "runs" / record.run_id / "test.npz") as kept:
        score_maps = prepare(kept["maps"], (64, 64)).maps
    dataset = open_dataset("parts", None, {})
    inside = [masks(dataset, "test", index) for index in range(200)]
    part, body = (
        mean(
            float(score_map[where[k]].mean())
            for score_map, where in zip(score_maps, inside, strict=False)
            if where[k].any()
        )
        for k in (0, 1)
    )
    assert part >= 1.5 * body


def test_recorded_methods_differ_by_three_standard_deviations_of_the_seeds():
    records, _ = load_records(RESULTS / "parts")
    by_method = {}
    for record in records:
        if record.trainable and record.identity["dataset"] == "parts":
            by_method.setdefault(record.identity["method"], []).append(record.metrics["max_box_acc_v2"])
    assert set(by_method) >= {"cam", "has", "adl", "inca"}
    means = [mean(values) for values in by_method.values()]
    pooled = mean(stdev(values) ** 2 for values in by_method.values()) ** 0.5
    assert max(means) - min(means) >= 3 * pooled
