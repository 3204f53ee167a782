"""Bad input: one sentence, exit status 2, no traceback, nothing lost."""

import json
import re

import numpy as np
import pytest

RUN = ("--backbone", "resnet-tiny", "--epochs", "1", "--quiet")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run inka parts", "unknown method 'inka'; did you mean 'inca'? Choices: "),
        ("run cam cub-200", "unknown dataset 'cub-200'; did you mean 'cub'?"),
        ("run cam parts --backbone resnet5", "unknown backbone 'resnet5'; did you mean 'resnet50'?"),
        ("run cam parts --set learning_rate=1", "unknown setting 'learning_rate'; Choices: batch_size, bn_recalibrate"),
        ("run has parts --set drop_rat=1 --weights none", "unknown setting 'drop_rat'; did you mean 'drop_rate'?"),
        ("run cam parts --set lr", "--set lr cannot be read; expected key=value"),
        ("run cam parts --set =1", "--set =1 cannot be read; expected key=value"),
        ("run cam parts --set lr=1 --set lr=2", "--set lr was given twice; give it once"),
        ("run cam parts --set lr=-1 --weights none", "lr=-1.0 is out of range; expected at least 0"),
        ("run has parts --set drop_rate=2 --weights none", "drop_rate=2.0 is out of range; expected a value from 0"),
        ("run cam parts --epochs 0 --weights none", "epochs=0 is out of range; expected at least 1"),
        ("run cam parts --seed -1 --weights none", "seed=-1 is out of range; expected at least 0"),
        ("run cam parts --feature-map 7 --weights none", "feature_map=7 is not allowed; expected one of 4, 8, 16"),
        ("run cam parts --image-size 1 --weights none", "image_size=1 is out of range; expected at least 8"),
        ("run cam parts --precision half", "--precision half is not allowed; expected auto, bf16 or fp32"),
        ("run cam parts --device gpu", "--device gpu is not a device; expected auto, cpu, cuda or cuda:N"),
        ("run cam parts --weights nowhere.pth", "--weights nowhere.pth: no such file; expected imagenet, none or"),
        ("run cam parts --data-option size=big", "--data-option size=big cannot be read; expected a whole number"),
        ("run cam parts --data-option train=1", "train of the dataset parts is 1; expected at least 8"),
        ("run cam parts --plugin nowhere.py", "--plugin nowhere.py: no such file; expected a Python file"),
        ("run cam tiny-imagenet", "needs --data-root; expected tiny-imagenet-200.zip"),
        ("run cam tiny-imagenet --data-root nowhere.zip", "nowhere.zip does not exist"),
        ("run cam ilsvrc", "ilsvrc needs --data-root, the folder with train/ and val/; ILSVRC2012_img_train.tar and"),
        ("run cam openimages", "openimages needs --metadata, the folder of its split files; OpenImages30k comes from"),
        ("run cam ilsvrc --data-root . --data-option proxy=0", "proxy=0 is out of range; expected 1 to 100"),
        ("run cam cub --data-option proxy=5", "unknown option of cub 'proxy'; Choices: masks"),
        (
            "evaluate maps cub",
            "cub needs images.txt of CUB_200_2011 or split files (--metadata), and --data-root is not",
        ),
        ("evaluate maps cub --metadata nowhere", "cannot read nowhere/test/image_ids.txt (No such file or directory)"),
        ("evaluate maps cub --split val", "unknown split 'val'; Choices: test, train-fullsup"),
        ("evaluate maps nope", "unknown dataset 'nope'"),
        ("evaluate nowhere parts", "'nowhere' is no folder, .npz or .npy; expected a folder with"),
        ("evaluate nowhere parts --image-size -5", "--image-size -5 is out of range; expected at least 1"),
        ("evaluate nowhere parts --image-size 0", "--image-size 0 is out of range; expected at least 1"),
        ("leaderboard nowhere", "'nowhere' is no folder; expected results written by `wsolbench run`"),
        ("leaderboard . --format pdf", "unknown format 'pdf'; Choices: csv, html, latex, markdown"),
        ("leaderboard .", "there is no record below '.'; `wsolbench run` writes them to DATASET/records"),
        ("explain 123 --results nowhere", "'nowhere' is no folder"),
        ("explain 123 --results .", "no record below '.' has a run id that begins with '123'"),
        ("explain nowhere.json", "'nowhere.json' is no usable record: it cannot be read (No such file or directory)"),
        ("list metods", "unknown kind 'metods'; did you mean 'methods'? Choices: backbones, datasets, methods, "),
        ("run inca parts --preset table2/withoutfc", "unknown preset of inca 'table2/withoutfc'; did you mean 't"),
        ("run cam parts --preset table2/full", "cam has no presets; leave out --preset table2/full"),
        ("demo --methods cam,hass", "unknown method 'hass'; did you mean 'has'?"),
        ("demo --train 2", "train of the dataset parts is 2; expected at least 8"),
        ("demo --epochs 0", "epochs=0 is out of range"),
    ],
)
def test_words_that_mean_nothing(refused, tmp_path, words, message):
    assert message in refused(*words.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("runn cam parts", "no such command 'runn'"),
        ("run cam", "missing argument 'dataset'"),
        ("run cam parts --epoch 3", "no such option: --epoch"),
        ("run cam parts --epochs three", "invalid value for '--epochs'"),
    ],
)
def test_usage_that_typer_refuses(cli, tmp_path, words, message):
    done = cli(*words.split())
    assert done.status == 2
    assert message in done.err.lower()
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


