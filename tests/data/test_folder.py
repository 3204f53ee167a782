"""The user's own pictures: every kind of annotations, every way to split, and what is refused in one sentence."""

import pickle
import shutil
import unicodedata
import zipfile

import numpy as np
import pytest
from folder_examples import SIZE, WRITERS, csv_files, example, jpeg, mask_files, voc_text, write
from PIL import Image

from wsolbench.data.folder import open_folder
from wsolbench.data.masks import read_masks
from wsolbench.data.splits import SPLITS, sealed_test
from wsolbench.errors import SealedError, UserError
from wsolbench.null_rows import null_scores
from wsolbench.protocols import score

PICTURES, BOXES = example()


@pytest.fixture
def make(tmp_path):
    """Return a function that writes a folder, over what is there, and opens it."""

    def write_and_open(*parts, **options):
        write(tmp_path / "own", {name: content for part in parts for name, content in part.items()})
        return open_folder(tmp_path / "own", **options)

    return write_and_open


@pytest.fixture
def refuse(make):
    """Return a function that expects one sentence, from opening or from reading annotations, and returns it."""

    def expect(*parts, **options):
        with pytest.raises(UserError) as caught:
            annotated(make(*parts, **options))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return expect


def annotated(dataset):
    return [dataset.annotations(split) for split in ("train-fullsup", "test")]


def fingerprints(dataset):
    return [dataset.fingerprint(split) for split in SPLITS]


def all_splits(word):
    """Return boxes.csv with a column split: of each class's ten pictures four train, three are train-fullsup."""
    lines = ["image,split,x0,y0,x1,y1"]
    for index, (name, boxes) in enumerate(BOXES.items()):
        split = word[0] if index % 10 < 4 else word[1] if index % 10 < 7 else word[2]
        lines += [f"{name},{split},{','.join(map(str, box))}" for box in boxes]
    return {"boxes.csv": "\n".join(lines)}


# --- kinds of annotations ---------------------------------------------------------------------------------------------


def test_all_kinds_of_boxes_are_the_same_dataset(tmp_path):
    datasets = {}
    for kind, writer in WRITERS.items():
        datasets[kind] = open_folder(write(tmp_path / kind, PICTURES | writer(BOXES)))
    expected = fingerprints(datasets["csv"])
    assert fingerprints(datasets["coco"]) == fingerprints(datasets["voc"]) == expected
    assert fingerprints(datasets["masks"])[0] == expected[0]
    for split in ("train-fullsup", "test"):
        boxes, masks = (datasets[kind].annotations(split) for kind in ("csv", "masks"))
        for index, image in enumerate(boxes.ids):
            own = boxes.boxes[boxes.offsets[index] : boxes.offsets[index + 1]]
            assert own.tolist() == sorted(map(list, BOXES[image]))
            drawn = np.zeros(SIZE, bool)
            for x0, y0, x1, y1 in own:
                drawn[y0 : y1 + 1, x0 : x1 + 1] = True
            np.testing.assert_array_equal(read_masks(masks.masks, index, SIZE)[0], drawn)
        assert masks.ids == boxes.ids == datasets["csv"].images(split).ids
        assert boxes.sizes.tolist() == [list(SIZE)] * len(boxes)


def test_real_photographs_score_the_same_with_every_kind_of_boxes(tmp_path, shared_data):
    """The photographs and boxes of two classes of Tiny ImageNet, as three folders."""
    from wsolbench.data.tiny_imagenet import open_tiny_imagenet

    source = open_tiny_imagenet(shared_data / "tiny-imagenet-40.zip", classes=2)
    images, annotations = source.images("train-fullsup"), source.annotations("train-fullsup")
    pictures, boxes = {}, {}
    for index, image in enumerate(images.ids):
        name = f"{'ab'[images.labels[index]]}/{image.rsplit('/')[-1].removesuffix('.JPEG')}.jpg"
        pictures[name] = images.read.args[0].read(image)
        boxes[name] = [tuple(annotations.boxes[index].tolist())]
    found = {}
    for kind in ("csv", "coco", "voc"):
        files = WRITERS[kind](boxes, (64, 64))
        dataset = open_folder(write(tmp_path / kind, pictures | files), fullsup="3", test="50%")
        own = {split: dataset.annotations(split) for split in ("train-fullsup", "test")}
        found[kind] = fingerprints(dataset), score(*null_scores("center", own, 64, (8, 8)).values()).metrics
        assert len(own["test"]) == 10
        assert np.asarray(dataset.images("test").read(0)).shape == (64, 64, 3)
    assert found["csv"] == found["coco"] == found["voc"]
    assert 0 < found["csv"][1]["max_box_acc_v2"] < 100


