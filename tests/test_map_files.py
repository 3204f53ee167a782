"""Maps in files of three forms, and predicted labels: what is found, and every way that they can be wrong."""

import contextlib
import os

import numpy as np
import pytest

from wsolbench.errors import UserError
from wsolbench.map_files import open_maps, read_predictions

IDS = ["a", "photos/b", "photos/c, with a comma", "é"]


@pytest.fixture
def maps():
    return np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)


@pytest.fixture
def places(tmp_path, maps):
    """Return the same maps in the three forms, each as the arguments of ``open_maps``."""
    for image, values in zip(IDS, maps, strict=True):
        path = tmp_path / "folder" / f"{image}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    np.savez(tmp_path / "maps.npz", ids=np.array(IDS), maps=maps, logits=np.eye(4), other=np.zeros(3))
    np.save(tmp_path / "maps.npy", maps)
    (tmp_path / "ids.txt").write_text("\n".join(IDS), encoding="utf-8")
    stack = (tmp_path / "maps.npy", tmp_path / "ids.txt")
    return {"folder": (tmp_path / "folder",), "npz": (tmp_path / "maps.npz",), "npy": stack}


@pytest.mark.parametrize("form", ["folder", "npz", "npy"])
def test_the_three_forms_hold_the_same(places, maps, form):
    found = open_maps(*places[form])
    assert sorted(found.ids) == sorted(IDS)
    for image, values in zip(IDS, maps, strict=True):
        np.testing.assert_array_equal(found.read(image), values)
        assert image in found.name(image)
    assert (found.logits is not None) == (form == "npz")
    if form != "folder":
        assert list(found.ids) == IDS


def test_a_stack_is_not_read_until_it_is_asked_for(places):
    found = open_maps(*places["npy"])
    stack = found.read.__closure__
    assert any(isinstance(cell.cell_contents, np.memmap) for cell in stack)


def test_folders_behind_links_are_searched(places, tmp_path):
    (tmp_path / "linked").mkdir()
    os.symlink(places["folder"][0] / "photos", tmp_path / "linked" / "there")
    assert sorted(open_maps(tmp_path / "linked").ids) == ["there/b", "there/c, with a comma"]


def write_npy(path):
    with path.open("wb") as file:
        np.save(file, np.eye(3))


def savez(**arrays):
    return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "is no folder, .npz or .npy; expected a folder with <image id>.npy"),
        (lambda path: path.write_bytes(b"PK\x03\x04 torn"), "cannot be read as a .npz file"),
        (lambda path: path.write_bytes(b""), "cannot be read as a .npz file"),
        (lambda path: path.write_bytes(b"text, longer than a header"), r"a .npz file \(File is not a zip file\)"),
        (write_npy, r"cannot be read as a .npz file \(File is not a zip file\)"),
        (savez(maps=np.zeros((2, 3, 3))), r"has the arrays \['maps'\]; expected 'ids' \(N,\) and 'maps' \(N, h, w\)"),
        (savez(ids=np.arange(2), maps=np.zeros((2, 3, 3))), r"'ids' of .* are int64 \(2,\); expected texts"),
        (savez(ids=np.array([["a", "b"]]), maps=np.zeros((2, 3, 3))), "expected texts"),
        (savez(ids=np.array(["a", "b"]), maps=np.zeros((3, 3, 3))), r"shape \(3, 3, 3\); expected \(2, h, w\)"),
        (savez(ids=np.array(["a", "b"]), maps=np.zeros((2, 9))), r"shape \(2, 9\); expected \(2, h, w\)"),
        (savez(ids=np.array(["a", "a"]), maps=np.zeros((2, 3, 3))), "the id 'a' of .* occurs twice"),
        (
            savez(ids=np.array(["a", "b"]), maps=np.zeros((2, 3, 3)), logits=np.zeros(2)),
            r"'logits' of .* are float64 \(2,\); expected numbers \(2, K\)",
        ),
        (savez(ids=np.array(["a"]), maps=np.array([[[None]]])), "cannot be read as a .npz file"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, write, message):
    path = tmp_path / "maps.npz"
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        open_maps(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:6],
        lambda raw: raw[:-1],
        lambda raw: b"text, longer than a header",
        lambda raw: raw.replace(b"}", b" "),
        lambda raw: raw.replace(b"(4, 3, 5)", b"(4,-3, 5)"),
        lambda raw: b"PK\x03\x04" + raw,
    ],
)
def test_stacks_that_cannot_be_used(places, damage):
    path, ids = places["npy"]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"cannot be read as a \.npy file") as caught:
        open_maps(path, ids)
    assert "\n" not in str(caught.value)
    assert "pickle" not in str(caught.value)


def test_any_damage_of_an_archive_is_refused_by_name(places):
    path = places["npz"][0]
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    directory = raw.index(b"PK\x01\x02")
    for _ in range(200):
        damaged = bytearray(raw)
        damaged[rng.integers(directory, len(raw))] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):  # a byte of a time stamp, say, does no harm
            assert len(open_maps(path).ids) == 4


def test_ids_belong_to_a_single_npy(places, tmp_path):
    with pytest.raises(UserError, match=r"maps\.npy' needs its image ids, one a line, in a file; give it with --ids"):
        open_maps(places["npy"][0])
    for form in ("folder", "npz"):
        with pytest.raises(UserError, match="names its maps itself; leave out --ids"):
            open_maps(places[form][0], places["npy"][1])
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.txt \(No such file"):
        open_maps(places["npy"][0], tmp_path / "nowhere.txt")
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"shape \(4, 3, 5\); expected \(2, h, w\), one an id"):
        open_maps(*places["npy"])
    (tmp_path / "maps.txt").write_text("")
    with pytest.raises(UserError, match="is no folder, .npz or .npy"):
        open_maps(tmp_path / "maps.txt")


# --- predicted labels -------------------------------------------------------------------------------------------------

INDEX = {"a": 0, "b, 1": 1, "b": 2}


def predicted(tmp_path, text):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    return read_predictions(path, INDEX)


def test_predictions_in_any_order(tmp_path):
    listed, extra = predicted(tmp_path, "b,7\nb, 1,3,2\n\na, 0 , 4\nother,5\n")
    assert listed == [[0, 4], [3, 2], [7]]
    assert extra == ["other"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,1\n", r"line 1: expected 'id,label' or 'id,label,label,\.\.\.', found 'id,label'"),
        ("a\n", "line 1: expected 'id,label'"),
        ("a,-1\n", "line 1: expected 'id,label'"),
        ("a,1.0\n", "line 1: expected 'id,label'"),
        ("a,1,2,1\n", "line 1: a label occurs twice"),
        ("a,1\nb,2\na,3\n", "line 3: id 'a' occurs twice; expected one line an image"),
        ("a,1\n", "has no line for 2 of 3 images, first 'b, 1'"),
    ],
)
def test_predictions_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        predicted(tmp_path, text)
    assert "\n" not in str(caught.value)
