"""Values that no refactoring may move unnoticed, pinned in ``golden.json``.

Trained weights differ between processors in their last bits, so nothing trained is pinned. What is pinned is the same
everywhere: hashes of settings, whole numbers from torch's CPU generators, and scores of whole-number maps, whose
arithmetic is exact. Initial weights pass through a logarithm and a cosine, so they are pinned to five digits.

How each value came about: ``run_id`` by ``sha256`` of the identity, which is spelled out in this file;
``data_order``, ``crops``, ``draws`` and ``initial_weights`` by running the code once; ``scores`` by the OpenCV loop of
``tests/protocols/opencv_oracle.py``, which this test runs again.

There is no option that rewrites the file. Who changes a value on purpose edits it by hand, raises the version that the
change belongs to (``PROTOCOL_VERSION`` for scores) and says in the CHANGELOG that older records are not comparable.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wsolbench.data.augment import draw_augmentation
from wsolbench.data.splits import Annotations
from wsolbench.engine.seeding import stream
from wsolbench.evaluation import MapSource, evaluate
from wsolbench.experiment import build_method, make_plan
from wsolbench.plugins import load_method
from wsolbench.protocols import PROTOCOL_VERSION

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CPU = torch.device("cpu")


def digest(*tensors):
    """Return the start of the SHA-256 of whole numbers as little-endian int64."""
    joined = hashlib.sha256()
    for tensor in tensors:
        joined.update(np.ascontiguousarray(tensor.numpy(), dtype="<i8").tobytes())
    return joined.hexdigest()[:16]


def plan_of(tiny_request, method):
    # Everything that the dataset would choose is spelled out: its defaults may be tuned.
    chosen = {"epochs": 2, "seed": 0, "feature_map": 4, "lr": 0.1, "lr_decay_every": 5}
    return make_plan(tiny_request(method, recipe=chosen))


@pytest.mark.parametrize("method", ["cam", "has"])
def test_run_id(tiny_request, method):
    identity = {
        "method": method,
        "config": {"cam": {}, "has": {"drop_rate": 0.5, "cell": 4}}[method],
        "backbone": "resnet-tiny",
        "dataset": "parts",
        "dataset_options": {"train": 64, "fullsup": 16, "test": 16},
        "recipe": {
            "backbone": "resnet-tiny",
            "feature_map": 4,
            "weights": "none",
            "image_size": 64,
            "epochs": 2,
            "batch_size": 32,
            "lr": 0.1,
            "lr_decay_every": 5,
            "lr_decay_early": False,
            "new_layer_lr": 10,
            "param_groups": "pretrained",
            "momentum": 0.9,
            "weight_decay": 0.0001,
            "bn_recalibrate": False,
            "precision": "fp32",
            "deterministic": False,
            "normalization": "min-max",
            "world_size": 1,
            "seed": 0,
        },
        "fingerprints": GOLDEN["fingerprints"],
        "protocol": GOLDEN["protocol"],
        "device_type": "cpu",
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN["run_id"][method]
    assert plan_of(tiny_request, method).run_id == GOLDEN["run_id"][method]


def test_protocol_version():
    assert GOLDEN["protocol"] == PROTOCOL_VERSION


@pytest.mark.parametrize("epoch", [0, 1, 11])
def test_data_order(epoch):
    assert digest(torch.randperm(3200, generator=stream(CPU, 0, "order", epoch))) == GOLDEN["data_order"][str(epoch)]


def test_crops():
    generator = stream(CPU, 0, "augmentation", 0)
    found = []
    for _ in range(3):
        draws = draw_augmentation(32, 73, 64, generator)
        found += [draws.top, draws.left, draws.flip]
    assert digest(*found) == GOLDEN["crops"]


@pytest.mark.parametrize("name", ["has", "adl", "inca"])
def test_draws(tiny_request, name):
    method = build_method(plan_of(tiny_request, name))
    generator = stream(CPU, 0, "draws", 0)
    drawn = [value for _ in range(3) for value in method.draw(32, (64, 64), generator).values()]
    assert {value.dtype for value in drawn} == {torch.bool}  # decisions, which no rounding can blur
    assert digest(*drawn) == GOLDEN["draws"][name]


def test_initial_weights(tiny_request):
    state = build_method(plan_of(tiny_request, "cam")).state_dict()
    assert list(GOLDEN["initial_weights"]) == [name for name in state if state[name].dim() > 1]
    for name, (first, last, spread) in GOLDEN["initial_weights"].items():
        values = state[name].flatten()
        assert [values[0].item(), values[-1].item()] == pytest.approx([first, last], rel=1e-5), name
        assert values.std().item() == pytest.approx(spread, rel=1e-4), name


def test_methods_built_in():
    for name in ("cam", "has", "adl", "inca"):  # their names are in every record
        assert load_method(name).name == name


def fixed_split(name, seed):
    """Return annotations and maps of 40 images, from whole numbers alone."""
    rng = np.random.Generator(np.random.PCG64(seed))
    corner, extent = rng.integers(0, 40, (40, 2)), rng.integers(8, 60, (40, 2))
    annotations = Annotations(
        split=name,
        ids=tuple(f"{index:02}" for index in range(40)),
        labels=np.zeros(40, dtype=np.int64),
        sizes=np.full((40, 2), 100),
        boxes=np.concatenate([corner, corner + extent], axis=1),
        offsets=np.arange(41),
    )
    return annotations, rng.integers(-50, 200, (40, 8, 8)).astype(np.float64)


def test_scores(oracle, tmp_path):
    import cv2

    counts, sources = {}, {}
    for seed, name in enumerate(("test", "train-fullsup")):
        annotations, maps = fixed_split(name, seed)
        (tmp_path / name).mkdir()
        curve = np.zeros((3, 1000), dtype=np.int64)
        for image, box, values in zip(annotations.ids, annotations.boxes, maps, strict=True):
            np.save(tmp_path / name / f"{image}.npy", values)
            wide = cv2.resize(values, (64, 64), interpolation=cv2.INTER_CUBIC)
            score_map = np.floor(255 * ((wide - wide.min()) / (wide.max() - wide.min()))).astype(np.uint8)
            ious = oracle.ious_by_level(score_map, (box * 64 // 100)[None])
            curve += ious[(np.arange(0, 1, 0.001) * 255).astype(int)] >= np.array([[0.3], [0.5], [0.7]])
        counts[name] = curve
        sources[name] = MapSource(maps=tmp_path / name, annotations=annotations, side=64)
    chosen = counts["train-fullsup"].argmax(axis=1)
    assert counts["test"].max(axis=1).tolist() == GOLDEN["scores"]["hits"]
    assert [int(counts["test"][k, t]) for k, t in enumerate(chosen)] == GOLDEN["scores"]["hits_fullsup"]
    assert counts["test"].argmax(axis=1).tolist() == GOLDEN["scores"]["threshold_per_mille"]
    found = evaluate(sources["test"], sources["train-fullsup"], quiet=True).scores
    for k, d in enumerate((30, 50, 70)):
        key = f"max_box_acc_v2_iou{d}"
        assert found.metrics[key] * 40 / 100 == pytest.approx(GOLDEN["scores"]["hits"][k])
        assert found.metrics[key + "_fullsup"] * 40 / 100 == pytest.approx(GOLDEN["scores"]["hits_fullsup"][k])
        assert found.thresholds[key] * 1000 == pytest.approx(GOLDEN["scores"]["threshold_per_mille"][k])
