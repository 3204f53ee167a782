"""The field's datasets from the command line: a run of one epoch on each, from fixtures in their public layouts."""

import json
import re

import numpy as np
import pytest
from field_examples import below, cub, ilsvrc, openimages, pack, write

from wsolbench.protocols import average_precision
from wsolbench.records import read_record, record_files
from wsolbench.stored_hits import read_scores

SMALL = ["--backbone", "resnet-tiny", "--epochs", "1", "--image-size", "32", "--set", "batch_size=2"]
QUIET = ["--precision", "fp32", "--device", "cpu", "--quiet"]


@pytest.fixture
def birds(tmp_path):
    files = cub()
    pack(below("CUB_200_2011", files.original), tmp_path / "CUB_200_2011.tgz")
    pack(files.v2, tmp_path / "CUBV2.tar")
    write(tmp_path / "segmentations", files.masks)
    metadata = write(tmp_path / "m", {name: text for name, text in files.published.items() if name.startswith("val")})
    return ["--data-root", tmp_path / "CUB_200_2011.tgz", "--metadata", metadata]


@pytest.fixture
def net(tmp_path):
    files = ilsvrc()
    root = write(tmp_path / "net", below("train", files.train) | below("val", files.val) | below("val2", files.v2))
    return ["--data-root", root, "--metadata", write(tmp_path / "metadata", files.published)]


@pytest.fixture
def open_images(tmp_path):
    files = openimages()
    root, masks = write(tmp_path / "photographs", files.photographs), write(tmp_path / "masks", files.masks)
    metadata = write(tmp_path / "metadata", files.published)
    return ["--data-root", root, "--masks-root", masks, "--metadata", metadata]


@pytest.fixture
def trained(cli):
    """Return a function that runs a command line to its end and returns the record of the method."""

    def run(*words, method="cam"):
        done = cli("run", method, *words, *SMALL, *QUIET, "--allow-partial", "--results", "r")
        assert done.status == 0, done.err
        records = [read_record(path) for path in record_files_of("r")]
        return next(record for record in records if record.identity["method"] == method), done

    return run


def record_files_of(folder):
    from pathlib import Path

    return record_files(Path(folder))


def test_cub(birds, trained, refused, cli):
    sentence = refused("run", "cam", "cub", *birds, *SMALL, *QUIET)
    assert "cub train-weaksup has 18 images where the benchmark has 5,994" in sentence
    assert "--allow-partial" in sentence
    record, done = trained("cub", *birds)
    assert "warning: cub test has 6 images where the benchmark has 5,794" in done.err
    assert record.images == {"train-weaksup": 18, "train-fullsup": 9, "test": 6}
    assert {"max_box_acc_v2", "max_box_acc_v2_fullsup", "gt_known", "top1_loc"} <= record.metrics.keys()
    assert record.absent["pxap"] == "the split has boxes, no masks"
    words = record.provenance.command.split()
    assert "--allow-partial" in words
    assert words[words.index("--metadata") + 1] == str(birds[3])
    assert cli("rescore", record.run_id, "--results", "r", *birds).status == 0
    assert refused("rescore", record.run_id, "--results", "r").startswith("error: cub needs images.txt")


def test_cub_with_segmentations(birds, trained):
    record, _ = trained("cub", *birds, "--data-option", "masks=1")
    assert 0 < record.metrics["pxap"] < 100
    assert record.absent["max_box_acc_v2"] == "the split has masks, no boxes"
    assert record.identity["dataset_options"] == {"masks": 1}


