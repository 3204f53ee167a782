"""Scoring maps made by anyone: equal to an OpenCV loop, and every way a folder of maps can be wrong."""

import dataclasses
import io
import json

import cv2
import numpy as np
import pytest

from wsolbench.data.published import read_annotations
from wsolbench.data.splits import Annotations
from wsolbench.errors import UserError
from wsolbench.evaluation import MapSource, evaluate

THRESHOLDS = np.arange(0, 1, 0.001)
CRITERIA = (0.3, 0.5, 0.7)
IDS = ("a", "photos/b", "photos/c, with a comma", "deep/er/d.jpg", "é")


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
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for image, values in maps.items():
            path = folder / f"{image}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)
        return folder

    return write


def score_folder(source, quiet=True):
    result = evaluate(source, None, quiet)
    return result.hits, result.counts


def random_maps(ids, size=(8, 8), seed=0, kind=np.float64):
    # Whole numbers: with a scale that is a power of two all of the resize is exact, whoever computes it.
    rng = np.random.default_rng(seed)
    return {image: rng.integers(-99, 100, size).astype(kind) for image in ids}


def loop(oracle, annotations, maps, side):
    """Return counts of hits, (3, 1000), by OpenCV's resize and contours, image by image and threshold by threshold."""
    counts = np.zeros((3, 1000), dtype=np.int64)
    for index, image in enumerate(annotations.ids):
        wide = cv2.resize(maps[image].astype(np.float64), (side, side), interpolation=cv2.INTER_CUBIC)
        score_map = np.floor(255 * ((wide - wide.min()) / (wide.max() - wide.min()))).astype(np.uint8)
        height, width = annotations.sizes[index].tolist()
        truth = [
            [int(x0 * side / width), int(y0 * side / height), int(x1 * side / width), int(y1 * side / height)]
            for x0, y0, x1, y1 in annotations.boxes[annotations.offsets[index] : annotations.offsets[index + 1]]
        ]
        ious = oracle.ious_by_level(score_map, np.array(truth))
        per_threshold = ious[(THRESHOLDS * score_map.max()).astype(int)]
        counts += per_threshold >= np.array(CRITERIA)[:, None]
    return counts


def check(scores, counts, fullsup):
    """Compare every metric with the counts of two loops."""
    percent = 100 / scores.images
    keys = [f"max_box_acc_v2_iou{round(100 * d)}" for d in CRITERIA]
    for key, curve, chosen in zip(keys, counts, fullsup, strict=True):
        assert scores.metrics[key] == pytest.approx(percent * curve.max())
        assert scores.thresholds[key] == THRESHOLDS[curve.argmax()]
        assert scores.metrics[key + "_fullsup"] == pytest.approx(percent * curve[chosen.argmax()])
        assert scores.thresholds[key + "_fullsup"] == THRESHOLDS[chosen.argmax()]
    assert scores.metrics["max_box_acc_v2"] == pytest.approx(percent * counts.max(axis=1).mean())
    assert scores.metrics["gt_known"] == scores.metrics["max_box_acc_v2_iou50"]


def take(annotations, count):
    """Return the first images of a split."""
    stop = int(annotations.offsets[count])
    return dataclasses.replace(
        annotations,
        ids=annotations.ids[:count],
        labels=annotations.labels[:count],
        sizes=annotations.sizes[:count],
        boxes=annotations.boxes[:stop],
        offsets=annotations.offsets[: count + 1],
    )


# --- against OpenCV ---------------------------------------------------------------------------------------------------


def test_equals_the_opencv_loop(oracle, annotations, save):
    maps, other = random_maps(IDS), random_maps(IDS, seed=1)
    source = MapSource(maps=save(maps), annotations=annotations, side=64)
    fullsup = MapSource(maps=save(other, "fullsup"), annotations=annotations, side=64)
    result = evaluate(source, fullsup, quiet=True)
    check(result.scores, loop(oracle, annotations, maps, 64), loop(oracle, annotations, other, 64))
    assert result.scores.metrics["max_box_acc_v2_iou30"] > 0
    kinds = ("constant_maps", "invalid_maps", "extra_maps")
    assert result.counts == dict.fromkeys((*kinds, *(f"fullsup_{kind}" for kind in kinds)), 0)
    classified = {f"top{k}_{what}" for k in (1, 5) for what in ("cls", "loc", "loc_fullsup")}
    assert set(result.scores.absent) == classified | {"top1_loc_at_0.2", "pxap"}
    assert result.named == {}


