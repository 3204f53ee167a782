"""The user's own pictures from the command line: a run with each kind of annotations, and the page about them."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from folder_examples import WRITERS, example, write

PAGE = Path(__file__).parents[2] / "docs" / "your-own-pictures.md"
MARKER = "<!-- the commands of this block are executed by tests/cli/test_cli_folder.py -->"
PICTURES, BOXES = example(per_class=12)
RUN = ["--image-size", 32, "--feature-map", 8, "--set", "batch_size=8", "--data-option", "fullsup=2", "--epochs", 1]


def record_of(results):
    (path,) = (path for path in results.rglob("records/*.json") if json.loads(path.read_text())["trainable"])
    return json.loads(path.read_text())


@pytest.fixture
def run(cli, arguments, tmp_path):
    """Return a function that trains on a folder or archive and returns the record."""

    def train(root, *words):
        results = tmp_path / f"results-{root.name}"
        done = cli(
            "run",
            "cam",
            "folder",
            "--data-root",
            root,
            *arguments.fast[:2],
            *arguments.fast[4:],
            *RUN,
            *words,
            "--results",
            results,
        )
        assert done.status == 0, done.err
        return record_of(results)

    return train


def test_the_kind_of_boxes_does_not_change_a_run(run, tmp_path):
    records = [run(write(tmp_path / kind, PICTURES | WRITERS[kind](BOXES))) for kind in ("csv", "coco", "voc")]
    records.append(run(Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "voc"))))
    first = records[0]
    assert first["identity"]["dataset_options"] == {"fullsup": "2", "test": "20%"}
    assert first["images"] == {"train-weaksup": 16, "train-fullsup": 4, "test": 4}
    assert first["metrics"]["max_box_acc_v2"] > 0
    for record in records[1:]:
        assert record["run_id"] == first["run_id"]
        for part in ("metrics", "thresholds", "slices", "history"):
            assert record[part] == first[part]


def test_a_run_with_masks(run, tmp_path):
    record = run(write(tmp_path / "own", PICTURES | WRITERS["masks"](BOXES)))
    assert 0 < record["metrics"]["pxap"] <= 100
    assert "max_box_acc_v2" not in record["metrics"]
    assert "top1_cls" in record["metrics"]


def test_maps_are_evaluated_on_the_folder(run, cli, tmp_path):
    root = write(tmp_path / "own", PICTURES | WRITERS["csv"](BOXES))
    record = run(root, "--save-maps", tmp_path / "maps")
    words = ["--data-root", root, "--split", "test", "--data-option", "fullsup=2", "--json", tmp_path / "scores.json"]
    done = cli("evaluate", tmp_path / "maps" / "test", "folder", *words, "--image-size", 32)
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    assert found["max_box_acc_v2"] == record["metrics"]["max_box_acc_v2"]


def test_faults_are_one_sentence(refused, arguments, tmp_path):
    root = write(tmp_path / "own", PICTURES | WRITERS["csv"](BOXES))
    ask = ["run", "cam", "folder", *arguments.fast, *RUN[:6]]
    assert "folder needs --data-root DIR" in refused(*ask)
    assert "test=half cannot be read" in refused(*ask, "--data-root", root, "--data-option", "test=half")
    assert "unknown option of folder 'tests'; did you mean 'test'?" in refused(
        *ask, "--data-root", root, "--data-option", "tests=3"
    )
    (root / "dog" / "3.jpg").write_bytes(b"")
    assert "dog/3.jpg (it is empty)" in refused(*ask, "--data-root", root)
    (root / "dog" / "3.jpg").unlink()
    sentence = refused(*ask, "--data-root", root)
    assert "boxes.csv, line" in sentence
    assert "there is no picture 'dog/3.jpg'" in sentence


def test_the_page_about_it(cli, tmp_path):
    pictures, boxes = example(per_class=25)
    write(tmp_path / "photos", pictures | WRITERS["csv"](boxes))
    for line in PAGE.read_text(encoding="utf-8").split(MARKER)[1].split("```")[1].strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "wsolbench"
        done = cli(*words)
        assert done.status == 0, done.err + done.out
    assert "| cam" in done.out
