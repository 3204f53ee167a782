"""``wsolbench predict``: pictures in, overlays and predictions.json out, and what it refuses in one sentence."""

import json
import os
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wsolbench.engine.checkpoint import load_checkpoint, save_checkpoint
from wsolbench.experiment import make_plan
from wsolbench.predict import Names
from wsolbench.protocols import boxes_at, prepare
from wsolbench.protocols.shown_boxes import largest_box_at
from wsolbench.records import load_records, read_record
from wsolbench.stored_hits import read_arrays


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of a finished run's results and its test pictures as files, in the folder the commands run in."""
    shutil.copytree(finished.request.results, tmp_path / "results")
    images = make_plan(finished.request).dataset.images("test")
    (tmp_path / "pictures").mkdir()
    for index in range(len(images)):
        images.read(index).save(tmp_path / "pictures" / f"{index}.png")
    run_dir = tmp_path / "results" / "runs" / finished.record.run_id
    return SimpleNamespace(record=finished.record, run_dir=run_dir, images=images, pictures=tmp_path / "pictures")


def predicted(cli, *words, status=0):
    done = cli("predict", *words, "--out", "out", "--device", "cpu", "--quiet")
    assert done.status == status, done.err
    with open("out/predictions.json", encoding="utf-8") as file:
        return json.load(file), done


def altered(path, change):
    """Change what a checkpoint holds."""
    state = load_checkpoint(path)
    change(state)
    save_checkpoint(path, {name: value for name, value in state.items() if name != "format"})


def make_older(state):
    for name in ("thresholds", "percentile", "plugin"):
        del state[name]


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_a_folder_of_test_pictures_gives_what_was_scored(cli, copied):
    listed, done = predicted(cli, copied.run_dir, "pictures")
    kept, names = read_arrays(copied.run_dir / "test.npz"), make_names(copied)
    t = copied.record.thresholds["gt_known_fullsup"]
    assert (listed["run"], listed["method"], listed["threshold"]) == (copied.record.run_id, "cam", t)
    assert listed["threshold_from"] == "frozen on train-fullsup for GT-known"
    assert [each["image"] for each in listed["images"]] == [f"pictures/{index}.png" for index in range(16)]
    agreeing = 0
    for index, each in enumerate(listed["images"]):
        (found,) = each["maps"]
        logits = kept["logits"][index].astype(float)
        chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert (found["label"], found["name"]) == (chances.argmax(), names[chances.argmax()])
        assert [name for name, _ in each["top"]] == [names[label] for label in np.argsort(-chances)[:5]]
        assert found["probability"] == each["top"][0][1] == pytest.approx(chances.max())
        if found["label"] == copied.images.labels[index]:  # the map that was scored
            (score_map,) = prepare(kept["maps"][index : index + 1], (64, 64)).maps
            level = int(t * score_map.max())
            assert found["box"] == largest_box_at(score_map, level).tolist()
            assert found["boxes"] == boxes_at(score_map, level).tolist()
            agreeing += 1
    assert agreeing >= 2
    assert f"run {copied.record.run_id}; boxes at t = {t:.3f} (frozen on train-fullsup for GT-known)" in done.out
    line = next(line for line in done.out.splitlines() if line.startswith("pictures/3.png"))
    found = listed["images"][3]["maps"][0]
    assert found["name"] in line
    assert f"{found['probability']:.1%}" in line
    assert " ".join(map(str, found["box"])) in line
    assert sorted(os.listdir("out")) == sorted([*(f"{index}.jpg" for index in range(16)), "predictions.json"])


def make_names(copied):
    return load_checkpoint(copied.run_dir / "model.pt")["class_names"]


@pytest.mark.parametrize("how", ["file", "folder", "run id", "record"])
def test_every_way_to_name_a_network(cli, copied, how):
    word = {
        "file": copied.run_dir / "model.pt",
        "folder": copied.run_dir,
        "run id": copied.record.run_id[:8],
        "record": f"results/parts/records/{copied.record.run_id}.json",
    }[how]
    listed, _ = predicted(cli, word, "pictures/0.png")
    assert listed["run"] == copied.record.run_id
    assert listed["checkpoint"].endswith(f"runs/{copied.record.run_id}/model.pt")