def test_a_mask_that_changes_is_another_dataset(make):
    before = fingerprints(make(PICTURES, mask_files(BOXES)))
    moved = {name: [(1, 1, 2, 2)] for name in BOXES}
    after = fingerprints(make(mask_files(moved)))
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] != after[2]


def test_boxes_of_other_labels_are_of_other_objects(make):
    lines = csv_files(BOXES)["boxes.csv"].decode().splitlines()
    rows = [f"{line},{line.split('/')[0]}" for line in lines[1:]] + [f"{name},0,0,1,1,person" for name in BOXES]
    labelled = make(PICTURES, {"boxes.csv": "\n".join(["image,x0,y0,x1,y1,label", *rows])})
    assert fingerprints(labelled) == fingerprints(make(csv_files(BOXES)))


def test_a_box_that_occurs_twice_counts_once(make):
    before = fingerprints(make(PICTURES, csv_files(BOXES)))
    text = csv_files(BOXES)["boxes.csv"]
    assert fingerprints(make({"boxes.csv": text + text.split(b"\n", 1)[1]})) == before


def test_of_training_pictures_boxes_need_not_be_right(make):
    dataset = make(PICTURES, all_splits(("train", "val", "test")))
    text = all_splits(("train", "val", "test"))["boxes.csv"]
    broken = make({"boxes.csv": text.replace("cat/0.jpg,train,0,0,20,12", "cat/0.jpg,train,99,nan,-5,x")})
    assert "nan" in (broken.layout.source.root / "boxes.csv").read_text()
    assert fingerprints(broken) == fingerprints(dataset)


# --- splits -----------------------------------------------------------------------------------------------------------


def test_drawn_splits_are_shares_of_each_class_and_recorded(make):
    dataset = make(PICTURES, csv_files(BOXES))
    assert dict(dataset.options) == {"fullsup": "10%", "test": "20%"}
    counts = [np.bincount(dataset.images(split).labels).tolist() for split in SPLITS]
    assert counts == [[7, 7], [1, 1], [2, 2]]
    ids = [image for split in SPLITS for image in dataset.images(split).ids]
    assert sorted(ids) == sorted(PICTURES)
    chosen = make({}, fullsup="3", test="40%")
    assert [len(chosen.images(split)) for split in SPLITS] == [6, 6, 8]
    assert dict(chosen.options) == {"fullsup": "3", "test": "40%"}
    # The options of a record open the same splits again.
    assert fingerprints(make({}, **chosen.options)) == fingerprints(chosen)


def test_a_draw_takes_annotated_pictures_and_depends_on_its_class_alone(make):
    few = {name: boxes for name, boxes in BOXES.items() if name[-5] in "0123"}
    dataset = make(PICTURES, csv_files(few), fullsup="1", test="2")
    assert set(dataset.images("test").ids) <= few.keys()
    assert len(dataset.images("train-weaksup")) == 14
    dogs = [image for image in dataset.images("test").ids if image.startswith("dog/")]
    more = make(
        {"bee/1.jpg": jpeg(90), "bee/2.jpg": jpeg(91), "bee/3.jpg": jpeg(92), "bee/4.jpg": jpeg(93)},
        csv_files(few | {f"bee/{n}.jpg": [(0, 0, 1, 1)] for n in (1, 2, 3, 4)}),
        fullsup="1",
        test="2",
    )
    assert [image for image in more.images("test").ids if image.startswith("dog/")] == dogs


@pytest.mark.parametrize("word", [("train", "val", "test"), ("train-weaksup", "train-fullsup", "test")])
def test_a_column_splits(make, word):
    dataset = make(PICTURES, all_splits(word))
    assert dataset.options == {}
    assert [len(dataset.images(split)) for split in SPLITS] == [8, 6, 6]
    assert dataset.images("train-fullsup").ids == tuple(f"{name}/{n}.jpg" for name in ("cat", "dog") for n in (4, 5, 6))


def test_what_the_column_does_not_list_trains(make):
    text = all_splits(("train", "val", "test"))["boxes.csv"]
    listed = make(PICTURES, {"boxes.csv": text})
    rest = make({"boxes.csv": "\n".join(line for line in text.splitlines() if ",train," not in line)})
    assert fingerprints(rest) == fingerprints(listed)
    empty = make(
        {
            "boxes.csv": "\n".join([line for line in text.splitlines() if ",train," not in line])
            + "\ncat/0.jpg,train,,,,"
        }
    )
    assert fingerprints(empty) == fingerprints(listed)


