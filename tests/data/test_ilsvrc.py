"""ImageNet in every layout that people have it in."""

import os
import re
import time

import numpy as np
import pytest
from field_examples import SIZE, WNIDS, below, ilsvrc, pack, write

from wsolbench.data.hashing import smallest_hashes
from wsolbench.data.ilsvrc import open_ilsvrc
from wsolbench.data.places import Places
from wsolbench.data.published import EXPECTED_COUNTS, read_annotations
from wsolbench.data.splits import SPLITS, annotation_fingerprint
from wsolbench.errors import UserError


@pytest.fixture(scope="module")
def net():
    return ilsvrc()


@pytest.fixture
def metadata(net, tmp_path):
    return write(tmp_path / "metadata", net.published)


def flat(net):
    return below("train", net.train) | below("val", net.val) | below("val2", net.v2)


def in_folders(net):
    return {f"{net.labels[name]}/{name}": content for name, content in net.val.items()}


def kaggle(net):
    photographs = below("train", net.train) | below("val", net.val)
    return (
        below("ILSVRC/Data/CLS-LOC", photographs)
        | below("ILSVRC/Annotations/CLS-LOC/val", net.xml)
        | {"LOC_synset_mapping.txt": f"{WNIDS[0]} tench, Tinca tinca\n{WNIDS[2]} great white shark, white shark\n"}
    )


def described(dataset):
    return [dataset.fingerprint(split) for split in SPLITS]


@pytest.fixture
def plain(net, metadata, tmp_path):
    return open_ilsvrc(Places(data_root=write(tmp_path / "flat", flat(net)), metadata=metadata, cache=tmp_path / "c"))


def test_the_splits(net, plain):
    assert [len(plain.images(split)) for split in SPLITS] == [30, 6, 6]
    train, test = plain.images("train-weaksup"), plain.images("test")
    assert set(train.ids) == {f"train/{name}" for name in net.train}
    assert all(WNIDS[label] in image for image, label in zip(train.ids, train.labels, strict=True))
    assert train.ids == tuple(sorted(train.ids))
    assert plain.class_names == WNIDS
    boxes = plain.annotations("test")
    assert boxes.ids == test.ids
    assert np.diff(boxes.offsets).tolist() == [2, 1] * 3
    for split in SPLITS:
        images = plain.images(split)
        assert images.read(len(images) - 1).size == SIZE[::-1]
    assert plain.problems(SPLITS) == [
        f"ilsvrc {split} has {count} images where the benchmark has {EXPECTED_COUNTS['ilsvrc'][split]:,}"
        for split, count in zip(SPLITS, (30, 6, 6), strict=True)
    ]


@pytest.mark.parametrize("layout", ["class folders", "kaggle", "kaggle, inside", "zip", "original v2", "tar beside"])
def test_every_layout_is_the_same_dataset(net, metadata, plain, tmp_path, layout):
    root = tmp_path / "other" / "ILSVRC"
    if layout == "class folders":
        write(root, below("train", net.train) | below("val", in_folders(net)) | below("val2", net.v2))
    elif layout.startswith("kaggle"):
        write(root.parent, kaggle(net) | below("ILSVRC/val2", net.v2))
        root = root if "inside" in layout else root.parent
    elif layout == "zip":
        root = pack(below("ILSVRC", flat(net)), tmp_path / "all.zip")
    else:
        write(metadata, {"val/mapping.txt": net.mapping})
        translated = dict(line.split(", ") for line in net.mapping.splitlines())
        v2 = below("imagenetv2-threshold0.7", {translated[name]: content for name, content in net.v2.items()})
        write(root, below("train", net.train) | below("val", net.val) | ({} if "tar" in layout else v2))
        if "tar" in layout:
            pack(v2, root.parent / "imagenetv2-threshold0.7.tar.gz")
    other = open_ilsvrc(Places(data_root=root, metadata=metadata, cache=tmp_path / "c"))
    assert described(other) == described(plain)
    for split in SPLITS:
        a, b = other.images(split), plain.images(split)
        assert a.ids == b.ids
        assert all(np.array_equal(np.asarray(a.read(i)), np.asarray(b.read(i))) for i in range(len(a)))
    if "kaggle" in layout:
        assert other.class_names == (("tench", WNIDS[1], "great white shark") if "inside" not in layout else WNIDS)


