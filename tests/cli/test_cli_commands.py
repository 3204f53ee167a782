"""The commands in this process: what they print, write and leave alone."""

import csv
import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from wsolbench.cli.demo import convergence
from wsolbench.cli.main import describe
from wsolbench.data.registry import DATASETS
from wsolbench.errors import RunError, SealedError, UserError
from wsolbench.records import read_record
from wsolbench.report.qualitative import PREDICTED, TRUE

# --- list -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("methods", ["acol", "adl", "cam", "ccam", "cutmix", "fsl", "has", "inca", "meil", "spg"]),
        (
            "datasets",
            ["parts", "parts/context", "parts/no-body", "tiny-imagenet", "cub", "ilsvrc", "openimages", "folder"],
        ),
        ("backbones", ["vgg16", "inception_v3", "resnet50", "resnet18", "resnet-tiny"]),
    ],
)
def test_list(cli, kind, names):
    done = cli("list", kind)
    assert (done.status, done.err) == (0, "")
    lines = dict(line.split(None, 1) for line in done.out.splitlines())
    assert list(lines) == names
    assert all(len(summary) > 10 for summary in lines.values())
    if kind == "datasets":
        assert lines["cub"] == DATASETS["cub"].summary


def test_list_presets(cli, tmp_path):
    (tmp_path / "broken.py").write_text('raise OSError("no such thing")\n')
    done = cli("list", "presets", "--plugin", "broken.py")
    assert (done.status, done.err) == (0, "")
    lines = [line for line in done.out.splitlines() if line.startswith("inca ")]
    assert len(lines) == 15
    assert lines[2].split("  ") == [
        "inca --preset table2/without-contrastive",
        "resnet50, Ki et al. 2020, Table 2, Ours w/o contrastive",
    ]
    assert not any(line.startswith("cam ") for line in done.out.splitlines())
    assert "method 'broken' (broken.py) cannot be imported: OSError: no such thing" in done.out


def test_list_shows_local_methods_without_running_them(cli, tmp_path):
    (tmp_path / "my_method.py").write_text('"""Mine: a line on it."""\nraise SystemExit("this was run")\n')
    done = cli("list", "methods", "--plugin", "my_method.py")
    assert "my-method  Mine: a line on it." in done.out
    (tmp_path / "cam.py").write_text("")
    twice = cli("list", "methods", "--plugin", "cam.py")
    assert twice.status == 2
    assert twice.err.startswith("error: two methods are named 'cam': ")
    assert "cam.py and cam.py; rename one" in twice.err


# --- run, explain, leaderboard ----------------------------------------------------------------------------------------


def test_run_prints_what_explain_prints_and_where_the_record_is(cli, arguments, tmp_path):
    words = ("run", "has", "parts", *arguments.tiny, *arguments.fast, "--set", "cell=8", "--save-maps", "maps")
    done = cli(*words)
    assert done.status == 0, done.err
    *text, last = done.out.rstrip().splitlines()
    path = tmp_path / last.removeprefix("record: ")
    record = read_record(path)
    assert record.identity["config"] == {"drop_rate": 0.5, "cell": 8}
    assert len(list((tmp_path / "maps").rglob("*.npy"))) == 32
    explained = cli("explain", record.run_id[:6])
    assert explained.status == 0
    assert explained.out.startswith("\n".join(text).strip())  # and then where its files are
    assert cli("explain", last.removeprefix("record: ")).out == explained.out
    again = cli(*words)
    assert again.out == done.out
    assert again.err == ""


def test_the_printed_command_runs_to_the_same_record(cli, arguments, tmp_path):
    words = ["run", "cam", "parts", *arguments.tiny, *arguments.fast, "--seed", "3", "--set", "lr=0.05"]
    path = tmp_path / cli(*words).out.splitlines()[-1].removeprefix("record: ")
    record = read_record(path)
    path.unlink()
    repeated = cli(*shlex.split(record.provenance.command)[1:], "--device", "cpu", "--quiet")
    assert repeated.status == 0, repeated.err
    assert read_record(path).metrics == record.metrics


