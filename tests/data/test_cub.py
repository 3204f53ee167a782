"""CUB from its distribution, from published split files, and from both."""

import re

import numpy as np
import pytest
from field_examples import SIZE, below, cub, pack, published, write

from wsolbench.data.cub import open_cub
from wsolbench.data.places import Places
from wsolbench.data.splits import SPLITS, annotation_fingerprint, sealed_test
from wsolbench.errors import SealedError, UserError

NAMES = ("Black footed Albatross", "Laysan Albatross", "Sooty Albatross")


@pytest.fixture(scope="module")
def birds():
    return cub()


@pytest.fixture
def unpacked(birds, tmp_path):
    """Write everything there is, as it unpacks; return the places."""
    root = write(tmp_path / "CUB_200_2011", birds.original)
    write(tmp_path / "CUBV2", birds.v2)
    metadata = write(tmp_path / "metadata", birds.published)
    return Places(data_root=root, metadata=metadata, cache=tmp_path / "cache")


def fullsup_only(birds, path):
    return write(path, {name: text for name, text in birds.published.items() if name.startswith("val/")})


def described(dataset):
    return [dataset.fingerprint(split) for split in SPLITS]


def test_the_distribution_and_the_published_files_are_the_same_dataset(birds, unpacked, tmp_path):
    known = open_cub(unpacked)
    derived = open_cub(
        Places(data_root=unpacked.data_root, metadata=fullsup_only(birds, tmp_path / "val_only"), cache=unpacked.cache)
    )
    assert known.distribution is None
    assert derived.distribution is not None
    assert described(known) == described(derived)
    assert known.class_names == derived.class_names == NAMES
    assert [len(known.images(split)) for split in SPLITS] == [18, 9, 6]
    for split in SPLITS:
        a, b = known.images(split), derived.images(split)
        assert a.ids == b.ids == tuple(sorted(a.ids))
        assert a.content_key == b.content_key
        assert a.labels.tolist() == b.labels.tolist()
        assert np.asarray(a.read(2)).tobytes() == np.asarray(b.read(2)).tobytes()
        assert a.read(0).mode == "RGB"


def test_the_boxes_are_inclusive_and_cut_at_the_last_pixel(birds, unpacked):
    dataset = open_cub(unpacked)
    expected = {image: objects for image, _, objects in birds.rows["test"]}
    derived = open_cub(Places(data_root=unpacked.data_root, cache=unpacked.cache)).annotations("test")
    assert [[tuple(box)] for box in derived.boxes] == [expected[image] for image in derived.ids]
    assert (derived.boxes[:, 2:] == np.array(SIZE)[::-1] - 1).all(axis=1).any()  # one reaches beyond in the file
    assert derived.sizes.tolist() == [list(SIZE)] * 6
    assert annotation_fingerprint(derived) == dataset.fingerprint("test")


@pytest.mark.parametrize("where", ["folder around it", "tgz", "folder of the tgz", "merged", "zip"])
def test_every_layout(birds, unpacked, tmp_path, where):
    place = tmp_path / "elsewhere"
    place.mkdir()
    whole = below("CUB_200_2011", birds.original)
    if where == "folder around it":
        root = write(place, whole | below("CUBV2", birds.v2))
    elif where == "merged":  # the folder that the published scripts make
        root = write(place / "CUB", {n[7:]: c for n, c in birds.original.items() if n.startswith("images/")} | birds.v2)
    else:
        archive = pack(whole, place / ("CUB_200_2011.zip" if where == "zip" else "CUB_200_2011.tgz"))
        pack(birds.v2, place / "CUBV2.tar")
        root = place if where == "folder of the tgz" else archive
    dataset = open_cub(Places(data_root=root, metadata=unpacked.metadata, cache=unpacked.cache))
    assert described(dataset) == described(open_cub(unpacked))
    for split in SPLITS:
        image = dataset.images(split)
        other = open_cub(unpacked).images(split)
        assert np.asarray(image.read(1)).tobytes() == np.asarray(other.read(1)).tobytes()
    if where != "merged":
        alone = open_cub(Places(data_root=root, cache=unpacked.cache))
        assert alone.fingerprint("test") == dataset.fingerprint("test")