# --- photographs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def photographs(refused, cli, archives, tmp_path):
    """Return a function that runs cam on a tiny ImageNet; ``change`` edits its files, ``raw`` the archive."""

    def run(change=None, raw=None, expect=refused):
        files = archives.tiny_files()
        if change is not None:
            change(files)
        path = archives.write_zip(files, tmp_path / "tiny-imagenet-200.zip")
        if raw is not None:
            path.write_bytes(raw(path.read_bytes()))
        return expect("run", "cam", "tiny-imagenet", "--data-root", path, *RUN, "--set", "batch_size=8")

    return run


def test_a_truncated_archive(photographs, tmp_path):
    sentence = photographs(raw=lambda raw: raw[: len(raw) // 2])
    assert "cannot read" in sentence
    assert "tiny-imagenet-200.zip (not a complete zip archive" in sentence
    assert not (tmp_path / "results").exists()


def test_a_truncated_photograph_loses_nothing(photographs, cli, tmp_path):
    def cut(files):
        files["val/images/val_2.JPEG"] = files["val/images/val_2.JPEG"][:700]

    sentence = photographs(cut)
    assert "val/images/val_2.JPEG (a truncated or damaged JPEG" in sentence
    assert list(tmp_path.rglob("*.json")) == []
    done = photographs(expect=cli)
    assert done.status == 0, done.err
    assert len(list(tmp_path.rglob("results/tiny-imagenet/records/*.json"))) == 4


def test_a_photograph_without_a_box(photographs, tmp_path):
    def drop(files):
        name = "val/val_annotations.txt"
        files[name] = re.sub(rb"val_1\.JPEG.*\n", b"", files[name])

    assert "val_annotations.txt has no line for val/images/val_1.JPEG" in photographs(drop)
    assert not (tmp_path / "results").exists()


def test_fewer_photographs_than_a_batch(refused, archives, tmp_path):
    path = archives.write_zip(archives.tiny_files(), tmp_path / "tiny-imagenet-200.zip")
    sentence = refused("run", "cam", "tiny-imagenet", "--data-root", path, *RUN)
    assert "train-weaksup has 9 images, fewer than one batch of 32" in sentence


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_of_nan_or_infinity(refused, cli, metadata, save_maps, value):
    folder = save_maps(metadata.test)
    np.save(folder / "b" / "4.jpg.npy", np.full((7, 7), value))
    words = ("evaluate", folder, "cub", "--metadata", metadata.folder, "--json", "out.json", "--quiet")
    sentence = refused(*words)
    assert "b/4.jpg.npy' contains NaN or infinity; expected finite values (--allow-invalid" in sentence
    assert cli(*words, "--allow-invalid").status == 0


def test_a_missing_map(refused, metadata, save_maps, tmp_path):
    folder = save_maps(metadata.test[:-2])
    sentence = refused("evaluate", folder, "cub", "--metadata", metadata.folder, "--json", "out.json")
    assert "2 of 5 maps are missing in" in sentence
    assert "'b/4.jpg', '5'; expected one for every image of test" in sentence
    assert not (tmp_path / "out.json").exists()


def test_fullsup_maps_for_fullsup(refused, metadata, save_maps):
    folder = save_maps(metadata.fullsup)
    sentence = refused("evaluate", folder, "cub", "--split", "train-fullsup", "--fullsup-maps", folder)
    assert "--fullsup-maps is for --split test" in sentence


def test_split_files_that_disagree(refused, metadata, save_maps):
    path = metadata.folder / "test" / "localization.txt"
    path.write_text(path.read_text().replace("5,40,5,80,70\n", ""))
    sentence = refused("evaluate", save_maps(metadata.test), "cub", "--metadata", metadata.folder)
    assert "localization.txt has no box for '5' (1 of 5 images lack one)" in sentence


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["leaderboard", "results"], ["leaderboard", "results", "--write"]])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "foreign.json was skipped: it is not a wsolbench record (it has no 'schema')"),
        ('{"schema": 99}', "foreign.json was skipped: its schema version is 99, this wsolbench reads 1"),
        ("{", "foreign.json was skipped: it is not valid JSON"),
        ("", "foreign.json was skipped: it is not valid JSON"),
    ],
)
def test_a_foreign_results_folder(refused, tmp_path, words, content, message):
    path = tmp_path / "results" / "parts" / "records" / "foreign.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert message in refused(*words)
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == [path]
    assert path.read_text() == content


@pytest.mark.parametrize("option", ["--results", "--save-maps"])
@pytest.mark.parametrize("folder", ["taken", "taken/deeper"])
def test_a_file_in_the_way_is_noticed_before_training(refused, tmp_path, monkeypatch, arguments, option, folder):
    monkeypatch.setattr("wsolbench.experiment.fit", lambda *args, **kwargs: pytest.fail("trained"))
    (tmp_path / "taken").write_text("something of the user's")
    sentence = refused("run", "cam", "parts", *arguments.tiny, *arguments.fast, option, folder)
    assert f"{option} {folder} cannot be written: '" in sentence
    assert (tmp_path / "taken").read_text() == "something of the user's"
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_a_checkpoint_of_another_run(refused, cli, tmp_path, arguments):
    words = ("run", "cam", "parts", *arguments.tiny, *arguments.fast)
    assert cli(*words).status == 0
    (record,) = (path for path in tmp_path.rglob("*.json") if json.loads(path.read_text())["trainable"])
    folder = tmp_path / "results" / "runs" / record.stem
    record.unlink()
    (folder / "last.pt").write_bytes((folder / "model.pt").read_bytes()[:2000])
    assert "last.pt cannot be read; delete it or use --no-resume to start over" in refused(*words)
    assert cli(*words, "--no-resume").status == 0
    assert record.is_file()