def test_the_checkpoint_alone_is_enough(cli, copied, tmp_path):
    expected, _ = predicted(cli, copied.run_dir, "pictures")
    (copied.run_dir / "model.pt").rename("mine.pt")
    shutil.rmtree("results")
    shutil.rmtree("out")
    listed, _ = predicted(cli, "mine.pt", "pictures")
    assert listed["images"] == expected["images"]


def test_a_box_is_in_pixels_of_the_original_picture(cli, copied):
    small = Image.open("pictures/0.png")
    small.resize((640, 192), Image.Resampling.NEAREST).save("large.png")
    (copied.pictures / "0.png").rename("small.png")
    listed, _ = predicted(cli, copied.run_dir, "small.png", "large.png", "--class", "0")
    first, second = listed["images"]
    assert (second["height"], second["width"]) == (192, 640)
    x0, y0, x1, y1 = first["maps"][0]["box"]
    assert second["maps"][0]["box"] == pytest.approx([10 * x0, 3 * y0, 10 * x1 + 9, 3 * y1 + 2], abs=30)
    with Image.open("out/large.jpg") as drawing:
        assert drawing.width == 640
        assert 192 < drawing.height < 320


def test_maps_of_several_classes_and_of_a_chosen_one(cli, copied):
    listed, _ = predicted(cli, copied.run_dir, "pictures/0.png", "--top-k", "3")
    found = listed["images"][0]["maps"]
    assert [each["name"] for each in found] == [name for name, _ in listed["images"][0]["top"]][:3]
    assert [each["overlay"] for each in found] == ["0.jpg", "0-2.jpg", "0-3.jpg"]
    name = make_names(copied)[5]
    listed, done = predicted(cli, copied.run_dir, "pictures/0.png", "--class", name.upper())
    (chosen,) = listed["images"][0]["maps"]
    assert (chosen["label"], chosen["name"]) == (5, name)
    assert chosen["probability"] < listed["images"][0]["top"][0][1]
    assert name in done.out