@pytest.mark.parametrize("words", [("train", "val", "test"), ("train-weaksup", "train-fullsup", "test")])
@pytest.mark.parametrize("kind", WRITERS)
def test_folders_split(make, words, kind):
    pictures, boxes = {}, {}
    for word in words:
        pictures |= example(3, top=f"{word}/")[0]
        boxes |= example(3, top=f"{word}/")[1] if word != words[0] else {}
    dataset = make(pictures, WRITERS[kind](boxes))
    assert dataset.options == {}
    assert dataset.class_names == ("cat", "dog")
    for split, word in zip(SPLITS, words, strict=True):
        assert dataset.images(split).ids == tuple(f"{word}/{name}/{n}.jpg" for name in ("cat", "dog") for n in range(3))
    assert len(dataset.annotations("test")) == len(dataset.annotations("train-fullsup")) == 6


def test_boxes_of_train_weaksup_and_of_a_sealed_test_are_not_to_be_had(make):
    dataset = make(PICTURES, csv_files(BOXES))
    dataset.fingerprint("test")
    with pytest.raises(SealedError):
        dataset.annotations("train-weaksup")
    with sealed_test(), pytest.raises(SealedError):
        dataset.fingerprint("test")


# --- where files are --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_of_the_folder_or_of_its_content_is_the_same(tmp_path, kind):
    files = PICTURES | WRITERS[kind](BOXES)
    folder = open_folder(write(tmp_path / "own", files))
    for top in ("", "photos/"):
        with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
            archive.writestr(f"__MACOSX/{top}cat/._0.jpg", b"")
        packed = open_folder(tmp_path / "own.zip")
        assert fingerprints(packed) == fingerprints(folder)
        ours, theirs = packed.images("test"), pickle.loads(pickle.dumps(folder.images("test").read))
        assert np.array_equal(np.asarray(ours.read(1)), np.asarray(theirs(1)))
        if kind == "masks":
            pair = [read_masks(each.annotations("test").masks, 1, SIZE)[0] for each in (packed, folder)]
            assert np.array_equal(*pair)
            assert pair[0].any()
    assert fingerprints(open_folder(shutil.copytree(tmp_path / "own", tmp_path / "a" / "b").parent)) == fingerprints(
        folder
    )


def test_the_cache_key_follows_the_pictures(make, tmp_path):
    key = make(PICTURES, csv_files(BOXES)).images("test").content_key
    assert make({"boxes.csv": csv_files(BOXES)["boxes.csv"] + b"\n"}).images("test").content_key == key
    changed = make({}).images("test").ids[0]
    assert make({changed: jpeg(99) + b"\0"}).images("test").content_key != key


def test_pictures_are_read_as_they_are_stored(make):
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = make(PICTURES, csv_files(BOXES))
    image = dataset.images("test").ids[0]
    turned = make({image: jpeg(0, exif=exif)})
    assert turned.images("test").read(0).size == SIZE[::-1]
    assert fingerprints(turned) == fingerprints(dataset)


def test_a_damaged_picture_is_named(make):
    dataset = make(PICTURES, csv_files(BOXES))
    image = dataset.images("train-weaksup").ids[0]
    with pytest.raises(UserError, match=rf"cannot read .*own/{image} \(a truncated or damaged JPEG"):
        make({image: PICTURES[image][:-40]}).images("train-weaksup").read(0)


def test_unicode_names_of_a_mac_are_the_same_pictures(tmp_path):
    pictures, boxes = example(classes=("caf\u00e9", "t\u00e9"))
    composed = open_folder(write(tmp_path / "a", pictures | csv_files(boxes)))
    apart = {unicodedata.normalize("NFD", name): content for name, content in pictures.items()}
    mac = open_folder(write(tmp_path / "b", apart | csv_files(boxes)))
    assert composed.class_names == ("caf\u00e9", "t\u00e9")
    assert fingerprints(mac) == fingerprints(composed)
    assert mac.images("test").read(0).size == SIZE[::-1]


# --- one sentence -----------------------------------------------------------------------------------------------------


def test_no_data_root_or_none_that_is_there(tmp_path):
    with pytest.raises(UserError, match="folder needs --data-root DIR"):
        open_folder(None)
    with pytest.raises(UserError, match="cannot read .*nowhere"):
        open_folder(tmp_path / "nowhere")