def test_explain_needs_enough_of_a_run_id(cli, finished):
    folder = finished.request.results
    done = cli("explain", finished.record.run_id[:8], "--results", folder)
    for fact in (
        f"run {finished.record.run_id}: cam on parts, backbone resnet-tiny",
        "dataset options: fullsup=16, test=16, train=64",
        "precision=fp32",
        f"test: 16 images, fingerprint {finished.record.identity['fingerprints']['test']}",
        finished.request.command,
    ):
        assert fact in done.out
    several = cli("explain", "", "--results", folder)
    assert several.status == 2
    assert several.err.startswith("error: 4 run ids begin with '': ")


def test_leaderboard_as_markdown_and_csv(cli, finished):
    folder, record = finished.request.results, finished.record
    table = cli("leaderboard", folder).out
    assert table.startswith("## parts (fullsup=16, test=16, train=64), resnet-tiny, 64×64 px, maps 16×16\n")
    head, _, cam, *nulls = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")
    ]
    assert cam[:2] == ["cam", "1"]
    assert cam[head.index("V2")] == f"{record.metrics['max_box_acc_v2']:.2f}"
    assert sorted(row[0] for row in nulls) == ["*null rows*", "ceiling", "center", "full-image"]
    rows = list(csv.DictReader(io.StringIO(cli("leaderboard", folder, "--format", "csv").out)))
    means = {
        row["metric"]: float(row["mean"]) for row in rows if row["method"] == "cam" and not row["slice"] and row["mean"]
    }
    assert means == record.metrics


def test_leaderboard_writes_beside_the_records(cli, finished, tmp_path):
    folder = tmp_path / "copy" / "parts" / "records"
    folder.mkdir(parents=True)
    for path in finished.path.parent.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "torn.json").write_text("{")
    done = cli("leaderboard", "copy", "--write")
    assert done.out.splitlines() == [f"wrote copy/parts/leaderboard.{end}" for end in ("md", "tex", "html", "csv")]
    written = (folder.parent / "leaderboard.md").read_text()
    assert "torn.json was skipped" in written
    assert "torn.json was skipped" in cli("leaderboard", "copy").out


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_of_saved_maps_gives_the_records_numbers(cli, arguments, finished, tmp_path):
    words = ("evaluate", finished.maps / "test", "parts", *arguments.tiny, "--quiet")
    done = cli(*words, "--fullsup-maps", finished.maps / "train-fullsup", "--json", "new/out.json")
    assert done.status == 0, done.err
    body = json.loads((tmp_path / "new" / "out.json").read_text())
    assert body["metrics"] == {name: finished.record.metrics[name] for name in body["metrics"]}
    assert body["thresholds"] == {name: finished.record.thresholds[name] for name in body["thresholds"]}
    assert {"gt_known", "gt_known_fullsup", "max_box_acc_v2", "max_box_acc_v2_iou70_fullsup"} <= set(body["metrics"])
    classified = {f"top{k}_{what}" for k in (1, 5) for what in ("cls", "loc", "loc_fullsup")}
    assert set(body["absent"]) == classified | {"top1_loc_at_0.2", "pxap"}
    about = {name: body[name] for name in ("dataset", "split", "image_size", "normalization", "images", "warnings")}
    assert about == {
        "dataset": "parts",
        "split": "test",
        "image_size": 64,
        "normalization": "min-max",
        "images": 16,
        "warnings": [],
    }
    assert done.out.startswith("parts, test: 16 maps (train-fullsup: 16), protocol 1\n")
    assert f"{body['metrics']['gt_known']:.2f}" in done.out
    # The other split's own maps, and no frozen thresholds.
    fullsup = cli("evaluate", finished.maps / "train-fullsup", *words[2:], "--split", "train-fullsup")
    assert "parts, train-fullsup: 16 maps" in fullsup.out
    line = next(line for line in fullsup.out.splitlines() if "thresholds are chosen on" in line)
    assert line.startswith("absent: ")
    assert "gt_known_fullsup" in line


