"""What the field's datasets share: order, places of photographs, sizes, warnings."""

import errno
import os

import numpy as np
import pytest
from field_examples import SIZE, pack, picture, write

from wsolbench.data import listed as listed_module
from wsolbench.data.listed import Listed, in_order, listed, locate, sizes_of
from wsolbench.data.places import Containers, Places
from wsolbench.data.sources import open_source
from wsolbench.data.splits import Annotations, annotation_fingerprint
from wsolbench.errors import UserError


def test_ids_are_sorted_with_their_labels_and_boxes():
    assert listed(["c", "a", "b"], np.array([2, 0, 1])) == Listed(("a", "b", "c"), pytest.approx([0, 1, 2]))
    given = Annotations(
        split="test",
        ids=("c", "a"),
        labels=np.array([2, 0]),
        sizes=np.array([[3, 4], [1, 2]]),
        boxes=np.array([[0, 0, 1, 1], [1, 1, 2, 2], [0, 0, 0, 0]]),
        offsets=np.array([0, 2, 3]),
    )
    found = in_order(given)
    assert found.ids == ("a", "c")
    assert found.boxes.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 2, 2]]
    assert found.sizes.tolist() == [[1, 2], [3, 4]]
    assert in_order(found) is found
    assert annotation_fingerprint(found) == annotation_fingerprint(in_order(in_order(given)))


def test_photographs_are_where_all_of_some_are(tmp_path):
    write(tmp_path / "part", {"a.jpg": b"1"})
    write(tmp_path / "whole" / "images", {"a.jpg": b"1", "b.jpg": b"2"})
    places = [(open_source(tmp_path / "part"), ""), (open_source(tmp_path / "whole"), "images")]
    found = locate(places, ["a.jpg", "b.jpg"], "photographs", "get them")
    assert found.source.root == tmp_path / "whole"
    assert list(found.files) == ["images/a.jpg", "images/b.jpg"]
    with pytest.raises(UserError, match=r"1 of 2 photographs are missing, first .*part/b\.jpg; get them"):
        locate(places[:1], ["a.jpg", "b.jpg"], "photographs", "get them")
    with pytest.raises(UserError, match=r"no photographs in .*part.*, .*whole.*, where 'x\.jpg' is not; get them"):
        locate(places, ["x.jpg"], "photographs", "get them")


def test_sizes_are_those_of_the_files(tmp_path, monkeypatch):
    write(tmp_path / "p", {"a.jpg": picture(1), "b.jpg": picture(2, size=(7, 9))})
    found = locate([(open_source(tmp_path / "p"), "")], ["a.jpg", "b.jpg"], "photographs", "")
    assert sizes_of(found, tmp_path / "c").tolist() == [list(SIZE), [7, 9]]
    monkeypatch.chdir(tmp_path)
    assert sizes_of(found, type(tmp_path)("none")).tolist() == [list(SIZE), [7, 9]]
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot use the cache .*file"):
        sizes_of(found, tmp_path / "file")
    write(tmp_path / "p", {"b.jpg": b"no picture"})
    again = locate([(open_source(tmp_path / "p"), "")], ["a.jpg", "b.jpg"], "photographs", "")
    with pytest.raises(UserError, match=r"cannot read .*b\.jpg"):
        sizes_of(again, tmp_path / "c")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_sizes_are_found_where_the_cache_is_read_only(tmp_path, monkeypatch, capsys, code):
    write(tmp_path / "p", {"a.jpg": picture(1)})
    (tmp_path / "c").mkdir()
    found = locate([(open_source(tmp_path / "p"), "")], ["a.jpg"], "photographs", "")

    def refuse(path, data):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(listed_module, "atomic_write", refuse)
    assert sizes_of(found, tmp_path / "c").tolist() == [list(SIZE)]
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot use the cache .*nowhere"):  # what is not there is no shared cache
        sizes_of(found, tmp_path / "nowhere")


def test_containers_are_opened_when_they_are_looked_into(tmp_path):
    write(tmp_path / "set" / "more", {"a": b""})
    pack({"b": b""}, tmp_path / "x.zip")
    pack({"c": b""}, tmp_path / "more.zip")
    write(tmp_path / "more", {"d": b""})
    (tmp_path / "bad.zip").write_bytes(b"")
    places = Places(data_root=tmp_path / "set")
    found = Containers(places, ("x.zip", "more.zip", "bad.zip"), ("more",))
    assert [path.name for path in found.paths] == ["set", "more", "x.zip", "bad.zip"]  # more.zip is unpacked beside it
    opened = iter(found)
    assert next(opened).names() == ["more/a"]
    assert next(opened).names() == ["d"]
    first = next(opened)
    assert first.names() == ["b"]
    with pytest.raises(UserError, match=r"bad\.zip"):
        next(opened)
    again = iter(found)
    assert [next(again), next(again), next(again)][2] is first
    assert Containers(Places()).paths == []


def test_places_are_the_words_of_a_command_line(tmp_path):
    places = Places(data_root=tmp_path / "a b", metadata=tmp_path, cache=tmp_path)
    assert places.options() == ["--data-root", str(tmp_path / "a b"), "--metadata", str(tmp_path)]
    assert Places().options() == []
