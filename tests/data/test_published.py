"""The published split files: order, robustness, errors, and the real ones."""

import time

import numpy as np
import pytest

from wsolbench.data.published import EXPECTED_COUNTS, check_counts, check_overlap, read_annotations
from wsolbench.data.splits import annotation_fingerprint, sealed_test
from wsolbench.errors import SealedError, UserError

FILES = {
    "image_ids.txt": "b/2.jpg\na/1,x.jpg\nc.jpg\n",
    "class_labels.txt": "a/1,x.jpg,0\nb/2.jpg,7\nc.jpg,1\n",
    "image_sizes.txt": "b/2.jpg,500,375\na/1,x.jpg,20,10\nc.jpg,64,48\n",
    "localization.txt": "c.jpg,1,2,3,4\nb/2.jpg,0,0,499,374\nc.jpg,-1,5,64,48\na/1,x.jpg,3,4,3,4",
}


@pytest.fixture
def write(tmp_path):
    def write(folder="test", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, text in FILES.items():
            text = changes.get(name.removesuffix(".txt"), text)
            raw = text if isinstance(text, bytes) else text.encode()
            (tmp_path / folder / name).write_bytes(raw)
        return tmp_path

    return write


def test_reads_in_the_order_of_the_ids(write):
    got = read_annotations(write(), "test")
    assert got.split == "test"
    assert got.ids == ("b/2.jpg", "a/1,x.jpg", "c.jpg")
    assert got.labels.tolist() == [7, 0, 1]
    assert got.sizes.tolist() == [[375, 500], [10, 20], [48, 64]]
    assert got.offsets.tolist() == [0, 1, 2, 4]
    # The last box leaves its image and stays as it is; an image's boxes keep their order.
    assert got.boxes.tolist() == [[0, 0, 499, 374], [3, 4, 3, 4], [1, 2, 3, 4], [-1, 5, 64, 48]]
    assert {got.labels.dtype, got.sizes.dtype, got.boxes.dtype, got.offsets.dtype} == {np.dtype("int64")}


def test_fullsup_is_the_folder_val_and_train_is_sealed(write):
    root = write("val")
    assert read_annotations(root, "train-fullsup").split == "train-fullsup"
    with pytest.raises(UserError, match=r"test.image_ids\.txt \(No such file"):
        read_annotations(root, "test")
    with pytest.raises(SealedError):
        read_annotations(root, "train-weaksup")
    with sealed_test(), pytest.raises(SealedError):
        read_annotations(root, "test")  # no file is looked for


def test_line_ends_blanks_spaces_and_byte_order_mark_change_nothing(write):
    plain = annotation_fingerprint(read_annotations(write(), "test"))
    untidy = {
        name.removesuffix(".txt"): b"\xef\xbb\xbf" + text.replace("\n", " \r\n\r\n").encode()
        for name, text in FILES.items()
    }
    untidy["image_sizes"] = untidy["image_sizes"].replace(b",500,", b" , 500 ,")
    assert annotation_fingerprint(read_annotations(write(**untidy), "test")) == plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": "c.jpg\nb/2.jpg\n\nc.jpg\n"}, r"image_ids\.txt, line 4: id 'c\.jpg' occurs twice"),
        ({"image_ids": "\n"}, r"image_ids\.txt lists no image"),
        ({"image_ids": b"\xff\xfe"}, r"image_ids\.txt is not UTF-8 text \(byte 0\)"),
        ({"image_ids": "b/2.jpg\nc.jpg\n"}, r"localization\.txt, line 4: id 'a/1,x\.jpg' is not in image_ids"),
        (
            {"image_ids": FILES["image_ids.txt"] + "d.jpg"},
            r"localization\.txt has no box for 'd\.jpg' \(1 of 4 images lack one\)",
        ),
        ({"class_labels": "a/1,x.jpg,0\nc.jpg,1\n"}, r"class_labels\.txt has no line for 'b/2\.jpg'"),
        (
            {"class_labels": FILES["class_labels.txt"] + "c.jpg,1"},
            r"class_labels\.txt, line 4: id 'c\.jpg' occurs twice",
        ),
        ({"class_labels": "b/2.jpg,-1\n"}, r"class_labels\.txt, line 1: expected label of at least 0, found -1"),
        ({"class_labels": "b/2.jpg\n"}, r"class_labels\.txt, line 1: expected 'id,label' with integers"),
        ({"image_sizes": "c.jpg,64,0\n"}, r"line 1: expected width and height of at least 1, found 64, 0"),
        ({"localization": "c.jpg,1,2,3\n"}, r"line 1: expected 'id,x0,y0,x1,y1' with integers, found 'c\.jpg,1,2,3'"),
        ({"localization": "c.jpg,1,2,3.5,4\n"}, r"localization\.txt, line 1: expected .* integers"),
        ({"localization": f"c.jpg,1,2,3,{10**30}\n"}, r"localization\.txt, line 1: expected .* integers"),
        ({"localization": "\nc.jpg,5,2,4,4\n"}, r"localization\.txt, line 2: box 5 2 4 4 is reversed"),
        ({"localization": "c.jpg,5,2,5,1\n"}, r"localization\.txt, line 1: box 5 2 5 1 is reversed"),
        ({"localization": ""}, r"localization\.txt has no box for 'b/2\.jpg' \(3 of 3"),
    ],
)
def test_bad_files_are_one_sentence(write, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(write(**changes), "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(write, name):
    root = write()
    (root / "test" / name).unlink()
    with pytest.raises(UserError, match=rf"cannot read .*test.{name} \(No such file"):
        read_annotations(root, "test")


def test_counts(write):
    got = read_annotations(write(), "test")
    assert check_counts("my-own", got) is None
    assert check_counts("cub", got) == (
        "cub test has 3 images where the benchmark has 5,794; the numbers do not compare with published ones"
    )


def test_overlap(write):
    test = read_annotations(write(), "test")
    other = {name.removesuffix(".txt"): text.replace("b/2.jpg", "d.jpg") for name, text in FILES.items()}
    fullsup = read_annotations(write("val", **other), "train-fullsup")
    assert check_overlap(test, fullsup) == (
        "test and train-fullsup overlap (shared ids: 2, first 'a/1,x.jpg'); "
        "what is chosen on one split is not independent of the other"
    )
    apart = {name: text.replace("a/1", "A/1").replace("c.jpg", "C.jpg") for name, text in other.items()}
    assert check_overlap(test, read_annotations(write("val", **apart), "train-fullsup")) is None


@pytest.mark.parametrize("folder", ["CUB", "ILSVRC"])
def test_the_real_splits_do_not_overlap(shared_data, folder):
    metadata = shared_data / "wsol-metadata" / folder
    if not metadata.is_dir():
        pytest.skip(f"{metadata} is absent")
    assert check_overlap(*(read_annotations(metadata, split) for split in ("test", "train-fullsup"))) is None


@pytest.mark.parametrize(
    ("folder", "split", "boxes", "several"),
    [
        ("CUB", "train-fullsup", 1_000, 0),
        ("CUB", "test", 5_794, 0),
        ("ILSVRC", "train-fullsup", 18_532, 2_052),
        ("ILSVRC", "test", 80_477, 11_715),
    ],
)
def test_the_real_files(shared_data, folder, split, boxes, several):
    metadata = shared_data / "wsol-metadata" / folder
    if not metadata.is_dir():
        pytest.skip(f"{metadata} is absent")
    start = time.process_time()
    got = read_annotations(metadata, split)
    assert time.process_time() - start < 1.0
    assert check_counts(folder.lower(), got) is None
    assert len(got) == EXPECTED_COUNTS[folder.lower()][split]
    assert len(got.boxes) == boxes
    assert (np.diff(got.offsets) > 1).sum() == several
    height_width = got.sizes[np.repeat(np.arange(len(got)), np.diff(got.offsets))]
    assert (got.boxes[:, 2:] < height_width[:, ::-1]).all()
    assert (got.boxes >= 0).all()


# --- masks ------------------------------------------------------------------------------------------------------------

MASKED = (
    "c.jpg,m/c_1.png,m/c_ignore.png\n"
    "b/2.jpg,m/b_1.png,\n"
    "a/1,x.jpg,m/a_1.png,\n"
    "a/1,x.jpg , m/a_2.png ,  m/a_ignore.PNG\n"
    "a/1,x.jpg,m/a_3.png,m/a_ignore.PNG\n"
)


@pytest.fixture
def write_masks(write, tmp_path):
    """Return a function that writes split files with masks, whose files are there; returns metadata and their root."""

    def make(localization=MASKED, **changes):
        (tmp_path / "masks" / "m").mkdir(parents=True)
        for name in ("c_1.png", "c_ignore.png", "b_1.png", "a_1.png", "a_2.png", "a_3.png", "a_ignore.PNG"):
            (tmp_path / "masks" / "m" / name).touch()
        return write(localization=localization, image_sizes="", **changes), tmp_path / "masks"

    return make


def test_masks_in_the_order_of_the_file(write_masks):
    metadata, root = write_masks()
    got = read_annotations(metadata, "test", root)
    assert got.ids == ("b/2.jpg", "a/1,x.jpg", "c.jpg")
    assert got.masks.objects == (("m/b_1.png",), ("m/a_1.png", "m/a_2.png", "m/a_3.png"), ("m/c_1.png",))
    assert got.masks.ignored == (None, "m/a_ignore.PNG", "m/c_ignore.png")
    assert got.labels.tolist() == [7, 0, 1]
    assert len(got.boxes) == 0
    part = got.select(np.array([2, 0]))
    assert part.masks.objects == (("m/c_1.png",), ("m/b_1.png",))
    assert part.masks.ignored == ("m/c_ignore.png", None)
    assert annotation_fingerprint(got) != annotation_fingerprint(part)
    other = read_annotations(write_again(metadata, MASKED.replace("a_3", "a_1")), "test", root)
    assert annotation_fingerprint(got) != annotation_fingerprint(other)


def write_again(metadata, localization):
    (metadata / "test" / "localization.txt").write_text(localization)
    return metadata


@pytest.mark.parametrize(
    ("localization", "message"),
    [
        (
            MASKED.replace("m/b_1.png", "m/no.png"),
            r"1 of 7 masks are missing in .*, first 'm/no\.png'; give the",
        ),
        (
            MASKED + "c.jpg,m/c_1.png,m/a_ignore.PNG\n",
            r"line 6: 'c\.jpg' has a second ignore mask",
        ),
        (MASKED + "d.jpg,m/c_1.png,\n", r"line 6: id 'd\.jpg' is not in image_ids\.txt"),
        (MASKED + "c.jpg,1,2,3,4\n", r"line 6: expected 'id,mask\.png,ignore\.png', found 'c\.jpg,1,2,3,4'"),
        (MASKED + "c.jpg,m/c_1.png,m/c.txt\n", "line 6: expected 'id,mask"),
        (MASKED.replace("b/2.jpg,", "c.jpg,"), r"has no mask for 'b/2\.jpg' \(1 of 3 images lack one\)"),
        (FILES["localization.txt"], "lists boxes, no masks; leave out --masks-root"),
        ("", r"localization\.txt has no mask for .* \(3 of 3 images lack one\)"),
    ],
)
def test_bad_mask_lists_are_one_sentence(write_masks, localization, message):
    metadata, root = write_masks(localization)
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(metadata, "test", root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("folder", "images", "masks"), [("val", 2_500, 3_854), ("test", 5_000, 7_632)])
def test_the_real_mask_lists(shared_data, tmp_path, monkeypatch, folder, images, masks):
    metadata = shared_data / "wsol-metadata" / "OpenImages"
    if not metadata.is_dir():
        pytest.skip(f"{metadata} is absent")
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: True)  # the masks themselves are not there
    got = read_annotations(metadata, "test" if folder == "test" else "train-fullsup", tmp_path)
    assert check_counts("openimages", got) is None
    assert len(got) == images
    assert sum(map(len, got.masks.objects)) == masks
    assert None not in got.masks.ignored
