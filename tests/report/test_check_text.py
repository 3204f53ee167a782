"""The report as people and programs read it."""

import json

from data_examples import made_dataset

from wsolbench.data.checking import check_dataset, open_splits
from wsolbench.data.splits import SPLITS
from wsolbench.errors import UserError
from wsolbench.report.check_text import SHOWN, report_json, report_text


def check(dataset):
    return check_dataset(dataset, open_splits(dataset, SPLITS), quiet=True)


def faulty():
    """One problem and two warnings."""
    dataset = made_dataset()
    dataset.splits["test"].pictures[1] = UserError("cannot read test/1.jpg (it is empty); get it again")
    dataset.splits["test"].boxes = [[(0, 0, 50, 39)]] * 4
    dataset.splits["train-fullsup"].pictures[3] = dataset.splits["train-fullsup"].pictures[2]
    return check(dataset)


def test_a_clean_report_is_short():
    text = report_text(check(made_dataset(options={"classes": 2})))
    lines = text.splitlines()
    assert lines[0].startswith("made, classes=2: 12 pictures read in ")
    assert "expected" not in text  # an empty column
    row = next(line for line in lines if line.startswith("test "))
    assert row.split()[:6] == ["test", "4", "2", "2", "40", "50"]
    assert lines[-1] == "clean: nothing to correct"
    assert max(map(len, lines)) <= 120


def test_a_finding_says_what_where_and_what_to_do():
    text = report_text(faulty())
    assert "problems, which `run` refuses:\n  test: 1 picture is unreadable\n" in text
    assert "\n      cannot read test/1.jpg (it is empty); get it again\n" in text  # it has the id in it already
    assert "\n    download or unpack them again, or take them out of the split: `run` stops at the first\n" in text
    assert "\n      train-fullsup/2.jpg = train-fullsup/3.jpg  different classes\n" in text
    assert "\n      test/0.jpg  0 0 50 39 in 40x50 (h x w)\n" in text
    assert "\n      ... and 1 more (--json FILE has them all)\n" in text
    assert text.index("problems, which") < text.index("warnings:")
    assert text.splitlines()[-1] == "1 problem, 2 warnings: `run` would refuse this dataset"


def test_only_the_first_images_are_named():
    dataset = made_dataset()
    dataset.splits["test"].boxes = [[(0, 0, 50, 39)]] * 4
    text = report_text(check(dataset))
    assert text.count(" 0 0 50 39 in") == SHOWN
    assert text.splitlines()[-1] == "1 warning, no problem: `run` takes this dataset as it is"


def test_a_dataset_of_which_nothing_can_be_opened_still_has_a_report():
    dataset = made_dataset(splits=dict.fromkeys(SPLITS, UserError("no such folder; give another one")))
    text = report_text(check(dataset))
    assert text.count("no such folder; give another one") == 3
    assert text.splitlines()[-1] == "3 problems, 0 warnings: `run` would refuse this dataset"


def test_the_json_has_everything():
    report = faulty()
    body = json.loads(json.dumps(report_json(report)))
    assert (body["dataset"], body["image_size"], body["problems"], body["warnings"]) == ("made", 32, 1, 2)
    assert body["splits"]["test"]["class_counts"] == {"cat": 2, "dog": 2}
    assert body["splits"]["test"]["heights"] == {"low": 40, "median": 40, "high": 40}
    assert body["splits"]["test"]["objects"]["slices"] == {"boxes_5_50": {"below": 0, "inside": 0, "above": 4}}
    assert body["splits"]["train-weaksup"]["objects"] is None
    by_kind = {found["kind"]: found for found in body["findings"]}
    assert list(by_kind) == ["unreadable", "repeated", "boxes-leaving"]
    assert by_kind["boxes-leaving"]["ids"] == [[f"test/{index}.jpg"] for index in range(4)]
    assert by_kind["repeated"]["ids"] == [["train-fullsup/2.jpg", "train-fullsup/3.jpg"]]
