"""What a kept network says about pictures is what the run scored, bit for bit; and what it refuses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wsolbench.engine.checkpoint import load_checkpoint, save_checkpoint
from wsolbench.errors import RunError, UserError
from wsolbench.experiment import make_plan, run
from wsolbench.kept_network import CHECKPOINT, frozen_thresholds, keep_network, read_network, rebuild
from wsolbench.localization import OperatingPoint, ask, class_index, locate, operating_point, probabilities
from wsolbench.method import Prediction
from wsolbench.protocols import MIN_MAX, Normalization, iou, levels, prepare_normalized
from wsolbench.protocols.box_metrics import THRESHOLDS
from wsolbench.records import read_record
from wsolbench.scoring import scaled_boxes
from wsolbench.stored_hits import read_arrays, read_scores

CPU = torch.device("cpu")


def opened(request, path):
    """Return what a finished run left, and its test pictures."""
    record = read_record(path)
    plan = make_plan(request)
    folder = request.results / "runs" / record.run_id
    images = plan.dataset.images("test")
    return SimpleNamespace(
        record=record,
        plan=plan,
        file=folder / CHECKPOINT,
        kept=read_network(folder / CHECKPOINT),
        hits=read_scores(path.with_suffix(".npz"))["test"].hits,
        maps=read_arrays(folder / "test.npz")["maps"],
        logits=read_arrays(folder / "test.npz").get("logits"),
        labels=images.labels,
        pictures=np.stack([np.asarray(images.read(index)) for index in range(len(images))]),
    )


@pytest.fixture(scope="module")
def cam(finished):
    return opened(finished.request, finished.path)


@pytest.fixture(scope="module")
def ivr(tmp_path_factory, tiny_request):
    request = tiny_request(
        "has", recipe={"epochs": 1, "normalization": "ivr"}, results=tmp_path_factory.mktemp("ivr") / "results"
    )
    return opened(request, run(request))


@pytest.fixture
def point():
    return OperatingPoint(normalization=MIN_MAX, threshold=0.5, origin="a test")


# --- the same as the scored run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cam", "ivr"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_maps_equal_the_scored_ones_bit_for_bit(name, size, request):
    each = request.getfixturevalue(name)
    method, _ = rebuild(each.kept, CPU)
    for label in range(len(each.kept.class_names)):
        (own,) = np.nonzero(each.labels == label)
        for part in np.split(own, range(size, len(own), size)):
            answer = ask(method, each.pictures[part], label=label)
            assert np.array_equal(answer.maps[:, 0], each.maps[part])
            assert np.array_equal(answer.logits, each.logits[part])
            assert answer.labels.tolist() == [[label]] * len(part)


@pytest.mark.parametrize("name", ["cam", "ivr"])
def test_score_maps_and_boxes_give_the_recorded_hits(name, request):
    each = request.getfixturevalue(name)
    side, point = each.plan.recipe.image_size, operating_point(each.kept, None, None)
    assert point.threshold == each.record.thresholds["gt_known_fullsup"]
    assert point.normalization == Normalization(name=each.plan.recipe.normalization, percentile=each.record.percentile)
    found = locate(each.maps, side, point)
    expected = prepare_normalized(each.maps, (side, side), point.normalization).maps
    assert all(np.array_equal(place.score_map, one) for place, one in zip(found, expected, strict=True))
    annotations = each.plan.dataset.annotations("test")
    truth = np.split(scaled_boxes(annotations, side), annotations.offsets[1:-1])
    step = int(np.searchsorted(THRESHOLDS, point.threshold))
    for index, (place, boxes) in enumerate(zip(found, truth, strict=True)):
        level = levels(int(place.score_map.max()))[step]
        for predicted, packed in ((place.boxes, each.hits.packed), (place.largest[None], each.hits.largest)):
            recorded = np.unpackbits(packed[index], axis=-1)[:, level]
            best = iou(predicted, boxes).max()
            assert [best >= d for d in each.hits.criteria] == recorded.astype(bool).tolist()
    right = [iou(place.boxes, boxes).max() >= 0.5 for place, boxes in zip(found, truth, strict=True)]
    assert 100 * np.mean(right) == pytest.approx(each.record.metrics["gt_known_fullsup"])


def test_the_preferred_classes_come_first(cam):
    method, _ = rebuild(cam.kept, CPU)
    answer = ask(method, cam.pictures[:3], count=3)
    best = np.argsort(-cam.logits[:3], axis=1)[:, :3]
    assert answer.labels.tolist() == best.tolist()
    for place in range(3):
        for index in range(3):
            alone = ask(method, cam.pictures[index : index + 1], label=int(best[index, place]))
            assert np.array_equal(alone.maps[0, 0], answer.maps[index, place])
    assert ask(method, cam.pictures[:2], count=99).maps.shape[1] == len(cam.kept.class_names)
    shares = probabilities(answer.logits)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert torch.softmax(torch.from_numpy(answer.logits), 1).numpy() == pytest.approx(shares, abs=1e-6)


def test_pictures_are_not_changed(cam):
    method, _ = rebuild(cam.kept, CPU)
    before = cam.pictures.copy()
    ask(method, cam.pictures[:1])
    assert np.array_equal(cam.pictures, before)


# --- outputs that tell nothing ----------------------------------------------------------------------------------------


def test_a_constant_map_has_no_box(point):
    flat, peak = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    peak[0, 1, 2] = 1
    for raw in (flat, flat + 3, flat * np.nan):
        (place,) = locate(raw, 8, point)
        assert place.largest is None
        assert place.boxes.shape == (0, 4)
        assert not place.score_map.any()
    (place,) = locate(peak, 8, point)
    assert place.boxes.tolist() == [place.largest.tolist()]


def test_outputs_of_a_diverged_network(cam, point, monkeypatch):
    with pytest.raises(RunError, match="contains infinity.*diverged"):
        locate(np.full((1, 4, 4), np.inf), 8, point)
    method, _ = rebuild(cam.kept, CPU)
    bad = Prediction(logits=torch.full((2, 8), torch.nan), maps=torch.zeros(2, 4, 4))
    monkeypatch.setattr(method, "predict", lambda images, labels: bad)
    with pytest.raises(RunError, match="logits are not finite"):
        ask(method, cam.pictures[:2])


# --- thresholds and classes -------------------------------------------------------------------------------------------


def test_the_users_threshold_goes_before_the_frozen_one(cam):
    assert operating_point(cam.kept, 0.25, None) == OperatingPoint(
        normalization=MIN_MAX, threshold=0.25, origin="--threshold"
    )
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="expected 0 <= t < 1"):
            operating_point(cam.kept, wrong, None)


def older(kept):
    return replace(kept, thresholds={}, percentile=None, complete=False)


def test_an_older_file_takes_threshold_and_percentile_from_the_record(cam, ivr):
    for each in (cam, ivr):
        assert operating_point(older(each.kept), None, each.record) == operating_point(each.kept, None, None)
    with pytest.raises(UserError, match="an older version wrote it.*--threshold T.*or the folder of the run's record"):
        operating_point(older(cam.kept), None, None)
    assert operating_point(older(cam.kept), 0.3, None).threshold == 0.3
    with pytest.raises(UserError, match="does not say how its maps are normalised.*put the record of run"):
        operating_point(older(ivr.kept), 0.3, None)


def test_without_boxes_there_is_no_frozen_threshold(cam):
    with pytest.raises(UserError, match="its dataset has masks, not boxes.*0 <= T < 1$"):
        operating_point(replace(cam.kept, thresholds={}), None, None)


def test_classes_by_name_and_number():
    names = ("crane", "Great Tit", "crane", "tit", "7")
    assert class_index("Great Tit", names) == class_index("great tit", names) == 1
    assert class_index("3", names) == 3
    assert class_index("7", names) == 4
    with pytest.raises(UserError, match="2 classes are called 'crane'; give the number of the one you mean: 0 or 2"):
        class_index("crane", names)
    with pytest.raises(UserError, match="unknown class 'Grate Tit'; expected one of the network's 5 .*'Great Tit'"):
        class_index("Grate Tit", names)
    with pytest.raises(UserError, match="unknown class '5'"):
        class_index("5", names)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_holds_what_the_record_says(cam, ivr):
    for each in (cam, ivr):
        assert each.kept.complete
        assert each.kept.thresholds == frozen_thresholds(each.record)
        assert each.kept.percentile == each.record.percentile
        assert each.kept.plugin == ""
        assert each.kept.class_names == each.plan.dataset.class_names
        assert {key for key in each.kept.thresholds if not key.endswith("_fullsup")} == set()
    assert ivr.kept.percentile is not None
    assert "gt_known_fullsup" in cam.kept.thresholds


def test_a_kept_network_is_the_same_when_it_is_kept_again(cam, tmp_path):
    method, recipe = rebuild(cam.kept, CPU)
    assert recipe == cam.plan.recipe
    assert not method.training
    keep_network(tmp_path / "again.pt", method, cam.kept.class_names, cam.record)
    again = read_network(tmp_path / "again.pt")
    assert all(torch.equal(cam.kept.weights[name], weight) for name, weight in again.weights.items())
    assert {name: value for name, value in vars(again).items() if name != "weights"} == {
        name: value for name, value in vars(cam.kept).items() if name != "weights"
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("class_names"), r"is no network of a finished run \(it lacks class_names\)"),
        (lambda state: state.update(method="gone"), "is one of 'gone', which is no method of this version; pass"),
        (lambda state: state.update(plugin="a" * 16), "another file for the method 'cam'; pass that one by --plugin"),
        (lambda state: state["recipe"].update(warmup=3), "settings that this version does not know: warmup"),
        (lambda state: state["weights"].popitem(), "is not the one that cam builds in this version"),
    ],
)
def test_files_that_are_no_use(cam, tmp_path, change, message):
    state = load_checkpoint(cam.file)
    change(state)
    del state["format"]
    save_checkpoint(tmp_path / "x.pt", state)
    with pytest.raises(UserError, match=message):
        rebuild(read_network(tmp_path / "x.pt"), CPU)


def test_a_damaged_file(cam, tmp_path):
    (tmp_path / "x.pt").write_bytes(cam.file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"x\.pt cannot be read; expected the model\.pt of a finished run"):
        read_network(tmp_path / "x.pt")


def test_an_older_file_is_read(cam, tmp_path):
    state = load_checkpoint(cam.file)
    for name in ("format", "plugin", "thresholds", "percentile"):
        del state[name]
    save_checkpoint(tmp_path / "x.pt", state)
    kept = read_network(tmp_path / "x.pt")
    assert not kept.complete
    assert rebuild(kept, CPU)[1] == cam.plan.recipe
