"""``wsolbench data check`` and ``data prepare`` from the command line."""

import json

import pytest
from PIL import Image

PARTS = ("parts", "--data-option", "train=40", "--data-option", "fullsup=10", "--data-option", "test=16")


@pytest.fixture
def tiny(archives, tmp_path):
    """Return a function that writes a tiny ImageNet whose files were changed, and the words that name it."""

    def write(changes):
        path = archives.write_zip(archives.tiny_files() | changes, tmp_path / "changed.zip")
        return "tiny-imagenet", "--data-root", path

    return write


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_clean_dataset(cli, tmp_path):
    done = cli("data", "check", *PARTS, "--json", "out/report.json", "--sheet", "out/sheet.png", "--quiet")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("parts, train=40, fullsup=10, test=16: 66 pictures read in ")
    assert lines[-2:] == ["clean: nothing to correct", "contact sheet: out/sheet.png"]
    body = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (body["problems"], body["warnings"], body["pictures"]) == (0, 0, 66)
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_dataset_that_run_refuses_has_status_2_and_a_whole_report(cli, tiny, tmp_path):
    torn = "train/n00000001/images/n00000001_5.JPEG"
    words = tiny({"val/images/val_1.JPEG": b"", torn: b"\xff\xd8torn"})
    done = cli("data", "check", *words, "--json", "report.json", "--sheet", "sheet.png", "--quiet")
    assert done.status == 2
    assert "Traceback" not in done.err
    assert "test: 1 picture is unreadable" in done.out
    assert "val/images/val_1.JPEG" in done.out
    assert torn in done.out
    assert "2 problems, 0 warnings: `run` would refuse this dataset\ncontact sheet: sheet.png" in done.out
    assert json.loads((tmp_path / "report.json").read_text())["problems"] == 2
    assert (tmp_path / "sheet.png").is_file()


def test_missing_photographs_do_not_hide_what_is_wrong_with_the_others(cli, refused, metadata, archives, tmp_path):
    train = metadata.folder / "train"
    train.mkdir()
    (train / "image_ids.txt").write_text("c/t1.jpg\nd/t2.jpg\n")
    (train / "class_labels.txt").write_text("c/t1.jpg,0\nd/t2.jpg,1\n")
    for seed, name in enumerate((*metadata.test[2:], *metadata.fullsup, "c/t1.jpg", "d/t2.jpg")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archives.jpeg(seed, size=(100, 80)))
    (tmp_path / "images" / "b" / "4.jpg").write_bytes(archives.jpeg(2, size=(90, 80)))
    words = ("folder", "--data-root", "images", "--metadata", metadata.folder)
    assert "2 of 5 photographs of test are missing" in refused("data", "prepare", *words, "--cache", "cache")
    done = cli("data", "check", *words, "--json", "report.json", "--quiet")
    assert done.status == 2, done.err
    found = {each["kind"]: each for each in json.loads((tmp_path / "report.json").read_text())["findings"]}
    assert list(found) == ["missing", "sizes"]
    assert found["missing"]["ids"] == [["a/1.jpg"], ["a/2.jpg"]]
    assert found["sizes"]["ids"] == [["b/4.jpg"]]
    assert found["sizes"]["details"] == ["80x100 told, is 80x90 (h x w)"]


def test_annotations_that_cannot_be_read_are_part_of_the_report(cli, tiny, archives):
    lines = archives.tiny_files()["val/val_annotations.txt"].decode().splitlines()
    lines[0] = "\t".join([*lines[0].split("\t")[:2], "0", "0", "99", "99"])
    done = cli("data", "check", *tiny({"val/val_annotations.txt": "\n".join(lines).encode()}), "--quiet")
    assert done.status == 2
    assert "test: its boxes or masks cannot be read: " in done.out
    assert "box 0 0 99 99 leaves its 64x64 photograph" in done.out


def test_warnings_alone_have_status_0(cli, tiny, archives):
    train = archives.tiny_files()["train/n00000002/images/n00000002_1.JPEG"]
    done = cli("data", "check", *tiny({"val/images/val_0.JPEG": train}), "--quiet")
    assert done.status == 0, done.out
    assert "1 picture of test is also in train-" in done.out
    assert "= val/images/val_0.JPEG" in done.out
    assert done.out.splitlines()[-1] == "1 warning, no problem: `run` takes this dataset as it is"


def test_one_split(cli):
    done = cli("data", "check", *PARTS, "--split", "test", "--quiet")
    assert done.status == 0
    assert " 16 pictures read" in done.out.splitlines()[0]
    assert "train-weaksup" not in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("check", "partz"), "unknown dataset 'partz'; did you mean 'parts'?"),
        (("check", "parts", "--split", "tset"), "unknown split 'tset'; did you mean 'test'?"),
        (("check", "parts", "--sheet", "sheet.gif"), "--sheet sheet.gif has an unknown ending; expected .png"),
        (("check", "parts", "--json", "."), "--json . is a folder; expected the name of a file to write"),
        (("check", "tiny-imagenet"), "tiny-imagenet needs --data-root"),
        (("prepare", "parts", "--cache", "none"), "--cache none keeps no decoded images"),
        (("prepare", "parts", "--image-size", "3"), "image_size"),
        (("prepare", "tiny-imagenet", "--data-root", "gone.zip"), "gone.zip"),
    ],
)
def test_mistakes_are_told_in_one_sentence(refused, words, told):
    assert told in refused("data", *words)


# --- prepare ----------------------------------------------------------------------------------------------------------


def test_prepare_says_what_it_takes_and_makes_it_once(cli, tmp_path):
    words = ("data", "prepare", *PARTS, "--cache", "cache", "--quiet")
    done = cli(*words)
    assert done.status == 0, done.err
    rows = [line.split() for line in done.out.splitlines()[2:5]]
    assert rows == [
        ["train-weaksup", "40", "73x73", "0.6", "missing"],
        ["train-fullsup", "10", "64x64", "0.1", "missing"],
        ["test", "16", "64x64", "0.2", "missing"],
    ]
    assert done.out.splitlines()[5].startswith("1.0 MB to write into cache (")
    assert done.out.splitlines()[-1] == "done"
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3
    again = cli(*words)
    assert [line.split()[-1] for line in again.out.splitlines()[2:5]] == ["there"] * 3
    assert again.out.splitlines()[-1] == "all of it is in cache"
    assert again.err == ""


def test_a_run_finds_what_was_prepared(cli, arguments, tmp_path):
    cli("data", "prepare", *PARTS, "--cache", "cache", "--quiet")
    before = sorted(path.name for path in (tmp_path / "cache").iterdir())
    done = cli("run", "cam", *PARTS, *arguments.fast, "--epochs", "1", "--cache", "cache")
    assert done.status == 0, done.err
    assert "decoding" not in done.err
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == before


def test_a_damaged_picture_is_named(refused, tiny):
    words = tiny({"val/images/val_1.JPEG": b"torn"})
    assert "val/images/val_1.JPEG" in refused("data", "prepare", *words, "--cache", "cache", "--quiet")
