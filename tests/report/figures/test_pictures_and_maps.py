"""Figures that need maps and data, on a real run: exact IoUs, and pictures that obey their rule."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from wsolbench.data.places import Places
from wsolbench.errors import UserError
from wsolbench.experiment import make_plan
from wsolbench.protocols import boxes_at, iou, prepare
from wsolbench.record_schema import identity_hash
from wsolbench.records import record_path
from wsolbench.report.figures import kinds, qualitative
from wsolbench.report.figures.ious import EDGES, shares
from wsolbench.report.figures.qualitative import spread
from wsolbench.report.figures.sources import Shelf, Sources
from wsolbench.report.qualitative import draw_comparison


@pytest.fixture(scope="module")
def truth(finished):
    """Return the dataset of the run, its score maps of test, and each image's IoU, all made without the figures."""
    dataset = make_plan(finished.request).dataset
    with np.load(finished.request.results / "runs" / finished.record.run_id / "test.npz") as kept:
        maps = prepare(kept["maps"], (64, 64)).maps
    t, boxes = finished.record.thresholds["gt_known_fullsup"], dataset.annotations("test").boxes
    predicted = [boxes_at(each, int(t * each.max())) for each in maps]
    ious = np.array([iou(found, box[None]).max() for found, box in zip(predicted, boxes, strict=True)])
    return dataset, maps, predicted, ious


@pytest.fixture
def sources(finished):
    return Sources(Shelf(finished.request.results), Places(), finished.record)


def test_ious_are_those_of_all_boxes_at_the_frozen_threshold(finished, sources, truth):
    found = sources.ious(finished.record)
    np.testing.assert_allclose(found, truth[3])
    assert 100 * (found >= 0.5).mean() == pytest.approx(finished.record.metrics["gt_known_fullsup"])


def test_the_histogram_is_of_these_ious(finished, drawn, truth):
    drawing = drawn("iou", results=finished.request.results)[0]["iou"]
    (panel,) = [axes for axes in drawing.figure.axes if axes.get_title("left") == "cam"]
    bars, outline = panel.patches
    edges = [(round(100 * low), round(100 * low) + 5) for low in EDGES[:-1]]
    counted = [sum(low <= 100 * each + 1e-9 < high or high == each * 100 for each in truth[3]) for low, high in edges]
    np.testing.assert_allclose(bars.get_data().values, 100 * np.array(counted) / len(truth[3]))
    assert outline.get_data().values.sum() == pytest.approx(100)
    assert "center" in drawing.caption


@pytest.mark.parametrize("value", [0.0, 0.05, 0.1, 0.3, 0.35, 0.55, 0.6, 0.7, 0.95, 1.0])
def test_an_iou_on_an_edge_belongs_to_the_bin_that_begins_there(value):
    assert np.flatnonzero(shares(np.array([[value]]))).tolist() == [min(round(20 * value), 19)]


# --- which pictures ---------------------------------------------------------------------------------------------------


def test_images_are_the_middles_of_equal_shares_of_the_ranks():
    rng = np.random.default_rng(0)
    values = rng.permutation(90) / 90
    chosen = spread(values, 6)
    assert [round(90 * values[index]) for index in chosen] == [7, 22, 37, 52, 67, 82]
    assert spread(np.zeros(4), 4) == [0, 1, 2, 3]
    assert spread(np.array([0.2, 0.1]), 5) == [1, 0]


def test_the_pictures_obey_the_rule_that_the_caption_states(finished, drawn, monkeypatch, truth):
    dataset, maps, predicted, ious = truth
    cells, plain = [], qualitative._draw_cell
    monkeypatch.setattr(qualitative, "_draw_cell", lambda *args: (cells.append(args[1:]), plain(*args)))
    drawings, _ = drawn("qualitative", results=finished.request.results, images=3)
    chosen = spread(ious, 3)
    ids = dataset.annotations("test").ids
    assert f"Images: {', '.join(f'`{ids[index]}`' for index in chosen)}." in drawings["qualitative"].caption
    assert len(cells) == 3 * 2 + 12
    for line, index in enumerate(chosen):
        (picture, nothing), (same, answer) = cells[2 * line : 2 * line + 2]
        assert (nothing, same) == (None, picture)
        np.testing.assert_array_equal(picture.pixels, np.asarray(dataset.images("test").read(index)))
        np.testing.assert_array_equal(picture.truth, [dataset.annotations("test").boxes[index]])
        np.testing.assert_array_equal(answer.score_map, maps[index])
        np.testing.assert_array_equal(answer.boxes, predicted[index])
        assert answer.ious.max() == pytest.approx(ious[index])
    shown = [answer.ious.max() for _, answer in cells[6:]]
    assert shown == sorted(shown)
    assert shown == pytest.approx([ious[index] for index in spread(ious, 12)])


def test_boxes_are_drawn_in_their_places_and_told_apart_without_colour(finished, drawn, truth):
    _, _, predicted, ious = truth
    figure = drawn("qualitative", results=finished.request.results, images=1)[0]["qualitative"].figure
    plain, answered = figure.axes
    (index,) = spread(ious, 1)
    boxes = truth[0].annotations("test").boxes[[index]]
    drawn_boxes = [(min(x), min(y), max(x), max(y)) for x, y in (each.get_data() for each in answered.lines)]
    assert drawn_boxes[:1] == [tuple(boxes[0])]
    assert drawn_boxes[1:] == [tuple(each) for each in predicted[index]]
    assert [each.get_linestyle() for each in answered.lines] == ["-"] + ["--"] * len(predicted[index])
    assert len(plain.lines) == 1
    assert plain.get_ylim()[0] > plain.get_ylim()[1]  # y points down, as in boxes