def test_a_threshold_of_the_users_own(cli, copied):
    low, _ = predicted(cli, copied.run_dir, "pictures", "--threshold", "0.05")
    high, done = predicted(cli, copied.run_dir, "pictures", "--threshold", "0.9")
    assert (high["threshold"], high["threshold_from"]) == (0.9, "--threshold")
    assert "boxes at t = 0.900 (--threshold)" in done.out

    def area(listed):
        boxes = [each["maps"][0]["box"] for each in listed["images"]]
        return sum((x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in boxes)

    assert area(high) < area(low) / 2


def test_pictures_that_cannot_be_read_do_not_stop_the_others(cli, copied):
    (copied.pictures / "broken.jpg").write_bytes(b"junk")
    (copied.pictures / "0.png").write_bytes((copied.pictures / "1.png").read_bytes()[:200])
    listed, done = predicted(cli, copied.run_dir, "pictures", status=1)
    assert len(listed["images"]) == 15
    assert set(listed["failed"]) == {"pictures/0.png", "pictures/broken.jpg"}
    assert "it is not JPEG" in listed["failed"]["pictures/broken.jpg"]
    assert "a truncated or damaged PNG" in done.err
    assert done.err.splitlines()[-1] == "error: 2 of 17 pictures could not be read; the others are done"
    (copied.pictures / "only").mkdir()
    (copied.pictures / "only" / "broken.png").write_bytes(b"")
    listed, done = predicted(cli, copied.run_dir, "pictures/only", status=1)
    assert (listed["images"], len(listed["failed"])) == ([], 1)


def test_names_that_collide_are_kept_apart(cli, copied):
    for folder, name in (("a", "x.png"), ("b", "x.png"), ("b", "X.PNG"), ("b/.hidden", "x.png"), ("b", ".x.png")):
        (copied.pictures / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(copied.pictures / "0.png", copied.pictures / folder / name)
    words = ("pictures/a", "pictures/b", "pictures/a/x.png", "pictures/0.png")
    listed, _ = predicted(cli, copied.run_dir, *words)
    found = {each["image"]: each["maps"][0]["overlay"] for each in listed["images"]}
    assert set(found) == {"pictures/a/x.png", "pictures/b/x.png", "pictures/b/X.PNG", "pictures/0.png"}
    assert sorted(name.lower() for name in found.values()) == ["0.jpg", "x-2.jpg", "x-3.jpg", "x.jpg"]


def test_no_picture_is_overwritten_and_no_overlay_is_a_picture(cli, copied, tmp_path):
    (tmp_path / "out").mkdir()
    Image.open("pictures/0.png").save("out/0.jpg")
    before = (tmp_path / "out" / "0.jpg").read_bytes()
    listed, _ = predicted(cli, copied.run_dir, "out/0.jpg")
    assert listed["images"][0]["maps"][0]["overlay"] == "0-2.jpg"
    assert (tmp_path / "out" / "0.jpg").read_bytes() == before
    done = cli("predict", copied.run_dir, "pictures", "--out", "pictures/found", "--quiet")
    again = cli("predict", copied.run_dir, "pictures", "--out", "pictures/found", "--quiet")
    assert (done.status, again.status, again.out) == (0, 0, done.out)
    names = Names(tmp_path, [])
    assert [names.new("a").name, names.new("A").name, names.new("a-2").name] == ["a.jpg", "A-2.jpg", "a-2-2.jpg"]


def test_a_picture_that_viewers_turn_is_told(cli, copied):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open("pictures/0.png").save("turned.jpg", exif=exif)
    listed, done = predicted(cli, copied.run_dir, "turned.jpg", "pictures/1.png")
    assert [each["rotated"] for each in listed["images"]] == [True, False]
    assert done.err.startswith("warning: viewers turn 1 of the pictures by their EXIF data (turned.jpg), prediction")


# --- older checkpoints, methods without classes, plugins --------------------------------------------------------------


def test_an_older_checkpoint_needs_its_record_or_a_threshold(cli, refused, copied, tmp_path):
    expected, _ = predicted(cli, copied.run_dir, "pictures/0.png")
    altered(copied.run_dir / "model.pt", make_older)
    assert predicted(cli, copied.run_dir, "pictures/0.png")[0] == expected
    shutil.copy(copied.run_dir / "model.pt", "mine.pt")  # its record is in results/, the default of --results
    assert predicted(cli, "mine.pt", "pictures/0.png")[0]["images"] == expected["images"]
    (tmp_path / "results").rename("elsewhere")
    sentence = refused("predict", "mine.pt", "pictures/0.png", "--out", "out", "--quiet")
    assert "no threshold that was frozen on train-fullsup (an older version wrote it); give one with --thr" in sentence
    assert predicted(cli, "mine.pt", "pictures/0.png", "--results", "elsewhere")[0]["images"] == expected["images"]
    found = f"elsewhere/runs/{copied.record.run_id}"
    assert predicted(cli, found, "pictures/0.png")[0]["images"] == expected["images"]
    listed, _ = predicted(cli, "mine.pt", "pictures/0.png", "--threshold", "0.5")
    assert listed["threshold"] == 0.5


def test_a_method_that_does_not_classify(cli, refused, arguments, copied, tmp_path):
    done = cli("run", "fsl", "parts", *arguments.tiny, *arguments.fast, "--epochs", "1")
    assert done.status == 0, done.err
    record = read_record(tmp_path / done.out.rstrip().splitlines()[-1].removeprefix("record: "))
    listed, done = predicted(cli, record.run_id, "pictures/0.png", "pictures/1.png")
    assert [each["top"] for each in listed["images"]] == [[], []]
    (found,) = listed["images"][0]["maps"]
    assert (found["name"], found["label"], found["probability"]) == (None, None, None)
    assert len(found["box"]) == 4
    for words in (["--class", "0"], ["--top-k", "2"]):
        sentence = refused("predict", record.run_id, "pictures/0.png", "--out", "out", *words, "--quiet")
        assert sentence.endswith("fsl does not classify; leave out --class and --top-k")


def test_a_method_from_a_file(cli, refused, arguments, copied, tmp_path):
    source = (
        "from wsolbench.methods.cam import CAM\n\n\nclass Mine(CAM):\n"
        '    """CAM by another name."""\n\n    name = "mine"\n    paper = "none"\n'
    )
    (tmp_path / "mine.py").write_text(source)
    done = cli("run", "mine", "parts", "--plugin", "mine.py", *arguments.tiny, *arguments.fast, "--epochs", "1")
    assert done.status == 0, done.err
    run = done.out.rstrip().splitlines()[-1].rpartition("/")[2].removesuffix(".json")
    words = ("predict", run, "pictures/0.png", "--out", "out", "--quiet")
    assert "one of 'mine', which is no method of this version; pass that method's file by --plugin" in refused(*words)
    assert predicted(cli, run, "pictures/0.png", "--plugin", "mine.py")[0]["method"] == "mine"
    (tmp_path / "mine.py").write_text(source + "\n# another file\n")
    assert "made with another file for the method 'mine'" in refused(*words, "--plugin", "mine.py")


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "pictures"], "no record below 'results' has a run id that begins with 'nowhere'"),
        (
            ["nowhere/model.pt", "pictures"],
            "there is no checkpoint 'nowhere/model.pt'; expected a model.pt, its",
        ),
        (["pictures", "pictures"], "'pictures' holds no model.pt; expected the folder of a trained run, runs/RUN-ID"),
        (["pictures/0.png", "pictures"], "pictures/0.png cannot be read; expected the model.pt of a finished run"),
        (["RUN", "gone.jpg"], "there is no picture or folder 'gone.jpg'; check the path"),
        (["RUN", "results"], "'results' holds no pictures (.jpg"),
        (["RUN", "pictures", "--out", "pictures"], "--out pictures is the folder of the pictures; choose another one"),
        (["RUN", "pictures", "--out", "pictures/0.png"], "--out pictures/0.png cannot be written"),
        (["RUN", "pictures", "--threshold", "1"], "--threshold 1.0 is out of range; expected 0 <= t < 1"),
        (["RUN", "pictures", "--class", "walrus"], "unknown class 'walrus'; expected one of the network's 8 classes"),
        (["RUN", "pictures", "--class", "0", "--top-k", "2"], "--class and --top-k were both given; choose one"),
        (["RUN", "pictures", "--device", "tpu"], "--device tpu is not a device"),
        (["RUN", "pictures", "--plugin", "nowhere.py"], "--plugin nowhere.py: no such file"),
    ],
)
def test_words_that_mean_nothing(refused, copied, words, message):
    given = [copied.record.run_id if word == "RUN" else word for word in words]
    out = [] if "--out" in words else ["--out", "out"]
    assert message in refused("predict", *given, *out, "--quiet")
    assert not os.path.exists("out")


