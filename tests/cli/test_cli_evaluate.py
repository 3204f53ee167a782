"""``wsolbench evaluate``: labels, one file for all maps, normalisations, curves, masks, split files of one's own."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def evaluated(cli, tmp_path):
    """Return a function that runs ``evaluate`` and returns what it wrote as JSON, and its output."""

    def run(*words):
        done = cli("evaluate", *words, "--json", "out.json", "--quiet")
        assert done.status == 0, done.err
        return json.loads((tmp_path / "out.json").read_text()), done.out

    return run


def test_what_a_run_keeps_gives_the_records_numbers(evaluated, arguments, finished):
    kept = finished.path.parents[2] / "runs" / finished.record.run_id
    words = (kept / "test.npz", "parts", *arguments.tiny, "--fullsup-maps", kept / "train-fullsup.npz")
    body, out = evaluated(*words)
    assert body["metrics"] == finished.record.metrics
    assert body["thresholds"] == finished.record.thresholds
    assert body["absent"] == finished.record.absent == {"pxap": "the split has boxes, no masks"}
    assert body["percentile"] is None
    images = finished.record.images
    assert (body["images"], body["fullsup_images"]) == (images["test"], images["train-fullsup"])
    assert out.splitlines()[0].endswith(
        f" {images['test']} maps (train-fullsup: {images['train-fullsup']}), protocol 1"
    )
    names = [line.split()[0] for line in out.splitlines()[3:8]]
    assert sorted(names[:4]) == ["max_box_acc_v2", *(f"max_box_acc_v2_iou{d}" for d in (30, 50, 70))]
    assert names[4] == "max_box_acc"
    line = next(line for line in out.splitlines() if line.startswith("gt_known "))
    metrics = body["metrics"]
    assert [f"{metrics[key]:.2f}" in line for key in ("gt_known", "gt_known_fullsup")] == [True, True]


def test_one_npy_with_ids_and_labels(evaluated, metadata, tmp_path):
    ids = list(reversed(metadata.test))
    np.save(tmp_path / "maps.npy", np.random.default_rng(0).random((5, 7, 7)))
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    (tmp_path / "labels.csv").write_text("\n".join(f"{image},0,1,7,8,9" for image in ids))
    words = ("maps.npy", "folder", "--ids", "ids.txt", "--metadata", metadata.folder, "--predictions", "labels.csv")
    body, _ = evaluated(*words, "--iou", "0.9", "--iou", "0.5")
    assert body["dataset"] == "folder"
    assert body["fullsup_images"] is None
    assert body["metrics"]["top1_cls"] == 60  # the labels are 0 1 0 1 0
    assert body["metrics"]["top5_cls"] == 100
    assert body["metrics"]["top5_loc"] == body["metrics"]["gt_known"]
    assert "max_box_acc_v2_iou90" in body["metrics"]
    assert body["warnings"] == []


@pytest.mark.parametrize("name", ["max", "pas", "ivr"])
def test_other_normalisations_are_labelled(evaluated, refused, metadata, save_maps, name):
    folder, fullsup = save_maps(metadata.test), save_maps(metadata.fullsup, "fullsup", seed=1)
    words = (folder, "folder", "--metadata", metadata.folder, "--image-size", "32", "--normalization", name)
    body, out = evaluated(*words, "--fullsup-maps", fullsup)
    assert body["normalization"] == name
    assert (body["percentile"] is None) == (name == "max")
    assert f"warning: --normalization {name}" in out
    assert "is not the protocol's" in out
    if name != "max":
        assert f"{name} chooses its percentile on train-fullsup" in refused("evaluate", *words)


@pytest.mark.parametrize(("name", "magic"), [("c.png", b"\x89PNG"), ("c.svg", b"<?xml"), ("new/c.PDF", b"%PDF")])
def test_curves(evaluated, metadata, save_maps, tmp_path, name, magic):
    words = (save_maps(metadata.test), "folder", "--metadata", metadata.folder, "--image-size", "32")
    evaluated(*words, "--fullsup-maps", save_maps(metadata.fullsup, "fullsup"), "--curves", name)
    assert (tmp_path / name).read_bytes().startswith(magic)


@pytest.fixture
def masked(metadata, tmp_path):
    """Make the split files list masks, which are there."""
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.pad(np.full((10, 10), 255, dtype=np.uint8), 5)).save(tmp_path / "masks" / "m.png")
    for folder in ("test", "val"):
        ids = (metadata.folder / folder / "image_ids.txt").read_text().splitlines()
        (metadata.folder / folder / "localization.txt").write_text("".join(f"{image},m.png,\n" for image in ids))
        (metadata.folder / folder / "image_sizes.txt").write_text("")
    return metadata


def test_masks(evaluated, refused, masked, save_maps):
    folder = save_maps(masked.test)
    words = (folder, "openimages", "--metadata", masked.folder, "--masks-root", "masks", "--image-size", "32")
    body, out = evaluated(*words)
    assert set(body["metrics"]) == {"pxap"}
    assert 0 < body["metrics"]["pxap"] < 100
    assert body["absent"]["gt_known"] == "the split has masks, no boxes"
    assert body["warnings"][0].startswith("openimages test has 5 images where the benchmark has 5,000")
    assert "pxap" in out
    for option in (("--curves", "c.png"), ("--iou", "0.9")):
        assert "this split has masks; leave them out" in refused("evaluate", *words, *option)
    shown = next(line for line in out.splitlines() if line.startswith("absent: max_box_acc_v2_iou30, "))
    assert "_fullsup" not in shown  # said of each metric once
    assert "lists mask files; give their folder with --masks-root" in refused("evaluate", *words[:4])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--curves", "c.gif"), "--curves c.gif has an unknown ending; expected one of .png, .svg, .pdf"),
        (("--iou", "0.625"), "--iou 0.625 is not allowed; expected a fraction of whole percents, such as 0.9"),
        (("--iou", "0"), "--iou 0 is not allowed"),
        (("--ids", "ids.txt"), "names its maps itself; leave out --ids"),
        (("--fullsup-ids", "ids.txt"), "--fullsup-ids is for the maps of --fullsup-maps; give both or neither"),
        (("--predictions", "nowhere.csv"), "cannot read nowhere.csv"),
        (("--masks-root", "."), "lists boxes, no masks; leave out --masks-root"),
        (("--data-option", "classes=3"), "--metadata says what the split is; leave out --data-root and --data-option"),
        (("--data-root", "."), "--metadata says what the split is; leave out --data-root and --data-option"),
    ],
)
def test_refusals(refused, metadata, save_maps, words, message):
    assert message in refused("evaluate", save_maps(metadata.test), "folder", "--metadata", metadata.folder, *words)


def test_masks_need_split_files(refused, save_maps):
    sentence = refused("evaluate", save_maps(["a"]), "parts", "--masks-root", ".")
    assert "--masks-root is for published split files that list masks" in sentence