def test_an_archive_beside_its_folder_is_left_alone(birds, unpacked, tmp_path):
    (tmp_path / "CUB_200_2011.tgz").write_bytes(b"\x1f\x8bdamaged")
    (tmp_path / "CUBV2.tar").write_bytes(b"damaged")
    assert len(open_cub(unpacked).images("train-fullsup")) == 9


def test_sizes_are_read_once(birds, tmp_path, monkeypatch):
    places = Places(data_root=write(tmp_path / "CUB_200_2011", birds.original), cache=tmp_path / "cache")
    before = open_cub(places).fingerprint("test")
    assert [path.name[:6] for path in places.cache.iterdir()] == ["sizes-"]
    monkeypatch.setattr("wsolbench.data.listed.picture_size", lambda *_: pytest.fail("a second time"))
    assert open_cub(places).fingerprint("test") == before
    (damaged,) = places.cache.iterdir()
    damaged.write_bytes(b"")
    monkeypatch.undo()
    assert open_cub(places).fingerprint("test") == before
    changed = dict(birds.published)
    changed["val/localization.txt"] = changed["val/localization.txt"].replace(",1,2,", ",0,2,", 1)
    write(tmp_path / "m", changed)
    assert open_cub(Places(metadata=tmp_path / "m")).fingerprint("test") == before


def test_published_files_alone_need_photographs_only_for_pictures(unpacked):
    dataset = open_cub(Places(metadata=unpacked.metadata))
    assert described(dataset) == described(open_cub(unpacked))
    with pytest.raises(UserError, match=r"cub needs --data-root, where the photographs of test are; download CUB_200"):
        dataset.images("test")
    with pytest.raises(UserError, match=r"photographs of train-fullsup are; CUBV2 comes from https://"):
        dataset.images("train-fullsup")


def test_counts_and_classes_are_compared_with_the_benchmark(birds, unpacked, tmp_path):
    problems = open_cub(unpacked).problems(SPLITS)
    assert problems[:3] == [
        "cub train-weaksup has 18 images where the benchmark has 5,994",
        "cub train-fullsup has 9 images where the benchmark has 1,000",
        "cub test has 6 images where the benchmark has 5,794",
    ]
    assert len(problems) == 3
    rows = {split: list(images) for split, images in birds.rows.items()}
    rows["train-fullsup"] = rows["train-fullsup"][2:]
    rows["test"][0] = (rows["train-weaksup"][0][0], *rows["test"][0][1:])
    rows["train-weaksup"] = [row for row in rows["train-weaksup"] if row[1] != 1]
    write(tmp_path / "odd", published(rows))
    odd = open_cub(Places(metadata=tmp_path / "odd")).problems(SPLITS)[3:]
    assert odd == [
        "cub train-weaksup has no image of class 'Laysan Albatross'",
        "cub train-fullsup has 1 to 3 images a class; expected 3 to 6",
        f"train-weaksup and test overlap (shared ids: 1, first '{rows['test'][0][0]}')",
    ]


def test_the_test_split_stays_sealed(unpacked):
    dataset = open_cub(unpacked)
    dataset.fingerprint("test")  # kept from here on
    dataset.images("test")
    with sealed_test():
        for ask in (dataset.images, dataset.annotations, dataset.listed, dataset.located, dataset.fingerprint):
            with pytest.raises(SealedError):
                ask("test")
        assert len(dataset.problems(SPLITS[:2])) == 2
    with pytest.raises(SealedError):
        dataset.annotations("train-weaksup")


