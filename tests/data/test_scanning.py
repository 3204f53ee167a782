"""Reading every picture once: what is kept of each, and that none of them ends it."""

import threading
from io import BytesIO

import numpy as np
import pytest
from data_examples import SIZE, made_dataset, made_split, picture
from PIL import Image

from wsolbench.data import scanning
from wsolbench.data.pictures import decode
from wsolbench.data.scanning import DAMAGED, MISSING, READABLE, scan, scan_masks
from wsolbench.data.sources import open_source
from wsolbench.data.splits import ImageSplit, Masks
from wsolbench.errors import UserError


def split_of(pictures, ids=None):
    made = made_split("test", 0)
    made.pictures = list(pictures)
    made.ids = ids or [f"{index}.jpg" for index in range(len(made.pictures))]
    made.labels, made.sizes = [0] * len(made.ids), [SIZE] * len(made.ids)
    made.boxes = [[(0, 0, 3, 3)] for _ in made.ids]
    return made_dataset(splits={"test": made}).images("test")


def test_what_is_kept_of_each_picture_in_the_order_of_the_split():
    sizes = [(5 + index % 7, 6 + index % 3) for index in range(100)]  # several parts, read on several threads
    pictures = [picture(index, size) for index, size in enumerate(sizes)]
    pictures[70] = pictures[3]
    shown, lock = [], threading.Lock()

    def look(index, each):
        with lock:
            shown.append((index, each.size))

    seen = scan(split_of(pictures), look, quiet=True)
    assert seen.sizes.tolist() == [list(size) for size in sizes[:70] + [sizes[3]] + sizes[71:]]
    assert len(set(seen.digests.tolist())) == 99
    assert seen.digests[70] == seen.digests[3]
    assert not seen.state.any()
    assert seen.orientations.tolist() == [1] * 100
    assert seen.reasons == {}
    assert sorted(shown) == [(index, each.size) for index, each in enumerate(pictures)]


def test_equal_bytes_of_another_shape_are_another_picture():
    flat = Image.new("RGB", (6, 4), "grey"), Image.new("RGB", (4, 6), "grey")
    assert flat[0].tobytes() == flat[1].tobytes()
    assert len(set(scan(split_of(flat), quiet=True).digests.tolist())) == 2


def test_whatever_reading_a_picture_raises_the_others_are_read():
    odd = [UserError("a.jpg is empty; get it again"), RuntimeError("a decoder's bug"), MemoryError("too large")]
    seen = scan(split_of([odd[0], picture(1), odd[1], odd[2], picture(2)]), quiet=True)
    assert seen.state.tolist() == [DAMAGED, READABLE, DAMAGED, DAMAGED, READABLE]
    assert seen.sizes[[1, 4]].tolist() == [list(SIZE)] * 2
    assert not seen.sizes[[0, 2, 3]].any()
    assert seen.reasons == {
        0: "a.jpg is empty; get it again",
        2: "2.jpg: unexpected RuntimeError: a decoder's bug",
        3: "3.jpg: unexpected MemoryError: too large",
    }


def test_an_interrupt_is_not_a_damaged_picture():
    class Stop(BaseException):
        pass

    def read(index):
        raise Stop

    images = ImageSplit(name="test", ids=("a",), labels=np.zeros(1, dtype=np.int64), content_key="", read=read)
    with pytest.raises(Stop):
        scan(images, quiet=True)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_missing_file_is_told_from_a_damaged_one(kind, tmp_path):
    import zipfile

    good = BytesIO()
    picture(1).save(good, "PNG")
    files = {"a.png": good.getvalue(), "b.png": good.getvalue()[:200], "c.png": b""}
    root = tmp_path / "images"
    if kind == "folder":
        root.mkdir()
        for name, content in files.items():
            (root / name).write_bytes(content)
    else:
        with zipfile.ZipFile(root, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    source, names = open_source(root), ("a.png", "b.png", "c.png", "gone.png")
    images = ImageSplit(
        name="test",
        ids=names,
        labels=np.zeros(4, dtype=np.int64),
        content_key="",
        read=lambda index: decode(source.read(names[index]), source.label(names[index])),
    )
    seen = scan(images, quiet=True)
    assert seen.state.tolist() == [READABLE, DAMAGED, DAMAGED, MISSING]
    assert all(names[index] in reason for index, reason in seen.reasons.items())


def test_only_the_first_reasons_are_kept(monkeypatch):
    monkeypatch.setattr(scanning, "KEPT_REASONS", 2)
    seen = scan(split_of([UserError(f"no {index}") for index in range(5)]), quiet=True)
    assert seen.reasons == {0: "no 0", 1: "no 1"}
    assert (seen.state == DAMAGED).all()


def test_rotation_survives_decoding_and_nonsense_is_upright():
    def encoded(exif):
        buffer = BytesIO()
        picture(1).save(buffer, "JPEG", exif=exif)
        return decode(buffer.getvalue(), "a.jpg")

    def turned(value):
        exif = Image.Exif()
        exif[0x0112] = value
        return exif.tobytes()

    torn = picture(1)
    torn.info["exif"] = b"Exif\0\0II*\0nonsense"
    pictures = [encoded(turned(6)), encoded(turned(1)), encoded(turned(77)), torn]
    assert scan(split_of(pictures), quiet=True).orientations.tolist() == [6, 1, 1, 1]


def test_masks_are_read_and_what_fails_is_named(tmp_path):
    half = np.zeros((8, 8), dtype=np.uint8)
    half[:, :4] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    Image.fromarray(0 * half).save(tmp_path / "black.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "half.png").read_bytes()[:40])
    made = made_split("test", 3)
    made.masks = Masks(
        root=tmp_path, objects=(("half.png", "black.png"), ("black.png",), ("torn.png",)), ignored=(None,) * 3
    )
    seen = scan_masks(made_dataset(splits={"test": made}).annotations("test"), side=16, quiet=True)
    assert seen.cover[:2].tolist() == [0.5, 0.0]
    assert np.isnan(seen.cover[2])
    assert list(seen.reasons) == [2]
    assert "torn.png" in seen.reasons[2]
