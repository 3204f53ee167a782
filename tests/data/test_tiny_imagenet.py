"""Tiny ImageNet: splits, boxes and every way an archive can be broken."""

import hashlib
import multiprocessing
import os
import pickle
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from wsolbench.data.splits import SPLITS
from wsolbench.data.tiny_imagenet import open_tiny_imagenet
from wsolbench.errors import SealedError, UserError


def _pixels(read, index):
    return np.asarray(read(index)).tobytes()


def test_splits_partition_train_and_follow_the_hash(tiny, archive):
    dataset = open_tiny_imagenet(archive)
    weaksup, fullsup = dataset.images("train-weaksup"), dataset.images("train-fullsup")
    assert len(fullsup) == 3 * 10
    assert len(weaksup) == 3 * (tiny.train_images - 10)
    assert len(dataset.images("test")) == 3 * tiny.test_images
    assert not set(weaksup.ids) & set(fullsup.ids)
    for label, wnid in enumerate(("n00000001", "n00000002", "n00000003")):
        ids = [f"train/{wnid}/images/{wnid}_{n}.JPEG" for n in range(tiny.train_images)]
        ranked = sorted(ids, key=lambda each: hashlib.sha256(each.encode()).hexdigest())
        assert [i for i, k in zip(fullsup.ids, fullsup.labels, strict=True) if k == label] == sorted(ranked[:10])
        assert [i for i, k in zip(weaksup.ids, weaksup.labels, strict=True) if k == label] == sorted(ranked[10:])


def test_names_options_and_subset(tiny, archive):
    dataset = open_tiny_imagenet(archive, image_size=32)
    assert (dataset.name, dataset.image_size, dict(dataset.options)) == ("tiny-imagenet", 32, {"classes": 3})
    assert dataset.class_names == ("goldfish", "bee", "n00000003")  # the last one is not in words.txt
    subset = open_tiny_imagenet(archive, classes=2)
    assert dict(subset.options) == {"classes": 2}
    assert subset.class_names == ("goldfish", "bee")
    assert set(subset.images("test").labels.tolist()) == {0, 1}
    assert len(subset.annotations("test")) == 2 * tiny.test_images
    # Three classes are not the whole dataset, whether asked for or all that the archive has.
    assert dict(open_tiny_imagenet(archive, classes=3).options) == {"classes": 3}
    assert (dataset.defaults["feature_map"], dataset.headline) == (8, "boxes_5_50")


def test_annotations_are_the_files_boxes(tiny, archive, files):
    dataset = open_tiny_imagenet(archive)
    test = dataset.annotations("test")
    first = 3 * tiny.train_images + 1  # the seed of val_0, whose class n00000003 has label 2
    at = test.ids.index("val/images/val_0.JPEG")
    assert test.labels[at] == 2
    assert tuple(test.boxes[at]) == tiny.box_of(first)
    assert test.ids == dataset.images("test").ids
    np.testing.assert_array_equal(test.labels, dataset.images("test").labels)
    assert test.sizes.tolist() == [[64, 64]] * len(test)

    fullsup = dataset.annotations("train-fullsup")
    assert fullsup.ids == dataset.images("train-fullsup").ids
    for image_id, box in zip(fullsup.ids, fullsup.boxes, strict=True):
        wnid, name = image_id.split("/")[1], image_id.rsplit("/", 1)[1]
        line = "\t".join([name, *map(str, box)])
        assert line in files[f"train/{wnid}/{wnid}_boxes.txt"].decode().splitlines()


def test_training_boxes_are_read_only_when_asked_for(files, repack):
    for name in list(files):
        if name.endswith("_boxes.txt"):
            del files[name]
    dataset = open_tiny_imagenet(repack(files))
    dataset.images("train-weaksup").read(0)
    dataset.fingerprint("test")
    with pytest.raises(SealedError):
        dataset.annotations("train-weaksup")
    with pytest.raises(UserError, match=r"cannot read .*n00000001_boxes\.txt"):
        dataset.annotations("train-fullsup")


def test_boxes_of_other_training_images_are_not_parsed(files, repack):
    dataset = open_tiny_imagenet(repack(files))
    name = dataset.images("train-weaksup").ids[0].rsplit("/", 1)[1]
    changed = re.sub(rf"{name}\t.*", f"{name}\ta\tb\tc\td", files["train/n00000001/n00000001_boxes.txt"].decode())
    assert "\ta\tb" in changed
    before = dataset.fingerprint("train-fullsup")
    files["train/n00000001/n00000001_boxes.txt"] = changed.encode()
    assert open_tiny_imagenet(repack(files)).fingerprint("train-fullsup") == before


def test_archive_and_folder_agree(tiny, archive, files, tmp_path):
    root = tiny.write_folder(files, tmp_path / "unpacked")
    (root / "train/n00000001/images/.DS_Store").write_bytes(b"")
    packed = open_tiny_imagenet(archive)
    for place in (root, root.parent):
        unpacked = open_tiny_imagenet(place)
        for split in SPLITS:
            assert unpacked.fingerprint(split) == packed.fingerprint(split)
            a, b = unpacked.images(split), packed.images(split)
            assert a.ids == b.ids
            assert all(_pixels(a.read, i) == _pixels(b.read, i) for i in range(0, len(a), 5))


