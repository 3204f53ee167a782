"""Each fault alone is found, counted and named, and a dataset without one has no finding."""

import numpy as np
import pytest
from data_examples import SIZE, made_dataset, picture

from wsolbench.data.findings import SplitContent, find_between, find_in_boxes, find_in_masks, find_in_split
from wsolbench.data.scanning import MaskScan, scan
from wsolbench.data.splits import SPLITS
from wsolbench.errors import UserError


@pytest.fixture
def dataset():
    return made_dataset()


def content(dataset, split):
    images = dataset.images(split)
    annotations = None if split == "train-weaksup" else dataset.annotations(split)
    return SplitContent(images=images, scan=scan(images, quiet=True), annotations=annotations)


def findings(dataset):
    contents = [content(dataset, split) for split in SPLITS]
    inside = [each for one in contents for each in find_in_split(one, dataset.class_names)]
    return inside + find_between(contents)


def only(dataset):
    (found,) = findings(dataset)
    assert found.advice
    return found


def test_a_dataset_without_fault_has_no_finding(dataset):
    assert findings(dataset) == []


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_missing_picture_is_a_problem(dataset):
    error = UserError("cannot read c.jpg (No such file)")
    error.__context__ = FileNotFoundError()
    dataset.splits["test"].pictures[2] = error
    found = only(dataset)
    assert (found.kind, found.problem, found.splits) == ("missing", True, ("test",))
    assert found.text == "1 picture is missing"
    assert found.ids == (("test/2.jpg",),)
    assert found.details == ("cannot read c.jpg (No such file)",)


def test_unreadable_pictures_are_a_problem(dataset):
    for index in (0, 3):
        dataset.splits["train-weaksup"].pictures[index] = UserError(f"{index} is torn")
    found = only(dataset)
    assert (found.kind, found.problem, found.text) == ("unreadable", True, "2 pictures are unreadable")
    assert found.ids == (("train-weaksup/0.jpg",), ("train-weaksup/3.jpg",))
    assert found.details == ("0 is torn", "3 is torn")


def test_unreadable_pictures_are_not_alike(dataset):
    for split in SPLITS:
        dataset.splits[split].pictures = [UserError("torn")] * 4
    assert {found.kind for found in findings(dataset)} == {"unreadable"}


def test_repeated_pictures_are_found_with_their_first_one(dataset):
    made = dataset.splits["train-weaksup"]
    made.pictures[2] = made.pictures[3] = made.pictures[0].copy()
    found = only(dataset)
    assert (found.kind, found.problem) == ("repeated", False)
    assert found.text == "2 pictures repeat another one, 1 of them under another class"
    first = "train-weaksup/0.jpg"
    assert found.ids == ((first, "train-weaksup/2.jpg"), (first, "train-weaksup/3.jpg"))
    assert found.details == ("", "different classes")


def test_a_class_without_pictures_is_told_by_name(dataset):
    dataset.splits["train-weaksup"].labels = [1, 1, 1, 1]
    found = only(dataset)
    assert (found.kind, found.problem) == ("absent-classes", False)
    assert found.text == "1 class without a picture (cat)"
    assert "cannot be learned" in found.advice


def test_rotated_pictures_are_found(dataset):
    one = content(dataset, "test")
    one.scan.orientations[1] = 6
    (found,) = find_in_split(one, dataset.class_names)
    assert (found.kind, found.problem, found.ids) == ("rotated", False, (("test/1.jpg",),))
    assert found.text == "1 picture with EXIF rotation, which the protocol does not apply"
    assert found.details == ("orientation 6",)


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_a_size_that_is_not_the_pictures_is_found(dataset):
    made = dataset.splits["test"]
    made.sizes = [SIZE, SIZE[::-1], (400, 500), SIZE]
    made.pictures[3] = UserError("torn")  # of which nothing is known
    torn, found = findings(dataset)
    assert torn.problem
    assert (found.kind, found.problem) == ("sizes", False)
    assert found.text == "2 pictures of another size than the annotations say, 1 of them turned by 90 degrees"
    assert found.ids == (("test/1.jpg",), ("test/2.jpg",))
    assert found.details == ("50x40 told, is 40x50 (h x w)", "400x500 told, is 40x50 (h x w)")


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((0, 0, 49, 39), None),
        ((49, 39, 49, 39), None),
        ((30, 4, 5, 20), "reversed"),
        ((5, 20, 30, 4), "reversed"),
        ((60, 70, 30, 20), "reversed"),  # and outside too
        ((50, 4, 60, 20), "outside"),
        ((5, 40, 30, 60), "outside"),
        ((-9, 4, -1, 20), "outside"),
        ((5, -9, 30, -1), "outside"),
        ((0, 0, 51, 39), "larger"),
        ((-10, 4, 60, 20), "larger"),
        ((5, -1, 30, 41), "larger"),
        ((0, 0, 50, 40), "leaving"),  # one pixel: ends that were meant as exclusive
        ((40, 4, 55, 20), "leaving"),
        ((-1, 4, 30, 20), "leaving"),
        ((5, 30, 30, 42), "leaving"),
    ],
)
def test_a_box_is_of_the_first_kind_that_fits(dataset, box, kind):
    dataset.splits["test"].boxes[1] = [(1, 1, 4, 4), box]
    found = find_in_boxes(dataset.annotations("test"))
    assert [each.kind for each in found] == ([] if kind is None else [f"boxes-{kind}"])
    for each in found:
        assert each.problem == (kind == "reversed")
        assert each.ids == (("test/1.jpg",),)
        assert each.details == (f"{' '.join(map(str, box))} in 40x50 (h x w)",)