@pytest.mark.parametrize("folders", [True, False])
def test_xml_boxes_and_published_boxes_are_the_same(net, metadata, plain, tmp_path, folders):
    files = kaggle(net)
    if folders:
        files = {name: content for name, content in files.items() if "/val/ILSVRC" not in name or "xml" in name}
        files |= below("ILSVRC/Data/CLS-LOC/val", in_folders(net))
    dataset = open_ilsvrc(Places(data_root=write(tmp_path / "k", files), cache=tmp_path / "c"))
    assert dataset.images("test").labels.tolist() == plain.images("test").labels.tolist()
    assert dataset.annotations("test").boxes.tolist() == plain.annotations("test").boxes.tolist()
    assert dataset.fingerprint("test") == plain.fingerprint("test")
    for ask in (dataset.annotations, dataset.images):
        with pytest.raises(
            UserError, match=r"of train-fullsup here; ImageNetV2 is https://.*metadata/ILSVRC of https:"
        ):
            ask("train-fullsup")


def test_the_proxy_is_a_fixed_part_of_each_class(net, metadata, plain, tmp_path):
    places = Places(data_root=tmp_path / "flat", metadata=metadata, cache=tmp_path / "c")
    part = open_ilsvrc(places, proxy=20)
    assert part.options == {"proxy": 20}
    ids = part.images("train-weaksup").ids
    for wnid in WNIDS:
        own = [f"train/{name}" for name in net.train if name.startswith(wnid)]
        assert tuple(image for image in ids if wnid in image) == smallest_hashes(own, 2)
    assert part.fingerprint("train-weaksup") != plain.fingerprint("train-weaksup")
    assert [part.fingerprint(split) for split in SPLITS[1:]] == described(plain)[1:]
    assert part.problems(SPLITS) == plain.problems(SPLITS)  # the count is that of all images
    assert len(open_ilsvrc(places, proxy=1).images("train-weaksup")) == 3
    assert open_ilsvrc(places, proxy=100).options == {}
    for wrong in (0, 101):
        with pytest.raises(UserError, match=f"proxy={wrong} is out of range; expected 1 to 100"):
            open_ilsvrc(places, proxy=wrong)