def test_rows_without_a_network(cli, refused, copied, tmp_path):
    null = next(record for record in load_records(tmp_path / "results")[0] if not record.trainable)
    words = ("pictures", "--out", "out", "--quiet")
    assert f"run {null.run_id} is a null row and has no network" in refused("predict", null.run_id, *words)
    done = cli("extract", "gradcam", copied.record.run_id, "--device", "cpu", "--quiet")
    extracted = done.out.rstrip().splitlines()[-1].rpartition("/")[2].removesuffix(".json")
    assert f"run {extracted} is extracted from another run and has no" in refused("predict", extracted, *words)
    assert "holds no model.pt" in refused("predict", f"results/runs/{extracted}", *words)
    (copied.run_dir / "model.pt").unlink()
    sentence = refused("predict", copied.record.run_id, *words)
    assert f"train it again with `{copied.record.provenance.command} --no-resume`" in sentence


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_pages_commands(cli, copied, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "predict.md"
    marker = "<!-- the commands of this block are executed by tests/cli/test_cli_predict.py -->"
    block = page.read_text(encoding="utf-8").split(marker)[1].split("```")[1]
    shutil.rmtree("results")
    copied.pictures.rename("holiday")
    shutil.copy("holiday/0.png", "cat.jpg")
    run_id = None
    for line in block.strip().splitlines():
        program, *words = shlex.split(line if run_id is None else line.replace("RUN-ID", run_id))
        assert program == "wsolbench"
        done = cli(*words)
        assert done.status == 0, done.err
        run_id = run_id or done.out.rstrip().splitlines()[-1].rpartition("/")[2].removesuffix(".json")
    counts = {folder: len(list((tmp_path / folder).glob("*.jpg"))) for folder in ("found", "three", "chosen")}
    assert counts == {"found": 17, "three": 48, "chosen": 16}
    listed = json.loads((tmp_path / "found" / "predictions.json").read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for each in (listed["images"][0], listed["images"][0]["maps"][0]) for name in each)
