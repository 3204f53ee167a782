"""The look: legible, inside its page, the same method the same colour, the same records the same bytes."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from wsolbench.plugins import find_methods
from wsolbench.report.figures.labels import place_labels
from wsolbench.report.figures.saving import FORMATS, encoded, lay_out, save
from wsolbench.report.figures.style import ONE_COLUMN, SMALL, TWO_COLUMNS, colour_and_marker

KINDS = ("curves", "training", "accuracy-localisation", "seeds", "best-of-k")
METHODS = ("acol", "adl", "cam", "ccam", "cutmix", "fsl", "has", "inca", "meil", "spg")


@pytest.fixture
def full(made, drawn):
    """Return the drawings of a table with ten methods, post-hoc rows and long labels, and the best of k of another."""
    for method in METHODS:
        for seed in range(2):
            made.add(method, seed)
    for extractor in ("gradcam", "layercam"):
        made.add("cam", extractor={"name": extractor, "point": "layer4.1"})
    made.add("has", config={"cell": 8, "drop_rate": 0.6494})
    made.add("center", null=True)
    drawings, notes = drawn(*KINDS[:-1])
    assert notes == []
    made.tune("inca")
    return drawings | drawn("best-of-k")[0]


def test_letters_are_large_enough_and_nothing_leaves_the_page(full, monkeypatch):
    assert set(full) == set(KINDS)
    seen, plain = [], Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, *args, **kw: (seen.append(text), plain(text, *args, **kw)))
    for name, drawing in full.items():
        figure = drawing.figure
        lay_out(figure)
        seen.clear()
        figure.draw_without_rendering()
        assert figure.get_figwidth() in (ONE_COLUMN, TWO_COLUMNS), name
        words = {text for text in seen if text.get_text() and text.get_visible()}
        assert len(words) > 10
        for text in words:
            box, page = text.get_window_extent(), figure.bbox
            assert text.get_fontsize() >= SMALL, (name, text)
            assert box.x0 >= page.x0 - 1, (name, text)
            assert box.y0 >= page.y0 - 1, (name, text)
            assert box.x1 <= page.x1 + 1, (name, text)
            assert box.y1 <= page.y1 + 1, (name, text)


def test_built_in_methods_are_told_apart_by_colour_and_by_marker():
    built_in = [name for name, entry in find_methods().items() if entry.module.startswith("wsolbench.methods.")]
    looks = [colour_and_marker(name) for name in built_in]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(built_in)


def test_a_method_looks_the_same_in_every_figure_and_table(made, drawn):
    for method in ("cam", "mine"):
        made.add(method)
        made.add(method, backbone="resnet50")
    made.add("has")
    from wsolbench.data.places import Places
    from wsolbench.report.figures.gallery import Wanted, draw_gallery

    wanted = Wanted(results=made.folder, only=["curves", "seeds"], data_options={}, places=Places())
    seen = {}
    for placed in draw_gallery(wanted):
        for axes in placed.drawing.figure.axes:
            for line in axes.lines:
                if line.get_label() in ("cam", "mine", "has"):
                    seen.setdefault(line.get_label(), set()).add(line.get_color())
    assert {name: len(colours) for name, colours in seen.items()} == {"cam": 1, "mine": 1, "has": 1}
    assert seen["cam"] == {colour_and_marker("cam")[0]}


def test_rows_of_one_method_differ_in_their_lines(full):
    lines = {line.get_label(): line for line in full["curves"].figure.axes[0].lines}
    same = [lines[label] for label in ("cam", "cam + gradcam", "cam + layercam")]
    assert len({line.get_color() for line in same}) == 1
    assert len({line.get_linestyle() if line.get_linestyle() == "-" else str(line._dash_pattern) for line in same}) == 3


def test_names_in_any_letters_and_with_dollars_are_drawn_as_they_are(made, drawn):
    made.add("mine", config={"name": "$x$ 物体"})
    made.add("mine", config={"name": "b"})
    drawing = drawn("seeds")[0]["seeds"]
    assert encoded(drawing.figure, "png", drawing.title)
    assert "mine (name=$x$ 物体)" in [text.get_text() for text in drawing.figure.axes[0].get_yticklabels()]


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_records_give_the_same_bytes_whatever_the_users_settings(made, drawn, kind):
    made.add("cam", 0)
    made.add("cam", 1)

    def written():
        found = drawn("accuracy-localisation", "seeds")[0]
        return {name: encoded(each.figure, kind, each.title) for name, each in found.items()}

    first = written()
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "svg.hashsalt": None, "svg.fonttype": "none"}):
        again = written()
    assert first == again
    head = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[kind]
    for data in first.values():
        assert data.startswith(head)
        assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate", data)


def test_an_svg_needs_no_letters_and_says_what_it_is(made, drawn):
    made.add("cam")
    drawing = drawn("seeds")[0]["seeds"]
    text = encoded(drawing.figure, "svg", drawing.title).decode()
    assert "<text" not in text
    assert "font-family" not in text
    assert "<dc:title>Every seed</dc:title>" in text


def test_saving_writes_every_format_and_a_caption_that_shows_the_picture(made, drawn, tmp_path):
    record = made.add("cam")
    drawing = drawn("seeds")[0]["seeds"]
    paths = save(drawing, tmp_path / "new" / "folder", ("png", "pdf"))
    assert [path.name for path in paths] == ["seeds.png", "seeds.pdf", "seeds.md"]
    with Image.open(paths[0]) as picture:
        assert picture.size[0] == 7 * 200
    caption = paths[2].read_text()
    assert caption.startswith("# Every seed\n\n![Every seed](seeds.png)\n\nA ring is one run")
    assert record.run_id in caption
    assert "Fewer than 5 seeds: differences between methods are not claims." in caption


# --- labels -----------------------------------------------------------------------------------------------------------


def overlaps(boxes):
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    area = np.maximum(high - low, 0).prod(axis=-1)
    return area[~np.eye(len(boxes), dtype=bool)].sum()


@pytest.mark.parametrize("seed", range(5))
def test_labels_hide_neither_each_other_nor_points(seed):
    rng = np.random.default_rng(seed)
    points, sizes = rng.uniform(40, 210, (10, 2)), np.column_stack([rng.uniform(12, 60, 10), np.full(10, 8.0)])
    marks = np.concatenate([points - 3, points + 3], axis=1)
    centres = place_labels(points, sizes, marks, np.array([0.0, 0.0, 250.0, 250.0]))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    assert overlaps(np.concatenate([boxes, marks])) == pytest.approx(overlaps(marks))
    assert (boxes >= 0).all()
    assert (boxes <= 250).all()


def test_labels_of_crowded_points_keep_near():
    points = np.array([[50.0, 50.0], [52.0, 50.0], [51.0, 53.0]])
    centres = place_labels(points, np.full((3, 2), [20.0, 8.0]), np.empty((0, 4)), np.array([0.0, 0.0, 100.0, 100.0]))
    assert (np.linalg.norm(centres - points, axis=1) < 60).all()
    assert len({tuple(each) for each in centres.round(3)}) == 3
