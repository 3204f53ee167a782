"""Hand-made records for the tests of records and leaderboard."""

from wsolbench.records import Provenance, Record, Slice

FINGERPRINTS = {"train-weaksup": "a" * 16, "train-fullsup": "b" * 16, "test": "c" * 16}


def make_identity(method="cam", seed=0, **changes):
    identity = {
        "method": method,
        "config": {},
        "backbone": "resnet-tiny",
        "dataset": "parts",
        "dataset_options": {},
        "recipe": {"seed": seed, "image_size": 64, "epochs": 12},
        "fingerprints": FINGERPRINTS,
        "protocol": "1",
    }
    recipe = {**identity["recipe"], **changes.pop("recipe", {})}
    return {**identity, **changes, "recipe": recipe}


def make_record(method="cam", seed=0, v2=50.0, *, fields=None, **changes):
    """Return a record; ``fields`` replaces those of the record, other keywords those of its identity."""
    values = {
        "identity": make_identity(method, seed, **changes),
        "trainable": True,
        "headline": "",
        "metrics": {"max_box_acc_v2": v2},
        "thresholds": {},
        "absent": {},
        "slices": {},
        "images": {"train-weaksup": 3200, "train-fullsup": 400, "test": 1000},
        "counts": {"constant_maps": 3},
        "map_size": (16, 16),
        "provenance": make_provenance(),
        "history": [],
    }
    return Record(**{**values, **(fields or {})})


def make_null(method="center", v2=30.0, *, fields=None, **changes):
    return make_record(method, v2=v2, backbone="none", fields={"trainable": False, **(fields or {})}, **changes)


def make_slice(v2=41.5, images=612, t=0.125):
    return Slice(images=images, metrics={"max_box_acc_v2": v2}, thresholds={"max_box_acc_v2": t}, absent={})


def make_empty_slice():
    absent = {"max_box_acc_v2": "no test image is in this slice"}
    return Slice(images=0, metrics={}, thresholds={}, absent=absent)


def make_provenance(**changes):
    values = {
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "device": "cpu, 2 threads",
        "wall_s": 61.5,
        "train_images_per_s": 1000.0,
        "peak_memory_mb": None,
        "command": "wsolbench run cam parts --seed 0",
        "started": "2030-01-02T03:04:05+00:00",
        "finished": "2030-01-02T03:05:06+00:00",
    }
    return Provenance(**{**values, **changes})


def squeeze(text):
    """Collapse what padding and rulers are made of, so that a golden table shows only what is said."""
    return [" ".join(line.replace("-", " ").split()) for line in text.splitlines() if line.strip()]