def test_equals_the_opencv_loop_on_cub(oracle, metadata_root, save):
    # 100 of the 1,000 images of train-fullsup choose the thresholds for 70 of the 5,794 test images.
    scored, chosen = (
        take(read_annotations(metadata_root / "CUB", split), count)
        for split, count in (("test", 70), ("train-fullsup", 100))
    )
    maps, other = random_maps(scored.ids, (14, 14), kind=np.float32), random_maps(chosen.ids, (7, 7), kind=np.int16)
    result = evaluate(
        MapSource(maps=save(maps), annotations=scored, side=224),
        MapSource(maps=save(other, "fullsup"), annotations=chosen, side=224),
        quiet=True,
    )
    check(result.scores, loop(oracle, scored, maps, 224), loop(oracle, chosen, other, 224))
    assert result.scores.metrics["gt_known"] > 10


def test_without_maps_of_train_fullsup_the_frozen_keys_are_absent(annotations, save):
    scores = evaluate(MapSource(maps=save(random_maps(IDS)), annotations=annotations, side=64), None, True).scores
    frozen = {name for name in scores.absent if name.endswith("_fullsup")}
    assert {"gt_known_fullsup", "max_box_acc_v2_fullsup", "max_box_acc_v2_iou70_fullsup"} <= frozen
    assert not any(name.endswith("_fullsup") for name in scores.metrics)
    assert "no score maps of train-fullsup" in scores.absent["gt_known_fullsup"]


def test_train_fullsup_itself_has_nothing_to_freeze(annotations, save):
    own = dataclasses.replace(annotations, split="train-fullsup")
    absent = evaluate(MapSource(maps=save(random_maps(IDS)), annotations=own, side=32), None, True).scores.absent
    reason = "these are the images that thresholds are chosen on: the best one is the oracle's"
    assert absent["gt_known_fullsup"] == absent["max_box_acc_v2_fullsup"] == reason
    assert absent["top1_loc_fullsup"] == "no logits: only score maps were given"


# --- every kind of map ------------------------------------------------------------------------------------------------


def test_shapes_may_differ_within_a_folder(annotations, save):
    sizes = [(8, 8), (8, 8), (3, 5), (1, 1), (8, 8)]
    mixed = {image: random_maps([image], sizes[seed], seed)[image] for seed, image in enumerate(IDS)}
    hits, counts = score_folder(MapSource(maps=save(mixed), annotations=annotations, side=32), quiet=True)
    assert counts["constant_maps"] == 1  # the one of a single pixel
    for index, image in enumerate(IDS):
        one = dataclasses.replace(
            take(annotations, 1),
            ids=(image,),
            boxes=annotations.boxes[annotations.offsets[index] : annotations.offsets[index + 1]],
            offsets=np.array([0, annotations.offsets[index + 1] - annotations.offsets[index]]),
        )
        folder = save({image: mixed[image]}, f"alone{index}")
        alone, _ = score_folder(MapSource(maps=folder, annotations=one, side=32), quiet=True)
        np.testing.assert_array_equal(hits.packed[index], alone.packed[0])
        assert hits.maxima[index] == alone.maxima[0]


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.float32, ">f8"])
def test_the_type_of_number_makes_no_difference(annotations, save, kind):
    maps = random_maps(IDS, seed=3)
    wanted = {image: values + 100 for image, values in maps.items()}
    given = {image: values.astype(kind) for image, values in wanted.items()}
    a, b = (
        score_folder(MapSource(maps=save(each, name), annotations=annotations, side=32), quiet=True)[0]
        for each, name in ((wanted, "wanted"), (given, "given"))
    )
    np.testing.assert_array_equal(a.packed, b.packed)


def test_masks_of_true_and_false_are_maps(annotations, save):
    maps = {image: values > 0 for image, values in random_maps(IDS).items()}
    _, counts = score_folder(MapSource(maps=save(maps), annotations=annotations, side=32), quiet=True)
    assert counts == {"constant_maps": 0, "invalid_maps": 0, "extra_maps": 0}


def test_constant_maps_are_scored_as_zeros_and_counted(annotations, save):
    maps = random_maps(IDS) | {IDS[0]: np.full((8, 8), 0.1), IDS[2]: np.zeros((8, 8))}
    hits, counts = score_folder(MapSource(maps=save(maps), annotations=annotations, side=32), quiet=True)
    assert counts["constant_maps"] == 2
    assert hits.maxima[[0, 2]].tolist() == [0, 0]


