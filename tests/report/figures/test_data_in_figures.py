"""What is drawn equals what the records say, recomputed here from the hits and the metrics."""

import json
from dataclasses import replace

import numpy as np
import pytest

from wsolbench.leaderboard.model import build
from wsolbench.protocols import THRESHOLDS, PixelHits, SplitScores, box_accuracy_counts
from wsolbench.records import load_records, record_path, write_hits
from wsolbench.report.figures.gallery import folder_names
from wsolbench.stored_hits import read_scores, score_arrays

CRITERIA = (0.3, 0.5, 0.7)


def percent(made, record):
    hits = read_scores(record_path(record.identity, made.folder).with_suffix(".npz"))["test"].hits
    return 100 * box_accuracy_counts(hits) / len(hits)


def line(axes, label):
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return found


def xy(axes, label):
    return line(axes, label).get_xdata(), line(axes, label).get_ydata()


# --- curves -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def curves(made, drawn):
    runs = {method: [made.add(method, seed) for seed in range(3)] for method in ("cam", "has")}
    center = made.add("center", null=True)
    drawings, notes = drawn("curves")
    assert notes == []
    return runs, center, drawings["curves"].figure.axes


def test_a_curve_is_the_mean_over_seeds_of_the_accuracy_at_every_threshold(made, curves):
    runs, _, axes = curves
    for method, records in runs.items():
        expected = np.mean([percent(made, record) for record in records], axis=0)
        for place, panel in enumerate(axes[:3]):
            x, y = xy(panel, method)
            np.testing.assert_array_equal(x, THRESHOLDS)
            np.testing.assert_allclose(y, expected[place])


def test_the_band_reaches_from_the_smallest_seed_to_the_largest(made, curves):
    runs, _, axes = curves
    seeds = [np.stack([percent(made, record)[1] for record in records]) for records in runs.values()]
    for found, band in zip(seeds, axes[1].collections, strict=True):
        drawn_at = {}
        for t, value in band.get_paths()[0].vertices:
            drawn_at.setdefault(int(np.searchsorted(THRESHOLDS, t - 1e-9)), []).append(value)
        assert list(drawn_at)[:3] == [0, 8, 16]
        for index, values in drawn_at.items():
            assert (min(values), max(values)) == pytest.approx((found[:, index].min(), found[:, index].max()))


def test_dots_and_rings_stand_at_the_thresholds_of_the_records(curves):
    runs, _, axes = curves
    for method, records in runs.items():
        for d, panel in zip(CRITERIA, axes[3:], strict=True):
            for suffix in ("", "_fullsup"):
                key = f"max_box_acc_v2_iou{round(100 * d)}{suffix}"
                x, y = xy(panel, method + suffix)
                assert list(x) == [record.thresholds[key] for record in records]
                assert len(set(y)) == 1
            assert line(panel, method).get_markerfacecolor() == line(panel, method).get_color()
            assert line(panel, method + "_fullsup").get_markerfacecolor() == "white"


def test_the_dotted_line_is_the_best_of_center(made, curves):
    _, center, axes = curves
    for best, panel in zip(percent(made, center).max(axis=1), axes[:3], strict=True):
        heights = [each.get_ydata()[0] for each in panel.lines if len(each.get_xdata()) == 2]
        assert heights == [pytest.approx(best)]


def test_a_caption_names_every_record_that_is_drawn(made, drawn):
    records = [made.add("cam", seed) for seed in range(2)]
    drawings, _ = drawn("curves", "seeds", "training")
    for drawing in drawings.values():
        for record in records:
            assert f"`{record.run_id}` (seed {record.identity['recipe']['seed']})" in drawing.caption


# --- numbers of the table ---------------------------------------------------------------------------------------------