def test_fingerprint_ignores_line_ends_and_sees_boxes(tiny, archive, files, repack):
    before = open_tiny_imagenet(archive)
    text = files["val/val_annotations.txt"]
    files["val/val_annotations.txt"] = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n")
    files["wnids.txt"] = files["wnids.txt"].replace(b"\n", b"\r\n") + b"\r\n"
    same = open_tiny_imagenet(repack(files))
    assert [same.fingerprint(split) for split in SPLITS] == [before.fingerprint(split) for split in SPLITS]
    x0 = tiny.box_of(3 * tiny.train_images + 1)[0]
    files["val/val_annotations.txt"] = text.replace(f"n00000003\t{x0}\t".encode(), f"n00000003\t{x0 + 1}\t".encode(), 1)
    moved = open_tiny_imagenet(repack(files))
    assert moved.fingerprint("test") != before.fingerprint("test")
    assert moved.fingerprint("train-weaksup") == before.fingerprint("train-weaksup")


def test_content_key_follows_the_pictures(tiny, archive, files, repack):
    key = open_tiny_imagenet(archive).images("test").content_key
    files["val/val_annotations.txt"] += b"\n"
    assert open_tiny_imagenet(repack(files)).images("test").content_key == key
    files["val/images/val_0.JPEG"] = tiny.jpeg(12345)
    assert open_tiny_imagenet(repack(files)).images("test").content_key != key


def test_content_key_of_a_folder_follows_time(tiny, files, tmp_path):
    root = tiny.write_folder(files, tmp_path)
    key = open_tiny_imagenet(root).images("test").content_key
    os.utime(root / "val/images/val_1.JPEG", ns=(1, 1))
    assert open_tiny_imagenet(root).images("test").content_key != key


def test_pictures_are_rgb_without_rotation(files, repack):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    files["val/images/val_0.JPEG"] = buffer.getvalue()
    images = open_tiny_imagenet(repack(files)).images("test")
    picture = images.read(images.ids.index("val/images/val_0.JPEG"))
    assert picture.mode == "RGB"
    array = np.asarray(picture)
    assert array.shape == (64, 64, 3)
    assert array[:8].mean() > 150 > 50 > array[8:].mean()


def test_reads_from_threads_and_processes(archive):
    images = open_tiny_imagenet(archive).images("test")
    expected = [_pixels(images.read, i) for i in range(len(images))]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_pixels, [images.read] * 60, [i % 6 for i in range(60)])) == expected * 10
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
        assert list(workers.map(_pixels, [images.read] * 6, range(6))) == expected
    assert _pixels(pickle.loads(pickle.dumps(images.read)), 3) == expected[3]


def test_a_forked_reader_does_not_move_its_parents_position(archive):
    images = open_tiny_imagenet(archive).images("test")
    expected = [_pixels(images.read, i) for i in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        # Only what a forked child would see of its own: another process id.
        patch.setattr("wsolbench.data.archives.os.getpid", lambda: -1)
        assert [_pixels(images.read, i) for i in range(6)] == expected
    assert len(images.read.args[0]._open) == 2


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("val/val_annotations.txt", "val_1.JPEG.*", "val_1.JPEG\tn00000001", r"line 2: expected a file name, a class"),
        ("val/val_annotations.txt", "(val_1.JPEG\t.*)\t\\d+", r"\1\t64", r"line 2: box .* 64 leaves its 64x64"),
        ("val/val_annotations.txt", "(val_1.JPEG\tn\\d+)\t\\d+", r"\1\t-1", r"line 2: box -1 .* leaves"),
        ("val/val_annotations.txt", "(val_1.JPEG\tn\\d+)\t\\d+", r"\1\t63.5", r"line 2: expected integers"),
        ("val/val_annotations.txt", "(val_1.JPEG\tn\\d+)\t.*", r"\1\t9\t9\t8\t9", r"line 2: box 9 9 8 9 .* reversed"),
        ("val/val_annotations.txt", "val_1.JPEG.*\n", "", r"val_annotations.txt has no line for val/images/val_1.JPEG"),
        ("val/val_annotations.txt", "val_1.JPEG", "val_99.JPEG", r"line 2: val/images/val_99.JPEG does not exist"),
        ("val/val_annotations.txt", "val_1.JPEG", "val_0.JPEG", r"line 2: val_0.JPEG occurs twice"),
        ("val/val_annotations.txt", "val_1.JPEG\tn00000001", "val_1.JPEG\tn00000009", r"line 2: class 'n00000009'"),
        ("val/val_annotations.txt", "n00000002", "n00000001", r"no test image of class n00000002"),
        ("wnids.txt", "n00000002", "../../etc", r"wnids.txt, line 3: expected a WordNet id"),
        ("wnids.txt", "(?s).*", "", r"wnids.txt lists no class"),
        ("wnids.txt", "n00000002", "n00000008", r"train/n00000008/images holds 0 photographs"),
    ],
)
def test_bad_text_is_one_sentence(files, repack, name, old, new, message):
    files[name] = re.sub(old, new, files[name].decode(), count=0 if new == "n00000001" else 1).encode()
    with pytest.raises(UserError, match=message) as caught:
        open_tiny_imagenet(repack(files)).annotations("test")
    assert "\n" not in str(caught.value)
    assert "changed.zip" in str(caught.value)