def test_maps_of_other_images_are_counted(annotations, save):
    extra = {"x": np.eye(2), "photos/A": np.eye(2)}
    source = MapSource(maps=save(random_maps(IDS) | extra), annotations=annotations, side=32)
    result = evaluate(source, None, quiet=True)
    assert result.counts["extra_maps"] == 2
    assert sorted(result.named["extra_maps"]) == ["photos/A", "x"]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_or_scored_as_zeros(annotations, save, value):
    maps = random_maps(IDS)
    maps[IDS[2]][3, 3] = value
    source = MapSource(maps=save(maps), annotations=annotations, side=32)
    with pytest.raises(UserError, match=r"with a comma\.npy' contains NaN or infinity; .*--allow-invalid"):
        score_folder(source, quiet=True)
    for normalization in ("min-max", "none"):
        if normalization == "none":
            source = dataclasses.replace(source, maps=save(unit_maps() | {IDS[2]: np.full((32, 32), value)}))
        allowed = dataclasses.replace(source, allow_invalid=True, normalization=normalization)
        hits, counts = score_folder(allowed, quiet=True)
        assert counts["invalid_maps"] == 1
        assert hits.maxima[2] == 0
        assert hits.maxima[[0, 1, 3, 4]].all()


def write_raw(content):
    return lambda path: path.write_bytes(content)


def write_array(values):
    return lambda path: np.save(path, values, allow_pickle=True)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-8])


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, map=np.eye(3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "cannot be read as a .npy file"),
        (write_raw(b""), "cannot be read as a .npy file"),
        (write_raw(b"\x93NUMPY"), "cannot be read as a .npy file"),
        (write_raw(b"0 1 2\n"), "cannot be read as a .npy file"),
        (write_array(np.array([[None, 1], [2, 3]])), "cannot be read as a .npy file"),
        (write_archive, "cannot be read as a .npy file"),
        (write_array(np.zeros((1, 8, 8))), r"holds float64 \(1, 8, 8\); expected one array of numbers \(h, w\)"),
        (write_array(np.zeros(64)), r"holds float64 \(64,\)"),
        (write_array(np.zeros((0, 8))), r"holds float64 \(0, 8\)"),
        (write_array(np.array([["a", "b"]])), r"holds <U1 \(1, 2\)"),
        (write_array(np.zeros((8, 8), dtype=np.complex64)), r"holds complex64 \(8, 8\)"),
        (write_array(np.full((8, 8), "2020-01-01", dtype="M8[D]")), r"holds datetime64\[D\] \(8, 8\)"),
        (write_array(np.array([[0, 2e300]])), r"contains NaN or infinity"),
    ],
)
def test_a_file_that_is_no_map_is_named(annotations, save, damage, message):
    folder = save(random_maps(IDS))
    damage(folder / "deep/er/d.jpg.npy")
    with pytest.raises(UserError, match=message) as caught:
        score_folder(MapSource(maps=folder, annotations=annotations, side=32), quiet=True)
    assert "d.jpg.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


def damaged_headers(count):
    """Return the bytes of a good map with one to three bytes of its header changed, and of made-up headers."""
    rng = np.random.default_rng(11)
    file = io.BytesIO()
    np.save(file, rng.random((8, 8)))
    good = file.getvalue()
    for _ in range(count):
        raw = bytearray(good)
        for position in rng.integers(0, good.index(b"}") + 1, rng.integers(1, 4)):
            raw[position] = rng.choice([rng.integers(256), *b"()[]{}'\\\n,:L#0-"])
        yield bytes(raw)
    form = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"
    made_up = ["(" * 9_000, "-" * 9_000 + "1", "{[]: 1}", "{1: 2, 'a': 3}", "'" + "x" * 9_000, "9" * 5_000, "\t1\n 2\n"]
    shapes = [f"({2**40}, 8)", f"({2**62}, 8)", f"({2**32}, {2**32})", f"({10**30}, 8)", "(-1, 8)"]
    made_up += [form.format("'<f8'", shape) for shape in [*shapes, "(-2, -4)", "(8.0, 8)", "8", "((8,), 8)"]]
    types = ["('<f8',)", "[1]", "None", "{}", "[('', '<f8', 'x')]", f"('<f8', ({2**31 - 1},))", "'O'", "'|S0'"]
    made_up += [form.format(kind, "(8, 8)") for kind in types]
    for header in made_up:
        raw = header.encode() + b"\n"
        yield b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + good[-512:]


def test_any_damage_of_a_header_is_refused_by_name(annotations, save):
    folder = save(random_maps(IDS[:1]))
    source = MapSource(maps=folder, annotations=take(annotations, 1), side=8)
    refused = total = 0
    for raw in damaged_headers(600):
        total += 1
        (folder / f"{IDS[0]}.npy").write_bytes(raw)
        try:
            score_folder(source, quiet=True)  # some damage leaves another valid header
        except UserError as error:
            refused += 1
            sentence = str(error)
            assert sentence.startswith(f"the map '{folder / IDS[0]}.npy' ")
            assert "\n" not in sentence
            assert len(sentence) < 400 + len(str(folder))
    assert refused > 0.8 * total


