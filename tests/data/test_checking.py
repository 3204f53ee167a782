"""A whole check: what it counts, what it never asks for, and that nothing stops it."""

import numpy as np
import pytest
from data_examples import SIZE, made_dataset, made_split, picture
from PIL import Image

from wsolbench.data.checking import Spread, check_dataset, open_splits
from wsolbench.data.splits import SPLITS, Masks
from wsolbench.errors import UserError


def check(dataset, splits=SPLITS, look=None):
    return check_dataset(dataset, open_splits(dataset, splits), look, quiet=True)


def test_a_clean_dataset():
    dataset = made_dataset(options={"classes": 2})
    report = check(dataset)
    assert report.findings == ()
    assert (report.dataset, report.options, report.pictures) == ("made", {"classes": 2}, 12)
    assert [split.split for split in report.splits] == list(SPLITS)
    weaksup, _, test = report.splits
    assert weaksup.objects is None
    assert (test.images, test.expected, test.classes, test.class_counts) == (4, None, 2, {"cat": 2, "dog": 2})
    assert (test.heights, test.widths, test.sizes) == (Spread(40, 40, 40), Spread(50, 50, 50), 1)
    assert [split.fingerprint for split in report.splits] == [dataset.fingerprint(split) for split in SPLITS]


def test_boxes_of_training_images_are_never_asked_for():
    dataset = made_dataset()
    opened = open_splits(dataset, SPLITS)  # the made dataset asserts it too
    assert set(opened.images) == set(SPLITS)
    assert set(opened.annotations) == {"train-fullsup", "test"}


def test_the_share_that_the_largest_box_covers_is_sorted_into_the_protocols_slices():
    dataset = made_dataset(image_size=100)
    made = dataset.splits["test"] = made_split("test", 5)
    made.sizes = [(100, 100)] * 5
    made.pictures = [picture(index, (100, 100)) for index in range(5)]
    made.boxes = [
        [(0, 0, 9, 9)],  # 1 %
        [(0, 0, 49, 9), (3, 3, 4, 4)],  # 5 %, the edge
        [(0, 0, 49, 99)],  # 50 %, the edge
        [(0, 0, 50, 99)],
        [(0, 0, 99, 99), (0, 0, 1, 1), (2, 2, 3, 3)],
    ]
    found = check(dataset).splits[2].objects
    assert (found.kind, found.count, found.per_image, found.several) == ("boxes", 8, Spread(1, 1, 3), 2)
    assert found.slices == {"boxes_5_50": (1, 2, 2)}
    assert found.median_cover == 0.5


def test_sizes_are_those_of_the_pictures_that_can_be_read():
    dataset = made_dataset()
    made = dataset.splits["train-weaksup"]
    made.pictures = [picture(1, (10, 90)), UserError("torn"), picture(2, (30, 80)), picture(3, (20, 70))]
    summary = check(dataset).splits[0]
    assert (summary.heights, summary.widths, summary.sizes) == (Spread(10, 20, 30), Spread(70, 80, 90), 3)
    made.pictures = [UserError("torn")] * 4
    assert check(dataset).splits[0].heights is None


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_that_cannot_be_listed_does_not_stop_the_others(split):
    dataset = made_dataset()
    dataset.splits[split] = UserError("image_ids.txt is gone; restore it")
    report = check(dataset)
    (found,) = report.findings
    assert (found.kind, found.problem, found.splits) == ("images", True, (split,))
    assert found.text == "its pictures cannot be listed: image_ids.txt is gone; restore it"
    assert [summary.split for summary in report.splits] == [each for each in SPLITS if each != split]


def test_annotations_that_cannot_be_read_do_not_stop_the_pictures():
    dataset = made_dataset(refused_annotations={"test": UserError("boxes.csv, line 3: expected integers")})
    dataset.splits["test"].pictures[0] = UserError("torn")
    report = check(dataset)
    assert [found.kind for found in report.problems] == ["annotations", "unreadable"]
    assert report.problems[0].text == "its boxes or masks cannot be read: boxes.csv, line 3: expected integers"
    assert (report.splits[2].objects, report.splits[2].fingerprint) == (None, "")


def test_a_split_without_pictures_is_a_problem():
    dataset = made_dataset()
    dataset.splits["train-weaksup"] = made_split("train-weaksup", 0)
    (found,) = check(dataset).findings
    assert found.problem
    assert "has no picture" in found.text


def test_what_the_dataset_objects_to_is_a_problem():
    dataset = made_dataset(name="cub", objections=["cub test has 4 images where the benchmark has 5,794"])
    report = check(dataset)
    (found,) = report.findings
    assert (found.kind, found.problem, found.splits) == ("benchmark", True, ())
    assert found.text == "cub test has 4 images where the benchmark has 5,794"
    assert [split.expected for split in report.splits] == [5994, 1000, 5794]
    dataset.objections[:] = [UserError("no such list")]  # asked for what cannot be listed, which is a finding already
    assert check(dataset).findings == ()


def test_a_fingerprint_that_cannot_be_made_stops_nothing():
    dataset = made_dataset()

    def fingerprint(split):
        raise UserError("cannot read masks/a.png")

    object.__setattr__(dataset, "fingerprint", fingerprint)
    assert [split.fingerprint for split in check(dataset).splits] == [""] * 3


def test_only_the_splits_that_are_asked_for_are_opened():
    dataset = made_dataset()
    del dataset.splits["test"], dataset.splits["train-weaksup"]
    report = check(dataset, ("train-fullsup",))
    assert report.findings == ()
    assert report.pictures == 4


def test_problems_come_before_warnings():
    dataset = made_dataset()
    dataset.splits["train-weaksup"].pictures[1] = dataset.splits["train-weaksup"].pictures[0]
    dataset.splits["test"].pictures[0] = UserError("torn")
    report = check(dataset)
    assert [found.kind for found in report.findings] == ["unreadable", "repeated"]
    assert (len(report.problems), len(report.warnings)) == (1, 1)


def test_a_dataset_with_masks(tmp_path):
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[:10] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    dataset = made_dataset()
    for split in ("train-fullsup", "test"):
        dataset.splits[split].masks = Masks(
            root=tmp_path, objects=(("m.png",), ("m.png", "m.png"), ("m.png",), ("gone.png",)), ignored=(None,) * 4
        )
        dataset.splits[split].sizes = [(0, 0)] * 4
    report = check(dataset)
    assert [found.kind for found in report.findings] == ["masks-unreadable"] * 2
    found = report.splits[2].objects
    assert (found.kind, found.count, found.several, found.median_cover) == ("masks", 5, 1, 0.25)
    assert found.slices == {"boxes_5_50": (0, 3, 0)}


def test_every_readable_picture_is_shown_once():
    dataset = made_dataset()
    dataset.splits["test"].pictures[2] = UserError("torn")
    shown = []
    check(dataset, look=lambda split, index, each: shown.append((split, index, each.size)))
    wanted = [(split, index, SIZE[::-1]) for split in SPLITS for index in range(4) if (split, index) != ("test", 2)]
    assert sorted(shown) == sorted(wanted)
