"""Which files are pictures of which class, and which picture a name means."""

import os

import pytest
from folder_examples import jpeg, write

from wsolbench.data.folder_layout import Finder, read_layout
from wsolbench.errors import UserError

PICTURE = jpeg(0)


@pytest.fixture
def layout(tmp_path):
    """Return a function that lists a folder with these names."""

    def read(*names):
        return read_layout(write(tmp_path / "own", dict.fromkeys(names, PICTURE)))

    return read


@pytest.fixture
def refuse(layout):
    def expect(*names):
        with pytest.raises(UserError) as caught:
            layout(*names)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return expect


def test_classes_are_folders_in_the_order_people_count(layout):
    found = layout("b10/1.jpg", "b9/1.JPG", "B1/1.Png", "a/x/y/1.webp", "a/2.gif", "a/3.bmp", "a/4.jpeg")
    assert found.classes == ("a", "B1", "b9", "b10")
    assert found.class_of["a/x/y/1.webp"] == "a"
    assert len(found.files) == 7
    assert found.split_of == {}


def test_what_is_no_picture_is_among_the_others(layout):
    found = layout("a/1.jpg", "b/1.jpg", "boxes.csv", "a/1.xml", "masks/a/1.png", "a/notes.txt")
    assert set(found.files) == {"a/1.jpg", "b/1.jpg"}
    assert set(found.others) == {"boxes.csv", "a/1.xml", "masks/a/1.png", "a/notes.txt"}


def test_what_desktops_leave_behind_is_nothing(layout):
    found = layout("a/1.jpg", "b/1.jpg", ".DS_Store", "a/._1.jpg", "__MACOSX/a/1.jpg", ".thumbnails/2.jpg")
    assert set(found.files) == {"a/1.jpg", "b/1.jpg"}
    assert found.others == ()


def test_pictures_may_lie_in_one_folder(layout):
    found = layout("JPEGImages/a/1.jpg", "JPEGImages/b/1.jpg", "Annotations/a/1.xml", "boxes.csv")
    assert found.classes == ("a", "b")
    assert set(found.files) == {"JPEGImages/a/1.jpg", "JPEGImages/b/1.jpg"}


def test_folders_of_folders_are_entered(layout):
    found = layout("x/y/a/1.jpg", "x/y/b/1.jpg", "x/y/boxes.csv", "__MACOSX/x/1.jpg")
    assert set(found.files) == {"a/1.jpg", "b/1.jpg"}
    assert found.others == ("boxes.csv",)


def test_a_single_name_of_a_split_is_a_class(layout):
    assert layout("test/1.jpg", "b/1.jpg").classes == ("b", "test")


def test_splits_around_the_classes(layout):
    names = [f"images/{split}/{name}/1.jpg" for split in ("train", "val", "test") for name in "ab"]
    found = layout(*names, "boxes.csv")
    assert found.classes == ("a", "b")
    assert found.split_of["images/val/b/1.jpg"] == "train-fullsup"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt"], "own holds no pictures (.jpg .jpeg .png"),
        (["a/1.jpg", "1.jpg"], "own/1.jpg lies in no class's folder; expected a folder for each class"),
        (["a/1.jpg", "a/2.jpg"], "lies in no class's folder"),
        (["train/a/1.jpg", "test/a/1.jpg"], "has the folders test, train; expected exactly train/ val/ test/"),
        (
            ["train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg", "c/a/1.jpg"],
            "has the folders c, test, train, val; expected",
        ),
        (["train/a/1.jpg", "train-weaksup/a/1.jpg", "test/b/1.jpg"], "has the folders test, train, train-weaksup"),
        (["train/a/1.jpg", "val/1.jpg", "test/a/1.jpg"], "own/val/1.jpg lies in no class's folder"),
        (["train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg"], "has pictures of one class, 'a'; expected two or more"),
        (["a/e\u0301.jpg", "a/\u00e9.jpg", "b/1.jpg"], "has two pictures 'a/\u00e9.jpg', whose names differ only"),
    ],
)
def test_a_folder_that_cannot_be_understood(refuse, names, message):
    assert message in refuse(*names)


def test_links_inside_are_followed_and_links_that_leave_are_refused(layout, tmp_path):
    write(tmp_path, {"outside/1.jpg": PICTURE, "own/a/1.jpg": PICTURE})
    os.symlink("a", tmp_path / "own" / "b")
    assert set(layout("c/1.jpg").files) == {"a/1.jpg", "b/1.jpg", "c/1.jpg"}
    os.symlink(tmp_path / "outside", tmp_path / "own" / "d")
    with pytest.raises(UserError, match=r"own/d is a link that leaves"):
        layout()


def test_a_link_to_a_picture_outside_is_refused_when_it_is_read(layout, tmp_path):
    write(tmp_path, {"outside/1.jpg": PICTURE, "own/a/1.jpg": PICTURE, "own/b/1.jpg": PICTURE})
    os.symlink(tmp_path / "outside" / "1.jpg", tmp_path / "own" / "a" / "2.jpg")
    with pytest.raises(UserError, match=r"own/a/2\.jpg is a link that leaves"):
        layout().source.read("a/2.jpg")


def test_a_name_is_a_path_or_its_end():
    finder = Finder(["x/a/1.jpg", "x/b/1.jpg", "1.jpg", "x/b/2.jpg"])
    assert finder.find("1.jpg", "") == "1.jpg"  # the whole path of one is the end of others
    assert finder.find("a/1.jpg", "") == "x/a/1.jpg"
    assert finder.find("2.jpg", "") == "x/b/2.jpg"
    with pytest.raises(UserError, match=r"line 4: there is no picture '/?2'"):
        finder.find("2", "line 4")
    stems = Finder(["a/1.jpg", "a/1.png", "a/2.tar.jpg"], stems=True)
    assert stems.find("2.tar", "") == "a/2.tar.jpg"
    with pytest.raises(UserError, match=r"m\.png: 'a/1' may mean 'a/1\.jpg' or 'a/1\.png'"):
        stems.find("a/1", "m.png")