def test_folders_are_listed_once_until_one_changes(net, metadata, tmp_path, monkeypatch):
    places = Places(data_root=write(tmp_path / "flat", flat(net)), metadata=metadata, cache=tmp_path / "c")
    for folder in (*(tmp_path / "flat" / "train").iterdir(), tmp_path / "flat" / "val"):
        os.utime(folder, ns=(time.time_ns() - 10**10,) * 2)  # as if nothing had changed for ten seconds
    before = open_ilsvrc(places).images("train-weaksup")
    assert len(list((tmp_path / "c").glob("listing-*.npz"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr("wsolbench.data.listing.progress", lambda *_: pytest.fail("a second time"))
        again = open_ilsvrc(places).images("train-weaksup")
    assert (again.ids, again.content_key) == (before.ids, before.content_key)
    new = tmp_path / "flat" / "train" / WNIDS[1] / f"{WNIDS[1]}_99.JPEG"
    new.write_bytes(b"")
    changed = open_ilsvrc(places).images("train-weaksup")
    assert set(changed.ids) - set(before.ids) == {f"train/{WNIDS[1]}/{new.name}"}
    assert changed.content_key != before.content_key
    kept = next((tmp_path / "c").glob("listing-*.npz"))
    kept.write_bytes(kept.read_bytes()[:100])
    assert open_ilsvrc(places).images("train-weaksup").ids == changed.ids


def test_a_folder_that_has_just_changed_is_not_kept(net, metadata, tmp_path):
    places = Places(data_root=write(tmp_path / "flat", flat(net)), metadata=metadata, cache=tmp_path / "c")
    open_ilsvrc(places).images("train-weaksup")
    assert list((tmp_path / "c").glob("listing-*.npz")) == []


def test_other_files_are_not_photographs(net, metadata, tmp_path):
    more = {
        "train/.DS_Store": "",
        "train/README": "",
        f"train/{WNIDS[0]}/._a.JPEG": "",
        f"train/{WNIDS[0]}/list.txt": "",
    }
    root = write(tmp_path / "flat", flat(net) | more)
    assert len(open_ilsvrc(Places(data_root=root, metadata=metadata, cache=tmp_path)).images("train-weaksup")) == 30


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmin>1</xmin>", "<xmin>one</xmin>", "has a size or a box that is no whole number"),
        ("<xmin>1</xmin>", "<xmin>50</xmin>", "has no box, a reversed one or no size"),
        ("<width>40</width>", "", "has a size or a box that is no whole number"),
        ("(?s)<object>.*</object>", "", "has no box, a reversed one or no size"),
        ("</annotation>", "", "is no XML"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>', r"is no XML \(it has a document type"),
        (f"<name>{WNIDS[2]}</name>", "<name>n99999999</name>", "is of class n99999999, which train/ does not have"),
    ],
)
def test_a_bad_xml_file_is_one_sentence(net, tmp_path, old, new, message):
    name = "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml"
    files = kaggle(net)
    changed = re.sub(old, new, files[name])
    assert changed != files[name]
    dataset = open_ilsvrc(Places(data_root=write(tmp_path / "k", files | {name: changed}), cache=tmp_path / "c"))
    with pytest.raises(UserError, match=message) as caught:
        dataset.annotations("test")
    assert "\n" not in str(caught.value)
    assert "00000001" in str(caught.value)


def test_what_is_missing_is_said_with_its_origin(net, metadata, tmp_path):
    root = write(tmp_path / "flat", flat(net))
    places = Places(data_root=root, metadata=metadata, cache=tmp_path / "c")
    with pytest.raises(
        UserError, match=r"ilsvrc needs --data-root, .*ILSVRC2012_img_train\.tar .* https://www\.image-net"
    ):
        open_ilsvrc(Places(metadata=metadata))
    with pytest.raises(UserError, match=r"has no train/<wnid>/, such as train/n01440764/"):
        open_ilsvrc(Places(data_root=metadata))
    alone = open_ilsvrc(Places(data_root=root, cache=tmp_path / "c"))
    with pytest.raises(
        UserError, match=r"ilsvrc has no boxes of test below .*; the boxes of val are ILSVRC2012_bbox_val"
    ):
        alone.annotations("test")
    (root / "val" / "ILSVRC2012_val_00000003.JPEG").unlink()
    with pytest.raises(UserError, match=r"1 of 6 photographs of test are missing, first .*val/ILSVRC2012_val_00000003"):
        open_ilsvrc(places).images("test")
    assert len(open_ilsvrc(places).expected_images("test")) == 6  # `data check` reads the five others
    (root / "val2" / "1" / "1.jpeg").unlink()
    with pytest.raises(UserError, match=r"1 of 6 photographs of train-fullsup are missing, first .*val2/1/1\.jpeg"):
        open_ilsvrc(places).images("train-fullsup")
    for name in net.train:
        if name.startswith(WNIDS[1]):
            (root / "train" / name).unlink()
    with pytest.raises(UserError, match=rf"train/{WNIDS[1]} has no photograph"):
        open_ilsvrc(places).images("train-weaksup")
    for number in range(3):
        (root / "train" / WNIDS[number]).rename(root / "train" / f"x{number}") if number else None
    with pytest.raises(UserError, match="gives 'val2/1/0.jpeg' the label 1, but train/ has only 1 classes"):
        open_ilsvrc(places).listed("train-fullsup")


def test_the_real_files(metadata_root):
    start = time.process_time()
    test = read_annotations(metadata_root / "ILSVRC", "test")
    assert time.process_time() - start < 1
    # Golden: a change here makes every record of ImageNet another experiment.
    assert annotation_fingerprint(test) == "96426634d62572f3"
    assert annotation_fingerprint(read_annotations(metadata_root / "ILSVRC", "train-fullsup")) == "7dec6e5bf55d0151"