def test_ilsvrc_and_its_proxy(net, trained, cli):
    record, _ = trained("ilsvrc", *net)
    assert record.images == {"train-weaksup": 30, "train-fullsup": 6, "test": 6}
    assert "max_box_acc_v2_fullsup" in record.metrics
    done = cli("tune", "cam", "ilsvrc", *net, *SMALL, *QUIET, "--allow-partial", "--results", "r", "--trials", "1")
    assert done.status == 0, done.err
    assert "trials are run with --data-option proxy=10, which `wsolbench run --config` leaves out" in done.out
    choice = re.search(r"choice: (.*)", done.out)[1]
    with open(choice) as file:
        assert json.load(file)["request"]["data_options"] == {}
    with open(choice.replace("choice.json", "0.json")) as file:
        trial = json.load(file)
    assert trial["identity"]["dataset_options"] == {"proxy": 10}
    assert "--data-option proxy=10" in trial["provenance"]["command"]
    done = cli("run", "cam", "ilsvrc", *net, *QUIET, "--allow-partial", "--results", "tuned", "--config", choice)
    assert done.status == 0, done.err
    (tuned,) = [record for path in record_files_of("tuned") if (record := read_record(path)).trainable]
    assert tuned.identity["dataset_options"] == {}
    assert tuned.images["train-weaksup"] == 30


def test_openimages(open_images, trained, cli, tmp_path):
    record, _ = trained("openimages", *open_images)
    assert record.absent["max_box_acc_v2"] == "the split has masks, no boxes"
    assert record.absent["gt_known_fullsup"] == "the split has masks, no boxes"
    assert (record.slices, record.headline) == ({}, "")
    found = read_scores(tmp_path / "r" / "openimages" / "records" / f"{record.run_id}.npz")
    assert len(found["test"].hits) == 9
    assert 100 * average_precision(found["test"].hits.counts) == record.metrics["pxap"]
    nulls = {
        one.identity["method"]: one.metrics for path in record_files_of("r") if not (one := read_record(path)).trainable
    }
    assert nulls.keys() == {"center", "full-image", "ceiling"}
    assert nulls["ceiling"]["pxap"] > nulls["center"]["pxap"]
    table = cli("leaderboard", "r").out
    head = next(line for line in table.splitlines() if line.startswith("| Method"))
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["Method", "n", "Top-1 Cls", "PxAP"]
    assert "Ranked by “PxAP”. PxAP pools the pixels of all test images and has no threshold." in table
    again = cli("rescore", record.run_id, "--results", "r", *open_images)
    assert "numbers are the same to the last bit" in again.out
    assert "->" not in again.out.splitlines()[-1]


def test_other_work_on_masks(open_images, trained, cli, refused):
    trained("openimages", *open_images)
    trained("openimages", *open_images, "--normalization", "ivr")
    trained("openimages", *open_images, method="fsl")
    record, _ = trained("openimages", *open_images, "--seed", "1", method="has")
    assert "pxap" in record.metrics
    common = ["--results", "r", "--resamples", "100"]
    said = cli("compare", "has", "center", "--metric", "pxap", *common)
    assert said.status == 0, said.err
    assert "has no max_box_acc_v2: the split has masks, no boxes" in refused("compare", "has", "center", *common)
    made = cli("extract", "gradcam", record.run_id, *open_images, "--results", "r", "--device", "cpu", "--quiet")
    assert made.status == 0, made.err


def test_tuning_on_masks_is_by_pxap(open_images, cli):
    words = ["tune", "cam", "openimages", *open_images, *SMALL, *QUIET, "--allow-partial", "--results", "r"]
    done = cli(*words, "--trials", "2")
    assert done.status == 0, done.err
    with open(re.search(r"choice: (.*)", done.out)[1]) as file:
        choice = json.load(file)
    assert choice["criterion"] == {"metric": "pxap", "split": "train-fullsup", "slice": ""}
    assert choice["images"] == 6
    assert choice["chosen"]["score"] == max(choice["scores"])
    assert np.isclose(sum(choice["wins"]), 1)


def test_masks_without_an_object_are_refused(open_images, cli, tmp_path):
    for path in (tmp_path / "masks" / "test").rglob("*.png"):
        path.write_bytes(openimages().masks["val/01226z/00000000000007e3_ignore.png"])  # black
    done = cli("run", "cam", "openimages", *open_images, *SMALL, *QUIET, "--allow-partial", "--results", "r")
    assert done.status == 2
    assert "error: no pixel of test belongs to an object" in done.err


def test_datasets_without_split_files_refuse_them(refused, tmp_path):
    for option in ("--metadata", "--masks-root"):
        assert f"leave out {option}" in refused("run", "cam", "parts", option, tmp_path, *SMALL, *QUIET)