def test_a_miss_is_never_rounded_to_a_hit():
    for value, text in ((0.4999, "○ 0.49"), (0.5, "● 0.50"), (0.29, "○ 0.29"), (1.0, "● 1.00"), (0.0, "○ 0.00")):
        assert qualitative.number(value) == text


# --- what is missing --------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of the run's results, and the file of its maps there."""
    folder = tmp_path / "copied"
    shutil.copytree(finished.request.results, folder)
    return folder, folder / "runs" / finished.record.run_id / "test.npz"


def test_without_maps_the_rest_is_drawn_and_one_sentence_says_so(finished, copied, drawn):
    folder, maps = copied
    maps.unlink()
    drawings, notes = drawn("qualitative", "iou", "curves", results=folder)
    assert set(drawings) == {"curves"}
    assert len(notes) == 1
    run = finished.record.run_id
    assert notes[0].startswith("qualitative, iou of parts (fullsup=16, test=16, train=64), resnet-tiny")
    assert f"the raw maps of run {run} are needed in '{maps.absolute()}', and it is not there" in notes[0]
    assert notes[0].endswith(f"train it again with `{finished.record.provenance.command} --no-resume`")


@pytest.mark.parametrize("damage", ["other maps", "other ids", "cut off", "no ids"])
def test_maps_that_are_not_the_runs_are_refused(finished, copied, drawn, damage):
    folder, maps = copied
    with np.load(maps) as kept:
        arrays = dict(kept)
    if damage == "other maps":
        arrays["maps"] = arrays["maps"][:, ::-1, ::-1] + np.arange(arrays["maps"].shape[1])[:, None] * 100
    elif damage == "other ids":
        arrays["ids"] = arrays["ids"][::-1]
    elif damage == "no ids":
        del arrays["ids"]
    np.savez(maps, **arrays)
    if damage == "cut off":
        maps.write_bytes(maps.read_bytes()[:-30])
    drawings, (note,) = drawn("iou", results=folder)
    assert drawings == {}
    said = {
        "other maps": "its record says",
        "other ids": "that are not those of this run, (16, 16, 16)",
        "cut off": "it cannot be read as an .npz file",
        "no ids": "it holds",
    }
    assert said[damage] in note
    assert finished.record.run_id in note


def test_other_data_are_refused(finished, copied, drawn):
    folder, _ = copied
    path = record_path(finished.record.identity, folder)
    text = path.read_text().replace(finished.record.identity["fingerprints"]["test"], "0" * 16)
    path.unlink()

    body = json.loads(text)
    body["run_id"] = identity_hash(body["identity"])
    (path.parent / f"{body['run_id']}.json").write_text(json.dumps(body))
    drawings, notes = drawn("iou", results=folder)
    assert drawings == {}
    assert "test of parts has the fingerprint" in notes[0]


def test_more_rows_than_fit_side_by_side_are_named(finished, copied, drawn, monkeypatch):
    folder, maps = copied
    body = json.loads(record_path(finished.record.identity, folder).read_text())
    body["identity"]["method"], body["metrics"]["max_box_acc_v2"] = "has", 0.0
    body["run_id"] = identity_hash(body["identity"])
    record_path(body["identity"], folder).write_text(json.dumps(body))
    shutil.copytree(maps.parent, folder / "runs" / body["run_id"])
    drawings, notes = drawn("qualitative", results=folder, images=2)
    titles = [axes.get_title("center") for axes in drawings["qualitative"].figure.axes]
    assert (titles, notes) == (["image", "cam", "has", "", "", ""], [])
    monkeypatch.setattr(kinds, "COLUMNS", 1)
    drawings, (note,) = drawn("qualitative", results=folder, images=2)
    assert len(drawings["qualitative"].figure.axes) == 4
    assert note.endswith("has room for 1 rows, not for has")


# --- the demo's picture -----------------------------------------------------------------------------------------------


def test_the_demos_picture_shows_the_first_image_of_each_class(finished, tmp_path, monkeypatch, truth):
    dataset, maps, predicted, _ = truth
    cells, plain = [], qualitative._draw_cell
    monkeypatch.setattr(qualitative, "_draw_cell", lambda *args: (cells.append(args[1:]), plain(*args)))
    path = draw_comparison(
        dataset, {"cam": finished.record}, finished.request.results, tmp_path / "a" / "b.png", rows=3
    )  # fmt: skip
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size[0] > 300
    for index in range(3):  # labels cycle: the first of each class are the first images
        _, (_, answer) = cells[2 * index : 2 * index + 2]
        np.testing.assert_array_equal(answer.score_map, maps[index])
        np.testing.assert_array_equal(answer.boxes, predicted[index])


def test_the_demos_picture_needs_the_raw_maps(finished, copied, tmp_path):
    folder, maps = copied
    maps.unlink()
    dataset = make_plan(finished.request).dataset
    with pytest.raises(UserError, match=rf"raw maps of run {finished.record.run_id} are needed in .*--no-resume"):
        draw_comparison(dataset, {"cam": finished.record}, folder, tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()
    with pytest.raises(UserError, match=f"there is no record of run {finished.record.run_id} below"):
        draw_comparison(dataset, {"cam": finished.record}, tmp_path / "copied" / "runs", tmp_path / "c.png")
