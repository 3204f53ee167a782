"""Scoring maps made by anyone: bad maps named, three forms of files, labels, other normalisations, masks."""

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image

from wsolbench.data.splits import Annotations, Masks
from wsolbench.errors import UserError
from wsolbench.evaluation import MapSource, evaluate
from wsolbench.protocols import PERCENTILES, THRESHOLDS, Normalization, SplitScores, score
from wsolbench.scoring import choose_normalization, score_raw_maps

IDS = ("a", "photos/b", "photos/c, with a comma", "deep/er/d.jpg", "é")


def random_maps(ids, seed=0, kind=np.float64):
    # Whole numbers: with a scale that is a power of two all of the resize is exact, whoever computes it.
    rng = np.random.default_rng(seed)
    return {image: rng.integers(-99, 100, (8, 8)).astype(kind) for image in ids}


@pytest.fixture
def annotations():
    boxes = [[2, 2, 20, 20], [0, 0, 9, 19], [10, 5, 49, 29], [30, 30, 39, 39], [1, 2, 30, 30], [25, 0, 49, 39]]
    return Annotations(
        split="test",
        ids=IDS,
        labels=np.arange(5),
        sizes=np.array([[40, 50]] * 5),
        boxes=np.array(boxes),
        offsets=np.array([0, 1, 2, 4, 5, 6]),
    )


@pytest.fixture
def save(tmp_path):
    """Return a function that writes maps by image id into a folder, and returns the folder."""

    def write(maps, name="maps"):
        for image, values in maps.items():
            path = tmp_path / name / f"{image}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)
        return tmp_path / name

    return write


# --- several maps that cannot be scored -------------------------------------------------------------------------------


def test_all_maps_that_cannot_be_scored_are_counted_and_named(annotations, save):
    maps = random_maps(IDS)
    maps[IDS[1]][0, 0] = np.nan
    maps[IDS[3]] = np.zeros(4)
    source = MapSource(maps=save(maps), annotations=annotations, side=32)
    with pytest.raises(
        UserError, match=r"b\.npy' contains NaN .* \(2 of 5 .*: 'photos/b', 'deep/er/d\.jpg'\)"
    ) as caught:
        evaluate(source, None, quiet=True)
    assert "\n" not in str(caught.value)


def test_constant_and_invalid_maps_are_named(annotations, save):
    maps = random_maps(IDS) | {IDS[0]: np.zeros((8, 8)), IDS[2]: np.full((8, 8), np.nan)}
    source = MapSource(maps=save(maps), annotations=annotations, side=32, allow_invalid=True)
    result = evaluate(source, source, quiet=True)
    assert result.named == {
        "constant_maps": [IDS[0]],
        "invalid_maps": [IDS[2]],
        "fullsup_constant_maps": [IDS[0]],
        "fullsup_invalid_maps": [IDS[2]],
    }
    assert {kind: count for kind, count in result.counts.items() if count} == dict.fromkeys(result.named, 1)


# --- the three forms, labels ------------------------------------------------------------------------------------------


def test_every_form_gives_the_same_numbers(annotations, save, tmp_path):
    maps = random_maps(IDS, kind=np.float32)
    # In another order than the split's, with a map of another image.
    names = [*reversed(IDS), "other"]
    stack = np.stack([*(maps[image] for image in reversed(IDS)), np.eye(8, dtype=np.float32)])
    np.savez(tmp_path / "all.npz", ids=np.array(names), maps=stack)
    np.save(tmp_path / "all.npy", stack)
    (tmp_path / "ids.txt").write_text("\n".join(names), encoding="utf-8")
    places = [{"maps": save(maps)}, {"maps": tmp_path / "all.npz"}]
    places.append({"maps": tmp_path / "all.npy", "ids": tmp_path / "ids.txt"})
    results = [evaluate(MapSource(**place, annotations=annotations, side=32), None, True) for place in places]
    assert results[0].scores == results[1].scores == results[2].scores
    assert [result.counts["extra_maps"] for result in results] == [0, 1, 1]