def test_evaluate_scores_at_the_size_of_the_dataset_that_was_trained_on(cli, arguments, tmp_path):
    options = (*arguments.tiny, "--data-option", "size=96")
    done = cli("run", "cam", "parts", *options, *arguments.fast, "--epochs", "1", "--save-maps", "maps")
    assert done.status == 0, done.err
    record = read_record(tmp_path / done.out.splitlines()[-1].removeprefix("record: "))
    words = ("evaluate", "maps/test", "parts", *options, "--fullsup-maps", "maps/train-fullsup", "--quiet")
    assert cli(*words, "--json", "own.json").status == 0
    body = json.loads((tmp_path / "own.json").read_text())
    assert body["image_size"] == record.identity["recipe"]["image_size"] == 96
    assert body["metrics"] == {name: record.metrics[name] for name in body["metrics"]}
    assert body["thresholds"] == {name: record.thresholds[name] for name in body["thresholds"]}
    assert "max_box_acc_v2_fullsup" in body["metrics"]
    assert cli(*words, "--image-size", "64", "--json", "small.json").status == 0
    assert json.loads((tmp_path / "small.json").read_text())["image_size"] == 64


def test_evaluate_warns_of_splits_that_overlap(cli, metadata, save_maps, tmp_path):
    for name in ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"):
        path = metadata.folder / "val" / name
        path.write_text(path.read_text().replace("v3", "b/3, third.jpg").replace("v1", "5"))
    folder = save_maps([*metadata.test, *metadata.fullsup])
    words = ("evaluate", folder, "cub", "--metadata", metadata.folder, "--json", "o.json")
    done = cli(*words, "--fullsup-maps", folder)
    assert done.status == 0, done.err
    warnings = json.loads((tmp_path / "o.json").read_text())["warnings"]
    assert len(warnings) == 3
    assert warnings[2].startswith("test and train-fullsup overlap (shared ids: 2, first 'b/3, third.jpg'); ")
    assert f"warning: {warnings[2]}" in done.out.splitlines()
    assert cli(*words).status == 0
    assert len(json.loads((tmp_path / "o.json").read_text())["warnings"]) == 1  # the other split was not opened


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", "--json . is a folder; expected the name of a file to write"),
        ("taken/out.json", "--json taken cannot be written: 'taken' is a file or not yours"),
        ("taken/deeper/out.json", "--json taken/deeper cannot be written: '"),
    ],
)
def test_evaluate_looks_at_the_json_path_before_any_map(refused, metadata, save_maps, tmp_path, place, message):
    (tmp_path / "taken").write_text("something of the user's")
    folder = save_maps(metadata.test)
    (folder / "5.npy").write_bytes(b"never read")
    assert message in refused("evaluate", folder, "cub", "--metadata", metadata.folder, "--json", place)
    assert (tmp_path / "taken").read_text() == "something of the user's"


def test_evaluate_by_published_split_files(cli, metadata, save_maps, tmp_path):
    folder = save_maps([*metadata.test, "b/extra"])
    np.save(folder / "5.npy", np.ones((3, 4)))
    fullsup = save_maps(metadata.fullsup, "fullsup", size=(9, 5), seed=1)
    words = ("evaluate", folder, "cub", "--metadata", metadata.folder, "--fullsup-maps", fullsup, "--json", "o.json")
    done = cli(*words)
    assert done.status == 0, done.err
    body = json.loads((tmp_path / "o.json").read_text())
    assert {kind: count for kind, count in body["counts"].items() if count} == {"constant_maps": 1, "extra_maps": 1}
    assert len(body["counts"]) == 6
    assert body["image_size"] == 224
    assert len(body["warnings"]) == 2
    assert body["warnings"][0].startswith("cub test has 5 images where the benchmark has 5,794; the numbers do not")
    assert body["named"] == {"constant_maps": ["5"], "extra_maps": ["b/extra"]}
    for line in ("constant maps: 1 (5)", "extra maps: 1 (b/extra)", f"warning: {body['warnings'][1]}"):
        assert line in done.out.splitlines()
    small = cli(*words[:-2], "--image-size", "64", "--json", "small.json")
    assert small.status == 0
    assert json.loads((tmp_path / "small.json").read_text())["image_size"] == 64