def test_segmentations_are_masks_of_test(birds, unpacked, tmp_path):
    with pytest.raises(UserError, match=r"masks=1 needs the segmentations, .*segmentations.tgz from https://"):
        open_cub(unpacked, masks=1).annotations("test")
    write(tmp_path / "segmentations", birds.masks)
    dataset = open_cub(unpacked, masks=1)
    test = dataset.annotations("test")
    assert dataset.options == {"masks": 1}
    assert test.masks.objects[0] == (test.ids[0].replace(".jpg", ".png"),)
    assert test.masks.root == tmp_path / "segmentations"
    assert dataset.annotations("train-fullsup").masks is None
    assert test.ids == dataset.images("test").ids
    assert dataset.fingerprint("test") != open_cub(unpacked).fingerprint("test")
    (tmp_path / "segmentations" / test.masks.objects[0][0]).unlink()
    with pytest.raises(UserError, match="1 segmentations are missing, first"):
        open_cub(unpacked, masks=1).annotations("test")


def read_everything(places):
    dataset = open_cub(places)
    dataset.images("train-weaksup")
    dataset.annotations("test")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("images.txt", "2 001.*", "2", r"images\.txt, line 2: expected a number and a value, found '2'"),
        ("images.txt", "2 001", "1 001", r"images\.txt, line 2: number 1 occurs twice"),
        ("images.txt", "2 001.*", "2 ../secret.jpg", r"leaves|missing"),
        ("image_class_labels.txt", "2 1\r\n", "", r"labels\.txt has no line for 1 images of images.txt, first 2"),
        ("image_class_labels.txt", "2 1", "2 x", r"image_class_labels\.txt, line 2: expected two whole numbers"),
        ("image_class_labels.txt", "2 1", "2 0", r"image_class_labels\.txt has a class below 1"),
        ("train_test_split.txt", "2 1", "2 2", r"train_test_split\.txt has other values than 0 and 1"),
        (
            "bounding_boxes.txt",
            "7 (.*) .*",
            r"7 \1",
            r"bounding_boxes\.txt, line 7: expected 'number x y width height'",
        ),
        ("bounding_boxes.txt", "7 (.*) .*", r"7 \1 nan", r"bounding_boxes\.txt, line 7: the box .* has no size"),
        ("bounding_boxes.txt", "8 .*\r\n", "", r"bounding_boxes\.txt has no line for 1 images"),
        ("classes.txt", "2 002.*\n", "", r"cub has classes numbered 0, 2, \.\.\. in .*classes\.txt"),
    ],
)
def test_bad_text_is_one_sentence(birds, tmp_path, file, old, new, message):
    text = birds.original[file]
    files = {**birds.original, file: re.sub(old, new, text, count=1)}
    assert files[file] != text
    with pytest.raises(UserError, match=message) as caught:
        read_everything(Places(data_root=write(tmp_path / "c", files), cache=tmp_path))
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_said_with_its_origin(birds, unpacked, tmp_path):
    with pytest.raises(
        UserError, match=r"--data-root is not given; download CUB_200_2011\.tgz from https://data\.calt"
    ):
        open_cub(Places())
    with pytest.raises(UserError, match=r"cub needs images\.txt of CUB_200_2011 or split files .* has none; download"):
        open_cub(Places(data_root=write(tmp_path / "empty", {"a": ""})))
    with pytest.raises(UserError, match="--data-root .*nowhere does not exist"):
        open_cub(Places(data_root=tmp_path / "nowhere"))
    alone = open_cub(Places(data_root=unpacked.data_root, cache=unpacked.cache))
    with pytest.raises(UserError, match=r"cub has no list of train-fullsup here, .*; CUBV2 comes from https://github"):
        alone.annotations("train-fullsup")
    gone = unpacked.data_root / "images" / birds.rows["test"][3][0]
    gone.unlink()
    with pytest.raises(UserError, match=rf"1 of 6 photographs of test are missing, first .*{gone.name}; download CUB"):
        open_cub(unpacked).images("test")


def test_the_real_files(metadata_root):
    dataset = open_cub(Places(metadata=metadata_root / "CUB"))
    assert dataset.problems(SPLITS) == []
    assert len(dataset.class_names) == 200
    assert dataset.class_names[0] == NAMES[0]
    # Golden: a change here makes every record of CUB another experiment.
    assert described(dataset) == ["59150ccaf23e20b8", "5ebf0c03f4e98676", "70687f9ee0fc357a"]