def predictions(tmp_path, lists, name="predictions.csv"):
    lines = [",".join([image, *map(str, labels)]) for image, labels in lists.items()]
    (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / name


def test_logits_and_lists_of_labels_give_the_same_top_k(annotations, tmp_path):
    maps = random_maps(IDS)
    logits = np.random.default_rng(5).standard_normal((5, 8))
    np.savez(tmp_path / "all.npz", ids=np.array(IDS), maps=np.stack(list(maps.values())), logits=logits)
    source = MapSource(maps=tmp_path / "all.npz", annotations=annotations, side=32)
    by_logits = evaluate(source, None, True).scores
    best = np.argsort(-logits, axis=1)
    assert by_logits.metrics["top1_cls"] == 20 * sum(best[:, 0] == np.arange(5))
    assert by_logits.metrics["top5_cls"] == 20 * sum(label in row[:5] for label, row in enumerate(best))
    # The file of labels goes before the logits, which are wrong now.
    np.savez(tmp_path / "all.npz", ids=np.array(IDS), maps=np.stack(list(maps.values())), logits=-logits)
    lists = dict(zip(IDS, best[:, :5].tolist(), strict=True)) | {"other": [1]}
    result = evaluate(dataclasses.replace(source, predictions=predictions(tmp_path, lists)), None, True)
    assert result.scores == by_logits
    assert result.named == {"extra_predictions": ["other"]}
    # One label an image says nothing of the top 5.
    ones = predictions(tmp_path, {image: labels[:1] for image, labels in lists.items()})
    single = evaluate(dataclasses.replace(source, predictions=ones), source, True).scores
    keys = {"top5_cls", "top5_loc", "top5_loc_fullsup"}
    assert {single.absent[key] for key in keys} == {"the predictions name only 1 label for some image"}
    assert single.metrics["top1_loc"] == by_logits.metrics["top1_loc"]
    assert not keys & (single.metrics.keys() | single.thresholds.keys())


def test_logits_without_sense(annotations, tmp_path):
    arrays = {"ids": np.array(IDS), "maps": np.stack(list(random_maps(IDS).values()))}
    source = MapSource(maps=tmp_path / "all.npz", annotations=annotations, side=32)
    np.savez(source.maps, **arrays, logits=np.zeros((5, 3)))
    with pytest.raises(UserError, match="the logits of .* do not fit the split: label 3 of image 3 is out of range"):
        evaluate(source, None, True)
    logits = np.eye(5, 7)
    logits[2, 6] = np.nan
    np.savez(source.maps, **arrays, logits=logits)
    with pytest.raises(
        UserError, match=r"logits of 1 images in .* NaN or infinity: 'photos/c, with a comma'; .*--allow"
    ):
        evaluate(source, None, True)
    result = evaluate(dataclasses.replace(source, allow_invalid=True), None, True)
    assert result.scores.metrics["top1_cls"] == 80
    assert result.counts["invalid_logits"] == 1


def test_further_criteria(annotations, save):
    source = MapSource(maps=save(random_maps(IDS)), annotations=annotations, side=32)
    usual = evaluate(source, None, True).scores.metrics
    wide = evaluate(dataclasses.replace(source, criteria=(0.1, 0.3, 0.5, 0.7)), None, True).scores.metrics
    assert {key: value for key, value in wide.items() if key != "max_box_acc_v2_iou10"} == usual
    assert wide["max_box_acc_v2_iou10"] >= usual["max_box_acc_v2_iou30"]


# --- other normalisations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pas", "ivr"])
def test_the_percentile_is_the_best_on_train_fullsup(annotations, save, make_dataset, name):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 50, (60, 2))
    boxes = np.concatenate([corners, corners + rng.integers(10, 50, (60, 2))], axis=1)
    fullsup = make_dataset({"train-fullsup": [[box] for box in boxes]}).annotations("train-fullsup")
    # From broad to peaked, so that a percentile means something else on each map.
    peaked = {image: v ** (2 * (n % 5) + 1) for n, (image, v) in enumerate(random_maps(fullsup.ids, seed=1).items())}
    here, there = (
        MapSource(maps=save(maps, split.split), annotations=split, side=32, normalization=name)
        for maps, split in ((random_maps(IDS), annotations), (peaked, fullsup))
    )
    result = evaluate(here, there, quiet=True)
    raw = np.stack(list(peaked.values()))
    values = {}
    for percentile in PERCENTILES[name]:
        normalization = Normalization(name=name, percentile=percentile)
        values[percentile] = score(SplitScores(hits=score_raw_maps(raw, fullsup, 32, normalization).hits), None).metrics
    best = max(metrics["max_box_acc_v2"] for metrics in values.values())
    chosen = min(q for q, metrics in values.items() if metrics["max_box_acc_v2"] == best)
    assert len({metrics["max_box_acc_v2"] for metrics in values.values()}) > 1
    assert result.normalization == Normalization(name=name, percentile=chosen)
    mine = np.stack(list(random_maps(IDS).values()))
    hits = score_raw_maps(mine, annotations, 32, result.normalization).hits
    np.testing.assert_array_equal(result.hits.packed, hits.packed)
    # Of train-fullsup itself it is chosen there, too.
    assert evaluate(there, None, quiet=True).normalization == result.normalization


