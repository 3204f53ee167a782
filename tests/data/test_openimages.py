"""OpenImages30k, and a dataset of one's own in the published format."""

import numpy as np
import pytest
from field_examples import MIDS, below, cub, openimages, pack, write

from wsolbench.data.masks import read_masks
from wsolbench.data.openimages import open_openimages, open_published
from wsolbench.data.places import Places
from wsolbench.data.published import read_labels
from wsolbench.data.registry import open_dataset
from wsolbench.data.splits import SPLITS
from wsolbench.errors import SealedError, UserError


@pytest.fixture(scope="module")
def images():
    return openimages()


@pytest.fixture
def places(images, tmp_path):
    root = write(tmp_path / "OpenImages", images.photographs | images.masks)
    return Places(data_root=root, metadata=write(tmp_path / "metadata", images.published))


def test_the_splits(images, places):
    dataset = open_openimages(places)
    assert [len(dataset.images(split)) for split in SPLITS] == [18, 6, 9]
    assert dataset.class_names == MIDS
    assert (dataset.image_size, dataset.headline) == (224, "")
    for split in SPLITS[1:]:
        annotations, pictures = dataset.annotations(split), dataset.images(split)
        assert annotations.ids == pictures.ids
        expected = {image: objects for image, _, objects in images.rows[split]}
        for image, names, ignore in zip(
            annotations.ids, annotations.masks.objects, annotations.masks.ignored, strict=True
        ):
            assert list(names) == [name for name, _ in expected[image]]
            assert ignore == expected[image][0][1]
    with pytest.raises(SealedError):
        dataset.annotations("train-weaksup")
    assert dataset.problems(SPLITS[:1]) == ["openimages train-weaksup has 18 images where the benchmark has 29,819"]


def test_masks_are_united_at_the_evaluation_size(places):
    annotations = open_openimages(places).annotations("test")
    objects, ignored = read_masks(annotations.masks, 0, (30, 40))
    drawn = np.zeros((30, 40), dtype=bool)
    drawn[2:13, 2:10] = True
    drawn[8:30, 6:32] = True  # a mask of 15x20 pixels, doubled
    assert np.array_equal(objects, drawn)
    assert not ignored.any()  # of the first class


@pytest.mark.parametrize("where", ["folder around it", "masks elsewhere", "photographs packed"])
def test_every_layout(images, places, tmp_path, where):
    if where == "folder around it":
        other = Places(data_root=tmp_path, metadata=places.metadata)
    else:
        masks = write(tmp_path / "elsewhere", images.masks)
        root = tmp_path / "packed.zip"
        if where == "masks elsewhere":
            root = write(tmp_path / "photographs", images.photographs)
        else:
            pack(below("OpenImages", images.photographs), root)
        other = Places(data_root=root, metadata=places.metadata, masks_root=masks)
    first, second = open_openimages(places), open_openimages(other)
    assert [first.fingerprint(split) for split in SPLITS] == [second.fingerprint(split) for split in SPLITS]
    for split in SPLITS:
        assert np.array_equal(np.asarray(first.images(split).read(1)), np.asarray(second.images(split).read(1)))


def test_a_dataset_of_ones_own_in_the_published_format(tmp_path):
    birds = cub()
    metadata = write(tmp_path / "m", birds.published)
    root = write(tmp_path / "pictures", birds.original | below("images", birds.v2))
    dataset = open_dataset("folder", root, {}, metadata=metadata)
    assert dataset.name == "folder"
    assert [len(dataset.images(split)) for split in SPLITS] == [18, 9, 6]
    assert dataset.class_names[0] == "001.Black_footed_Albatross"
    assert dataset.problems(SPLITS) == []  # of one's own data the benchmark says nothing
    assert dataset.annotations("test").masks is None
    with pytest.raises(UserError, match="--metadata says what the splits are; leave out --data-option test"):
        open_dataset("folder", root, {"test": "5"}, metadata=metadata)


def test_classes_without_folders_are_numbered(tmp_path):
    text = {"image_ids.txt": "a.jpg\nb.jpg\n", "class_labels.txt": "a.jpg,0\nb.jpg,1\n"}
    metadata = write(tmp_path, below("train", text))
    assert open_published("folder", Places(metadata=metadata)).class_names == ("0", "1")
    write(tmp_path, {"train/class_labels.txt": "a.jpg,0\nb.jpg,2\n"})
    with pytest.raises(UserError, match="has 2 classes, the last one numbered 2; expected every number from 0"):
        open_published("folder", Places(metadata=metadata))


def test_what_is_missing_is_said_with_its_origin(images, places, tmp_path):
    with pytest.raises(UserError, match=r"openimages needs --metadata, .*; OpenImages30k comes from https://github"):
        open_openimages(Places())
    with pytest.raises(UserError, match=r"--metadata .* has no train/image_ids\.txt"):
        open_openimages(Places(metadata=tmp_path))
    with pytest.raises(UserError, match="--masks-root .*nowhere is no folder"):
        Places(masks_root=tmp_path / "nowhere")
    alone = open_openimages(Places(metadata=places.metadata))
    with pytest.raises(UserError, match="openimages needs --data-root, where the photographs of test are"):
        alone.images("test")
    with pytest.raises(
        UserError, match=r"test has masks, such as 'test/.*\.png', .* give their folder with --masks-root"
    ):
        alone.annotations("test")
    (places.data_root / images.rows["test"][2][0]).unlink()
    with pytest.raises(UserError, match=r"1 of 9 photographs of test are missing, first .*; OpenImages30k comes from"):
        open_openimages(places).images("test")
    (places.data_root / images.rows["test"][1][2][1][0]).unlink()
    with pytest.raises(UserError, match="1 of .* masks are missing in"):
        open_openimages(places).annotations("test")
    write(places.metadata, {"test/class_labels.txt": images.published["test/class_labels.txt"].replace(",2\n", ",7\n")})
    with pytest.raises(UserError, match="gives '.*' the label 7, but train/ has only 3 classes"):
        open_openimages(places).listed("test")


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "x/../../a.jpg"])
def test_ids_and_masks_that_leave_their_folder_are_refused(places, name):
    write(places.metadata, {"train/image_ids.txt": f"b.jpg\n{name}\n"})
    with pytest.raises(UserError, match=r"image_ids\.txt, line 2: id '.*' leaves the folder of images"):
        read_labels(places.metadata, "train-weaksup")
    file = places.metadata / "test" / "localization.txt"
    image = file.read_text().partition(",")[0]
    file.write_text(f"{image},{name}.png,\n" + file.read_text())
    with pytest.raises(UserError, match=r"localization\.txt, line 1: '.*' leaves the folder of masks"):
        open_openimages_again(places)


def open_openimages_again(places):
    from wsolbench.data.published import read_annotations

    return read_annotations(places.metadata, "test", places.data_root)


def test_the_real_files(metadata_root, tmp_path, monkeypatch):
    dataset = open_openimages(Places(metadata=metadata_root / "OpenImages", masks_root=tmp_path))
    assert dataset.problems(SPLITS) == []
    assert len(dataset.class_names) == 100
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: True)  # the masks themselves are not there
    # Golden: a change here makes every record of OpenImages another experiment.
    assert [dataset.fingerprint(split) for split in SPLITS] == [
        "9059bb4e6ddf21dc",
        "43b39abab4e16d5d",
        "6a28c4e3cdc09ad1",
    ]