def test_a_missing_map_is_noticed_before_anything_is_scored(annotations, save):
    folder = save(random_maps(IDS))
    (folder / f"{IDS[2]}.npy").unlink()
    (folder / f"{IDS[4]}.npy").unlink()
    (folder / f"{IDS[0]}.npy").write_bytes(b"never read")
    source = MapSource(maps=folder, annotations=annotations, side=32)
    with pytest.raises(UserError, match=r"2 of 5 maps are missing in .*: 'photos/c, with a comma', 'é'; expected one"):
        evaluate(source, None, quiet=True)


def test_no_folder(annotations, tmp_path):
    with pytest.raises(UserError, match=r"nowhere' is no folder, \.npz or \.npy; expected a folder with <image"):
        evaluate(MapSource(maps=tmp_path / "nowhere", annotations=annotations, side=32), None, quiet=True)


def test_an_unknown_normalization(annotations, tmp_path):
    with pytest.raises(UserError, match="unknown --normalization 'ivr2'; did you mean 'ivr'"):
        MapSource(maps=tmp_path, annotations=annotations, side=32, normalization="ivr2")


# --- maps that are normalised already ---------------------------------------------------------------------------------


def unit_maps(peak=1.0):
    rng = np.random.default_rng(7)
    return {image: rng.random((4, 4)).repeat(8, axis=0).repeat(8, axis=1) * peak for image in IDS}


def test_unnormalised_maxima_reach_the_thresholds(oracle, annotations, save):
    maps = unit_maps(0.5)
    source = MapSource(maps=save(maps), annotations=annotations, side=32, normalization="none")
    hits, _ = score_folder(source, quiet=True)
    expected = [int(255 * values.max()) for values in maps.values()]
    assert hits.maxima.tolist() == expected
    assert max(expected) < 128
    scores = evaluate(source, None, quiet=True).scores
    counts = np.zeros((3, 1000), dtype=np.int64)
    for index, values in enumerate(maps.values()):
        truth = annotations.boxes[annotations.offsets[index] : annotations.offsets[index + 1]] * 32 // [50, 40, 50, 40]
        counts += oracle.hits_by_threshold(np.floor(255 * values).astype(np.uint8), truth, CRITERIA)
    for d, curve in zip((30, 50, 70), counts, strict=True):
        assert scores.metrics[f"max_box_acc_v2_iou{d}"] == 20 * curve.max()
        assert scores.thresholds[f"max_box_acc_v2_iou{d}"] == THRESHOLDS[curve.argmax()]


def test_constant_maps_are_zeros_without_normalisation_too(annotations, save):
    maps = unit_maps() | {IDS[0]: np.full((32, 32), 0.7), IDS[3]: np.ones((32, 32)), IDS[4]: np.zeros((32, 32))}
    source = MapSource(maps=save(maps), annotations=annotations, side=32, normalization="none")
    hits, counts = score_folder(source, quiet=True)
    assert counts["constant_maps"] == 3
    assert hits.maxima[[0, 3, 4]].tolist() == [0, 0, 0]
    assert hits.maxima[[1, 2]].all()
    dark = save(dict.fromkeys(IDS, np.zeros((32, 32))), "dark")
    zeros, _ = score_folder(dataclasses.replace(source, maps=dark), quiet=True)
    np.testing.assert_array_equal(hits.packed[[0, 3]], zeros.packed[[0, 3]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[:30], r"is \(30, 32\); --normalization none expects the evaluation size \(32, 32\)"),
        (lambda values: values * 2, r"has values from 0\.\d+ to 1\.\d+; --normalization none expects them in \[0, 1\]"),
        (lambda values: values - 0.5, r"has values from -0\.\d+ to 0\.\d+; --normalization none"),
    ],
)
def test_maps_that_are_not_normalised_after_all(annotations, save, change, message):
    maps = unit_maps()
    maps[IDS[1]] = change(maps[IDS[1]])
    source = MapSource(maps=save(maps), annotations=annotations, side=32, normalization="none")
    with pytest.raises(UserError, match=message) as caught:
        score_folder(source, quiet=True)
    assert "photos/b.npy'" in str(caught.value)


def test_a_result_is_plain_json(annotations, save):
    result = evaluate(MapSource(maps=save(random_maps(IDS)), annotations=annotations, side=32), None, True)
    body = dataclasses.asdict(dataclasses.replace(result, hits=None))
    assert json.loads(json.dumps(body, allow_nan=False)) == body