def test_a_percentile_is_never_chosen_on_test(annotations, save):
    source = MapSource(maps=save(random_maps(IDS)), annotations=annotations, side=32, normalization="ivr")
    with pytest.raises(
        UserError, match="chooses its percentile on train-fullsup, never on test; give .*--fullsup-maps"
    ):
        evaluate(source, None, quiet=True)
    with pytest.raises(AssertionError, match="nothing is chosen on test"):
        choose_normalization("ivr", [], annotations, 32)


def test_max_needs_no_percentile(annotations, save):
    maps = random_maps(IDS) | {IDS[1]: -np.ones((8, 8)) - np.eye(8)}
    source = MapSource(maps=save(maps), annotations=annotations, side=8, normalization="max")
    result = evaluate(source, None, quiet=True)
    assert result.named == {"constant_maps": [IDS[1]]}
    assert result.normalization == Normalization(name="max")


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def masked(tmp_path):
    """Return annotations with masks: object left or right, two objects, an ignore mask beside."""
    left, right = np.zeros((20, 30), dtype=np.uint8), np.zeros((20, 30), dtype=np.uint8)
    left[:, :10], right[:, 25:] = 255, 255
    for name, mask in (("left", left), ("right", right)):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    objects = (("left.png",), ("right.png",), ("left.png", "right.png"), ("left.png",), ("left.png",))
    return Annotations(
        split="train-fullsup",
        ids=IDS,
        labels=np.arange(5),
        sizes=np.zeros((5, 2), dtype=np.int64),
        boxes=np.zeros((0, 4), dtype=np.int64),
        offsets=np.zeros(6, dtype=np.int64),
        masks=Masks(root=tmp_path, objects=objects, ignored=(None, None, None, "left.png", "right.png")),
    )


def test_masks_give_pxap(masked, save):
    maps = random_maps(IDS) | {IDS[4]: np.zeros((8, 8))}
    result = evaluate(MapSource(maps=save(maps), annotations=masked, side=32), None, quiet=True)
    column = np.arange(32) * 30 // 32
    left, right = column < 10, column >= 25
    values, positive = [], []
    for image, objects, ignored in zip(
        IDS, (left, right, left | right, left, left), (None, None, None, left, right), strict=True
    ):
        wide = cv2.resize(maps[image], (32, 32), interpolation=cv2.INTER_CUBIC)
        unit = (wide - wide.min()) / max(wide.max() - wide.min(), 1)
        counted = np.ones(32, dtype=bool) if ignored is None else objects | ~ignored
        values.append(unit[:, counted].ravel())
        positive.append(np.broadcast_to(objects, (32, 32))[:, counted].ravel())
    values, positive = np.concatenate(values), np.concatenate(positive)
    steps = [(values >= t) for t in np.append(1.0, THRESHOLDS[::-1])]
    found = np.array([(positive[above].sum(), above.sum()) for above in steps])
    expected = (found[:, 0] / np.maximum(found[:, 1], 1) * np.diff(found[:, 0], prepend=0)).sum() / positive.sum()
    assert result.scores.metrics == {"pxap": pytest.approx(100 * expected)}
    assert result.hits is None
    assert result.named == {"constant_maps": [IDS[4]]}
    assert result.scores.absent["gt_known"] == "the split has masks, no boxes"


def test_percentiles_for_masks_are_chosen_by_pxap(masked, save):
    source = MapSource(maps=save(random_maps(IDS)), annotations=masked, side=32, normalization="ivr")
    result = evaluate(source, None, quiet=True)
    plain = dataclasses.replace(source, normalization="min-max")
    assert result.scores.metrics["pxap"] >= evaluate(plain, None, quiet=True).scores.metrics["pxap"]
    with pytest.raises(UserError, match="PxAP has no threshold to freeze"):
        evaluate(plain, plain, quiet=True)


def test_masks_without_an_object_are_refused(masked, save, tmp_path):
    for name in ("left", "right"):
        Image.fromarray(np.ones((20, 30), dtype=np.uint8)).save(tmp_path / f"{name}.png")  # 1 of 255 is black
    source = MapSource(maps=save(random_maps(IDS)), annotations=masked, side=32)
    with pytest.raises(UserError, match="no pixel of the split belongs to an object.*in a mask the object is white"):
        evaluate(source, None, quiet=True)