def test_every_seed_is_a_ring_and_their_mean_a_bar(made, drawn):
    values = {method: [made.add(method, seed).metrics for seed in range(3)] for method in ("cam", "has")}
    center = made.add("center", null=True).metrics
    axes = drawn("seeds")[0]["seeds"].figure.axes
    for panel, key in zip(axes, ("max_box_acc_v2", "gt_known", "top1_cls"), strict=True):
        for method, metrics in values.items():
            found = [each[key] for each in metrics]
            x, y = xy(panel, method)
            assert list(x) == found
            (bar,) = [
                each.get_xdata()[0]
                for each in panel.lines
                if list(each.get_ydata()) == pytest.approx([y[0] - 0.36, y[0] + 0.36])
            ]
            assert bar == pytest.approx(np.mean(found))
        uprights = [each.get_xdata()[0] for each in panel.lines if list(each.get_ydata()) == [0, 1]]
        assert uprights == [center[key]]


def test_a_point_is_mean_and_deviation_of_both_accuracies(made, drawn):
    metrics = [made.add("cam", seed).metrics for seed in range(3)]
    made.add("has")
    panel = drawn("accuracy-localisation")[0]["accuracy-localisation"].figure.axes[0]
    points = {each.get_label(): each for each in panel.containers}
    x, y = ([each[key] for each in metrics] for key in ("top1_cls", "max_box_acc_v2"))
    mark, _, bars = points["cam"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == pytest.approx((np.mean(x), np.mean(y)))
    ends = bars[0].get_segments()[0][:, 0], bars[1].get_segments()[0][:, 1]
    for found, values in zip(ends, (x, y), strict=True):
        half = np.std(values, ddof=1)
        assert found == pytest.approx([np.mean(values) - half, np.mean(values) + half])
    assert points["has"][2] == ()  # one seed has no deviation


def test_rows_that_do_not_classify_are_named(made, drawn):
    made.add("cam")
    record = made.add("fsl")
    without = {key: value for key, value in record.metrics.items() if not key.startswith("top")}
    made.add("fsl", fields={"metrics": without})
    caption = drawn("accuracy-localisation")[0]["accuracy-localisation"].caption
    assert "Not drawn, because they do not classify: fsl." in caption


# --- training and tuning ----------------------------------------------------------------------------------------------


def test_training_curves_are_means_of_the_histories(made, drawn):
    records = [made.add("inca", seed) for seed in range(2)]
    axes = {each.get_title("left"): each for each in drawn("training")[0]["training"].figure.axes}
    assert {"cls (inca)", "ca (inca)", "peak by place (inca)"} <= axes.keys()
    for label, title, name in (
        ("inca", "cls (inca)", "cls"),
        ("inca layer3.0", "peak by place (inca)", "peak_layer3.0"),
        ("inca layer4.0", "peak by place (inca)", "peak_layer4.0"),
    ):
        x, y = xy(axes[title], label)
        assert list(x) == [1, 2, 3]
        np.testing.assert_allclose(y, np.mean([[each[name] for each in record.history] for record in records], axis=0))


def test_a_loss_that_was_not_finite_leaves_a_gap(made, drawn):
    made.add("cam", 0, fields={"history": [{"cls": 1.0}, {"cls": None}, {"cls": 3.0}]})
    made.add("cam", 1, fields={"history": [{"cls": 2.0}, {"cls": None}]})
    (axes,) = [each for each in drawn("training")[0]["training"].figure.axes if each.get_title("left")]
    x, y = xy(axes, "cam")
    assert list(zip(x, y, strict=True)) == [(1, 1.5), (3, 3.0)]


def test_the_best_of_k_curve_is_that_of_the_choice(made, drawn):
    record = made.tune("cam")
    choice = json.loads((made.folder / "parts" / "tuning" / record.tuned.study / "choice.json").read_text())
    drawing = drawn("best-of-k")[0]["best-of-k"]
    curve, last = drawing.figure.axes
    x, y = xy(curve, "cam tuned")
    assert list(zip(x, y, strict=True)) == [(point["k"], point["mean"]) for point in choice["best_of"]]
    ends = [tuple(each.get_ydata()) for each in last.lines if len(each.get_ydata()) == 2]
    assert ends == [(choice["best_of"][-1]["low"], choice["best_of"][-1]["high"])]
    assert f"`{record.tuned.study}`" in drawing.caption


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_row_without_hits_is_left_out_and_named(made, drawn):
    made.add("cam")
    made.add("has", hits=False)
    drawings, (note,) = drawn("curves")
    assert [each.get_label() for each in drawings["curves"].figure.axes[0].lines] == ["cam"]
    assert note.startswith("curves of parts, resnet-tiny, 64×64 px, maps 16×16 lacks has: the hits of run")
    assert note.endswith("are unusable: it is not there")


def test_without_the_hits_of_center_its_line_is_missing_and_nothing_else(made, drawn):
    made.add("cam")
    made.add("center", null=True, hits=False)
    drawings, (note,) = drawn("curves")
    assert len(drawings["curves"].figure.axes[0].lines) == 1
    assert "lacks center: the hits of run" in note
    assert "center" not in drawings["curves"].caption


def test_masks_have_no_curves_but_seeds(made, drawn):
    record = made.add("cam", hits=False, fields={"metrics": {"pxap": 41.5, "top1_cls": 70.0}})
    scores = SplitScores(hits=PixelHits(pixels=np.ones((4, 2, 1001), dtype=np.uint32)))
    path = record_path(record.identity, made.folder).with_suffix(".npz")
    write_hits(path, **score_arrays({"test": scores, "train-fullsup": scores}))
    drawings, notes = drawn("curves", "seeds")
    (panel, _) = drawings["seeds"].figure.axes
    assert panel.get_xlabel() == "PxAP [%]"
    assert list(line(panel, "cam").get_xdata()) == [41.5]
    assert notes == [
        f"curves of parts, resnet-tiny, 64×64 px, maps 16×16: the images of run {record.run_id} have masks, no boxes"
    ]


def test_one_sentence_for_figures_that_lack_the_same(made, drawn):
    made.add("cam", fields={"history": []})
    drawings, notes = drawn()
    assert set(drawings) == {"curves", "accuracy-localisation", "seeds"}
    assert sorted(note.partition(" of ")[0] for note in notes) == ["best-of-k", "qualitative, iou", "training"]


def test_records_that_cannot_be_read_are_named(made, drawn):
    made.add("cam")
    (made.folder / "parts" / "records" / "0123456789abcdef.json").write_text("{")
    assert "0123456789abcdef.json was skipped: it is not valid JSON" in drawn("seeds")[1][0]


def test_a_study_that_is_gone_or_damaged_is_named(made, drawn):
    record = made.tune("cam")
    path = made.folder / "parts" / "tuning" / record.tuned.study / "choice.json"
    path.write_text(path.read_text().replace('"best_of"', '"best"'))
    drawings, (note,) = drawn("best-of-k")
    assert drawings == {}
    assert f"'{path}' has no usable curve of the best of k trials: KeyError('best_of')" in note
    path.unlink()
    assert f"{path} cannot be used: No such file or directory" in drawn("best-of-k")[1][0]


# --- which tables and rows --------------------------------------------------------------------------------------------


def test_rows_are_asked_for_by_label_or_method(made, drawn):
    made.add("cam")
    made.add("cam", extractor={"name": "gradcam", "point": "layer4.1"})
    made.add("has", config={"cell": 4})
    made.add("has", config={"cell": 8})

    def labels(*methods):
        (axes, *_) = drawn("seeds", methods=methods)[0]["seeds"].figure.axes
        return sorted(text.get_text() for text in axes.get_yticklabels())

    assert labels("cam") == ["cam"]
    assert labels("cam + gradcam", "has") == ["cam + gradcam", "has (cell=4)", "has (cell=8)"]
    assert labels("has (cell=8)") == ["has (cell=8)"]


def test_every_table_has_a_folder_of_its_own(made):
    made.add("cam")
    for epochs in (20, 30):
        made.add("cam", recipe={"epochs": epochs})
    made.add("cam", dataset="parts/context", dataset_options={"train": 64})
    board = build(*load_records(made.folder))
    names = folder_names([table.section for table in board.tables])
    assert len(set(names)) == 4
    assert "parts-context-train-64-resnet-tiny-64x64-px-maps-16x16" in names
    assert "parts-resnet-tiny-64x64-px-maps-16x16-epochs-20" in names
    long = replace(board.tables[0].section, differences={"a": "b" * 300})
    (name,) = folder_names([long])
    assert len(name) < 120
    assert name.endswith(long.key[:8])