def test_no_annotations_or_several_kinds(refuse):
    assert "has no annotations; expected one kind of boxes.csv, COCO's" in refuse(PICTURES)
    two = refuse(csv_files(BOXES), mask_files(BOXES))
    assert "has annotations of 2 kinds (boxes.csv, masks); expected one kind" in two


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("csv", "boxes.csv: no box"),
        ("coco", "instances_all.json: no box"),
        ("voc", "XML files: no box"),
        ("masks", "masks/: no mask"),
    ],
)
def test_a_scored_picture_without_annotations(refuse, kind, named):
    pictures, boxes = {}, {}
    for word in ("train", "val", "test"):
        more = example(3, top=f"{word}/")
        pictures, boxes = pictures | more[0], boxes | more[1]
    del boxes["test/dog/1.jpg"], boxes["test/dog/2.jpg"]
    sentence = refuse(pictures, WRITERS[kind](boxes))
    assert f"{named} for 'test/dog/1.jpg'; 2 of 6 pictures of test lack one" in sentence


def test_labels_that_are_not_the_folders(refuse):
    rows = [f"{name},0,0,1,1,{name[:3].upper()}" for name in BOXES]
    sentence = refuse(PICTURES, {"boxes.csv": "\n".join(["image,x0,y0,x1,y1,label", *rows])})
    assert "with its folder's name as label (labels there: CAT)" in sentence


@pytest.mark.parametrize("box", ["5,5,4,9", "5,9,6,5", "-1,0,3,3", "0,0,30,3", "0,0,3,20"])
def test_a_box_that_leaves_its_picture_or_is_reversed(refuse, box):
    name = "dog/9.jpg"
    text = f"image,x0,y0,x1,y1,split\n{name},{box},test\ncat/1.jpg,0,0,29,19,val\n"
    sentence = refuse(PICTURES, {"boxes.csv": text})
    assert (
        f"boxes.csv, line 2: the box {box.replace(',', ' ')} (first and last pixel, from 0) is reversed or" in sentence
    )
    assert (
        "its picture of 20x30 pixels (height x width); expected 0 <= x0 <= x1 <= 29 and 0 <= y0 <= y1 <= 19" in sentence
    )


def test_sizes_that_are_not_the_pictures(refuse):
    exif = Image.Exif()
    exif[0x0112] = 8
    pictures = {
        f"{top}/{name}/1.jpg": jpeg(1, exif=exif) for top in ("train", "val", "test") for name in ("cat", "dog")
    }
    text = voc_text("cat", [(0, 0, 4, 4)], size=SIZE[::-1])
    sentence = refuse(pictures, {"val/cat/1.xml": text})
    assert "val/cat/1.xml: the size 30x20 is not that of its picture of 20x30 pixels (height x width)" in sentence
    assert sentence.endswith("a viewer turns this picture (EXIF), a box must be of the picture as it is stored")


def test_splits_that_contradict_or_do_not_suffice(refuse, make):
    pictures, boxes = {}, {}
    for word in ("train", "val", "test"):
        more = example(3, top=f"{word}/")
        pictures, boxes = pictures | more[0], boxes | more[1]
    assert "--data-option test is for drawn splits, and those of" in refuse(pictures, csv_files(boxes), test="3")
    column = {"boxes.csv": "image,x0,y0,x1,y1,split\ntrain/cat/1.jpg,0,0,1,1,test\n"}
    assert "boxes.csv has a column split, and folders are splits too" in refuse(column)


def test_an_empty_split_and_a_class_that_cannot_be_learnt(refuse):
    head = "image,x0,y0,x1,y1,split\n"
    assert "has no picture in train-fullsup" in refuse(PICTURES, {"boxes.csv": f"{head}cat/1.jpg,0,0,1,1,test\n"})
    rows = [f"{name},0,0,1,1,{'test' if index % 2 else 'val'}\n" for index, name in enumerate(BOXES) if "dog" in name]
    assert "class 'dog' has no picture in train-weaksup" in refuse({"boxes.csv": head + "".join(rows)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": "9"}, "class 'cat' has 10 pictures, 10 of them in .*boxes.csv; 1 for train-fullsup and 9 for test"),
        ({"test": "50%", "fullsup": "6"}, "6 for train-fullsup and 5 for test would be drawn"),
        ({"test": "0"}, "--data-option test=0 cannot be read; expected a number of pictures of each class"),
        ({"fullsup": "100%"}, "--data-option fullsup=100% cannot be read"),
        ({"fullsup": "0.1"}, "--data-option fullsup=0.1 cannot be read"),
    ],
)
def test_shares_that_cannot_be_drawn(make, options, message):
    with pytest.raises(UserError, match=message):
        make(PICTURES, csv_files(BOXES), **options)