def test_evaluate_of_normalised_maps(cli, metadata, tmp_path):
    rng = np.random.default_rng(0)
    for image in metadata.test:
        path = tmp_path / "unit" / f"{image}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, 0.4 * rng.random((224, 224)))
    words = ("evaluate", "unit", "cub", "--metadata", metadata.folder, "--quiet", "--normalization")
    assert cli(*words, "none").status == 0
    refused = cli(*words, "mim-max")
    assert refused.status == 2
    assert "unknown --normalization 'mim-max'; did you mean 'min-max'?" in refused.err


# --- demo and its picture ---------------------------------------------------------------------------------------------


def test_demo(cli, tmp_path, monkeypatch):
    # Fewer images to score than the demo's 1,400: those of the other splits have no option.
    from wsolbench.data import parts

    monkeypatch.setattr(parts.PartsRecipe, "count", lambda recipe, split: recipe.train if "weak" in split else 24)
    done = cli("demo", "--train", "64", "--epochs", "2", "--methods", "cam,has", "--quiet")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    for line, name in zip(lines, ("cam", "has"), strict=False):
        assert line.startswith(f"{name}: not converged: the last epoch moved the classification loss from ")
    assert "## parts (train=64), resnet-tiny, 64×64 px, maps 16×16" in lines
    table = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert set(table[2:4]) == {"cam", "has"}
    assert table[4] == "*null rows*"
    assert set(table[5:]) == {"center", "full-image", "ceiling"}
    path = tmp_path / lines[-1].removeprefix("picture: ")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    assert 800 < height < 2500  # six classes above each other
    assert 400 < width < 1500  # the image and two methods beside each other
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000  # photographs and colour maps, not an empty sheet
    for colour in (TRUE, PREDICTED):
        assert (pixels == tuple(bytes.fromhex(colour[1:]))).all(axis=2).sum() > 50
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["demo-results"]
    again = cli("demo", "--train", "64", "--epochs", "2", "--methods", "cam,has", "--quiet")
    assert again.out == done.out


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (
            [2.0, 0.51, 0.5],
            "converged: the last epoch moved the classification loss from 0.510 to 0.500 (guessing: 2.079)",
        ),
        ([0.5, 0.51], "converged: the last epoch moved the classification loss from 0.500 to 0.510 (guessing: 2.079)"),
        (
            [1.0, 0.89],
            "not converged: the last epoch moved the classification loss from 1.000 to 0.890 (guessing: 2.079); train",
        ),
        ([2.08, 2.07], "not converged: the last epoch moved the classification loss from 2.080 to 2.070"),
        ([0.5], "convergence cannot be judged from fewer than two epochs"),
        ([None, 0.5], "convergence cannot be judged"),
        ([0.5, None], "convergence cannot be judged"),
    ],
)
def test_what_the_demo_says_about_convergence(losses, expected):
    # Half of what guessing one of eight classes costs is ln(8) / 2 = 1.04.
    assert convergence([{"cls": loss} for loss in losses], 8).startswith(expected)


# --- how errors leave -------------------------------------------------------------------------------------------------


def test_the_words_of_an_error():
    assert describe(UserError("a")) == "a"
    assert describe(RunError("b")) == "b"
    assert describe(SealedError("c")) == "c"
    assert describe(FileNotFoundError(2, "No such file or directory", "x.npy")) == "No such file or directory: x.npy"
    assert describe(OSError("full")) == "full"
    assert describe(KeyError("a\nb")).startswith("unexpected KeyError: 'a\\nb' (--debug shows where")
    assert describe(ZeroDivisionError()) == "unexpected ZeroDivisionError:  (--debug shows where; please report it)"
    out_of_memory = type("OutOfMemoryError", (RuntimeError,), {})
    assert "use a smaller batch (--set batch_size=N)" in describe(out_of_memory("CUDA out of memory.\nTried"))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_may_stand_anywhere(cli, monkeypatch, place):
    words = ["run", "nope", "parts"]
    words.insert(place, "--debug")
    monkeypatch.setattr("sys.argv", ["wsolbench", *words])
    from wsolbench.cli.main import main

    with pytest.raises(UserError, match="unknown method 'nope'"):  # python prints the traceback
        main()