def test_boxes_that_leave_their_picture_say_by_how_much(dataset):
    dataset.splits["test"].boxes[0] = [(0, 0, 50, 39)]
    dataset.splits["test"].boxes[2] = [(0, 0, 30, 40), (5, 5, 50, 20)]
    (found,) = find_in_boxes(dataset.annotations("test"))
    assert found.text == "3 boxes partly outside of their pictures, by 1 pixel at most"
    assert found.ids == (("test/0.jpg",), ("test/2.jpg",), ("test/2.jpg",))
    dataset.splits["test"].boxes[3] = [(5, -4, 30, 20)]
    (found,) = find_in_boxes(dataset.annotations("test"))
    assert found.text == "4 boxes partly outside of their pictures, by 4 pixels at most"


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_that_cannot_be_read_or_are_empty(dataset):
    annotations = dataset.annotations("test")
    assert find_in_masks(annotations, MaskScan(cover=np.full(4, 0.2), reasons={})) == []
    masks = MaskScan(cover=np.array([np.nan, 0.5, 0.0, 1.0]), reasons={0: "torn"})
    torn, empty = find_in_masks(annotations, masks)
    assert (torn.kind, torn.problem, torn.ids, torn.details) == (
        "masks-unreadable",
        True,
        (("test/0.jpg",),),
        ("torn",),
    )
    assert (empty.kind, empty.problem, empty.ids) == ("masks-empty", False, (("test/2.jpg",),))
    (nothing,) = find_in_masks(annotations, MaskScan(cover=np.zeros(4), reasons={}))
    assert nothing.problem  # there is no PxAP without a positive pixel


# --- between splits ---------------------------------------------------------------------------------------------------


def test_an_id_in_two_splits_is_found(dataset):
    dataset.splits["test"].ids[1] = "train-fullsup/2.jpg"
    found = only(dataset)
    assert (found.kind, found.problem, found.splits) == ("shared-ids", False, ("train-fullsup", "test"))
    assert found.text == "1 id in both splits"
    assert found.ids == (("train-fullsup/2.jpg",) * 2,)


def test_a_picture_in_two_splits_is_found_by_its_content(dataset):
    dataset.splits["test"].pictures[3] = dataset.splits["train-weaksup"].pictures[1].copy()
    found = only(dataset)
    assert (found.kind, found.problem, found.splits) == ("shared-pictures", False, ("train-weaksup", "test"))
    assert found.text == "1 picture of test is also in train-weaksup by another id"
    assert found.ids == (("train-weaksup/1.jpg", "test/3.jpg"),)


def test_an_equal_id_and_picture_is_one_finding(dataset):
    for field in ("ids", "pictures"):
        getattr(dataset.splits["test"], field)[1] = getattr(dataset.splits["train-weaksup"], field)[0]
    assert only(dataset).kind == "shared-ids"


def test_splits_may_have_very_different_lengths(dataset):
    made = dataset.splits["train-fullsup"]
    made.pictures, made.ids, made.labels, made.boxes, made.sizes = [picture(7)], ["one"], [0], [[(1, 1, 2, 2)]], [SIZE]
    kinds = [(found.kind, found.splits) for found in findings(dataset)]
    assert kinds == [("absent-classes", ("train-fullsup",))]
