"""The contact sheet: which pictures it shows, and that boxes lie where scoring sees them."""

import numpy as np
from data_examples import SIZE, made_dataset, made_split
from PIL import Image

from wsolbench.data.checking import check_dataset, open_splits
from wsolbench.data.splits import SPLITS, Masks
from wsolbench.errors import UserError
from wsolbench.report import contact_sheet
from wsolbench.report.contact_sheet import COLUMNS, LARGEST_ROWS, ContactSheet

CELL, YELLOW = 120, (255, 214, 10)


def drawn(dataset, path, splits=SPLITS):
    opened = open_splits(dataset, splits)
    sheet = ContactSheet(dataset, opened)
    check_dataset(dataset, opened, sheet.add, quiet=True)
    sheet.draw(path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def cell(sheet, split, row, column):
    """Cut a cell out of a sheet with all splits."""
    lefts, _ = contact_sheet._lefts(SPLITS)
    left, top = lefts[split] + column * 126, 112 + row * 126
    return sheet[top : top + CELL, left : left + CELL]


def yellow(part):
    """Where a part of the sheet has exactly the boxes' colour, rows and columns."""
    return np.nonzero((part == YELLOW).all(axis=-1))


def grey(dataset):
    for made in dataset.splits.values():
        made.pictures = [Image.new("RGB", SIZE[::-1], (90 + index, 90, 90)) for index in range(len(made.ids))]
    return dataset


def test_a_box_lies_where_it_belongs(tmp_path):
    dataset = grey(made_dataset())
    dataset.splits["test"].boxes[0] = [(10, 8, 39, 23)]
    sheet = drawn(dataset, tmp_path / "sheet.png")
    down, across = yellow(cell(sheet, "test", 0, 0))
    # 40x50 becomes 96x120, so a pixel 2.4; 12 pixels are left above it. x 10..39, y 8..23
    assert (across.min(), across.max()) == (24, 95)
    assert (down.min(), down.max()) == (12 + 19, 12 + 57)
    assert not yellow(cell(sheet, "train-weaksup", 0, 0))[0].size  # its boxes do not exist
    assert yellow(cell(sheet, "train-fullsup", 1, 0))[0].size


def test_a_box_is_scaled_by_the_size_that_the_annotations_tell(tmp_path):
    dataset = grey(made_dataset())
    dataset.splits["test"].sizes[0] = (80, 100)
    dataset.splits["test"].boxes[0] = [(20, 16, 79, 47)]
    _, across = yellow(cell(drawn(dataset, tmp_path / "sheet.png"), "test", 0, 0))
    assert (across.min(), across.max()) == (24, 95)


def test_what_cannot_be_drawn_leaves_the_rest(tmp_path):
    dataset = grey(made_dataset())
    made = dataset.splits["test"]
    made.pictures[0] = UserError("torn")
    made.boxes[1] = [(30, 30, 5, 5)]  # reversed
    made.boxes[2] = [(-100, -100, 300, 300)]
    made.boxes[3] = [(400, 400, 500, 500)]
    sheet = drawn(dataset, tmp_path / "sheet.png")
    assert not (cell(sheet, "test", 0, 0) == (90, 90, 90)).all(axis=-1).any()
    assert not yellow(cell(sheet, "test", 1, 0))[0].size
    assert (cell(sheet, "test", 1, 0)[CELL // 2, CELL // 2] == (91, 90, 90)).all()


def test_masks_are_tinted(tmp_path):
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[:, :25] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    Image.fromarray(255 - mask).save(tmp_path / "right.png")
    dataset = grey(made_dataset())
    names = {"objects": (("left.png",), ("gone.png",), ("left.png",), ("left.png",))}
    dataset.splits["test"].masks = Masks(root=tmp_path, **names, ignored=("right.png", None, None, None))
    sheet = drawn(dataset, tmp_path / "sheet.png")
    both, one = cell(sheet, "test", 0, 0), cell(sheet, "test", 0, 1)
    assert abs(both[60, 30].astype(int) - one[60, 30]).max() <= 2
    assert both[60, 30, 0] > 130 > 80 > both[60, 30, 2]  # yellow over grey
    assert both[60, 90, 2] > 130 > 100 > both[60, 90, 0]  # blue over grey
    assert both[60, 59].tolist() == [*YELLOW]  # the edge
    assert one[60, 90].tolist() == [92, 90, 90]
    assert cell(sheet, "test", 1, 0)[60, 30].tolist() == [91, 90, 90]  # its mask cannot be read


def test_pictures_of_many_classes_are_spread_out(tmp_path):
    splits = {split: made_split(split, 100, 50) for split in SPLITS}
    dataset = made_dataset(splits=splits, class_names=tuple(f"a class with a long name, {k}" for k in range(50)))
    opened = open_splits(dataset, SPLITS)
    sheet = ContactSheet(dataset, opened)
    assert len(sheet._rows) == LARGEST_ROWS
    assert (sheet._rows[0], sheet._rows[-1]) == (0, 49)
    for split in SPLITS:
        for label, members in zip(sheet._rows, sheet._cells[split], strict=True):
            assert members == [label, label + 50][: COLUMNS[split]]
    height = drawn(dataset, tmp_path / "sheet.png").shape[0]
    assert height < 3000


def test_one_split_and_a_class_without_pictures(tmp_path):
    dataset = made_dataset(class_names=("cat", "dog", "none"))
    sheet = drawn(dataset, tmp_path / "sheet.png", ["test"])
    assert sheet.shape[1] < 1000
    del dataset.splits["test"]
    dataset.splits["test"] = UserError("gone")
    assert drawn(dataset, tmp_path / "none.png", ["test"]).size


def test_only_what_is_on_the_sheet_is_kept():
    dataset = made_dataset(splits={split: made_split(split, 60) for split in SPLITS})
    opened = open_splits(dataset, SPLITS)
    sheet = ContactSheet(dataset, opened)
    check_dataset(dataset, opened, sheet.add, quiet=True)
    assert len(sheet._thumbnails) == 2 * sum(COLUMNS.values())
    assert all(max(each.size) == CELL for each in sheet._thumbnails.values())