def test_a_train_fullsup_image_without_a_box(files, repack):
    dataset = open_tiny_imagenet(repack(files))
    image_id = dataset.images("train-fullsup").ids[4]
    file = "train/n00000001/n00000001_boxes.txt"
    files[file] = re.sub(rf"{image_id.rsplit('/', 1)[1]}.*\n", "", files[file].decode()).encode()
    with pytest.raises(UserError, match=rf"n00000001_boxes\.txt has no box for {image_id}"):
        open_tiny_imagenet(repack(files)).annotations("train-fullsup")


def test_too_few_images_in_a_class(tiny, files, repack):
    for number in range(tiny.train_images - 10):
        del files[f"train/n00000002/images/n00000002_{number}.JPEG"]
    with pytest.raises(UserError, match="n00000002/images holds 10 photographs .* expected at least 11"):
        open_tiny_imagenet(repack(files))


@pytest.mark.parametrize("classes", [-1, 0, 1, 4])
def test_classes_out_of_range(archive, classes):
    with pytest.raises(UserError, match=f"classes={classes} is out of range; .* allows 2 to 3"):
        open_tiny_imagenet(archive, classes=classes)


def test_wrong_data_root(tiny, files, tmp_path):
    with pytest.raises(UserError, match=r"needs --data-root; expected tiny-imagenet-200\.zip"):
        open_tiny_imagenet(None)
    with pytest.raises(UserError, match="nowhere does not exist; expected tiny-imagenet-200.zip"):
        open_tiny_imagenet(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"has no tiny-imagenet-200/wnids\.txt"):
        open_tiny_imagenet(tmp_path)
    with pytest.raises(UserError, match=r"has no tiny-imagenet-200/wnids\.txt"):
        open_tiny_imagenet(tiny.write_zip(files, tmp_path / "other.zip", root="other/"))


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_truncated_archive(archive, keep):
    raw = archive.read_bytes()
    archive.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(UserError, match=r"cannot read .*tiny-imagenet-200\.zip \(not a complete zip archive"):
        open_tiny_imagenet(archive)


def test_damage_inside_the_archive_names_the_picture(archive, files):
    raw = archive.read_bytes()
    at = raw.index(files["val/images/val_2.JPEG"]) + 300
    archive.write_bytes(raw[:at] + bytes(100) + raw[at + 100 :])
    images = open_tiny_imagenet(archive).images("test")
    with pytest.raises(UserError, match=r"cannot read .*val_2\.JPEG \(Bad CRC-32"):
        images.read(images.ids.index("val/images/val_2.JPEG"))


@pytest.mark.parametrize("keep", [0, 1, 200, 700, -60])
@pytest.mark.parametrize("packed", [True, False])
def test_undecodable_picture_is_named(tiny, files, tmp_path, keep, packed):
    files["val/images/val_2.JPEG"] = tiny.jpeg(1)[:keep]
    root = tiny.write_zip(files, tmp_path / "t.zip") if packed else tiny.write_folder(files, tmp_path)
    images = open_tiny_imagenet(root).images("test")
    with pytest.raises(UserError, match=r"val/images/val_2\.JPEG"):
        images.read(images.ids.index("val/images/val_2.JPEG"))


def test_picture_of_another_size(tiny, files, repack):
    files["val/images/val_2.JPEG"] = tiny.jpeg(1, size=(64, 60))
    images = open_tiny_imagenet(repack(files)).images("test")
    with pytest.raises(UserError, match=r"val_2\.JPEG is 60x64 pixels \(height x width\); expected 64x64"):
        images.read(images.ids.index("val/images/val_2.JPEG"))


def test_picture_removed_after_opening(tiny, files, tmp_path):
    root = tiny.write_folder(files, tmp_path)
    dataset = open_tiny_imagenet(root)
    gone = root / dataset.images("train-weaksup").ids[0]
    images = dataset.images("train-weaksup")
    gone.unlink()
    with pytest.raises(UserError, match="No such file"):
        images.read(0)
    with pytest.raises(UserError, match="No such file"):
        dataset.images("train-weaksup")


def test_the_real_photographs(shared_data):
    archive = shared_data / "tiny-imagenet-40.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} is absent")
    dataset = open_tiny_imagenet(archive)
    assert [len(dataset.images(split)) for split in SPLITS] == [19_600, 400, 2_000]
    assert np.bincount(dataset.images("train-fullsup").labels).tolist() == [10] * 40
    # Golden: a change here makes every record of tiny-imagenet-40 another experiment.
    assert [dataset.fingerprint(split) for split in SPLITS] == [
        "ec675dff858882fc",
        "99acdbf7ca5d16ad",
        "9d78bb0aefc9b5f7",
    ]
    boxes = dataset.annotations("test").boxes
    assert boxes.min() == 0
    assert boxes.max() == 63
