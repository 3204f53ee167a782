"""The generated dataset: exact boxes and masks, the same bytes everywhere, evidence only where it should be."""

import hashlib
import pickle

import numpy as np
import pytest

from wsolbench.data.parts import Parts, masks, open_parts
from wsolbench.data.parts_canvas import Draws, Shape, hue_colour
from wsolbench.data.parts_render import GLYPHS, MAX_CLASSES, PALETTE, Scene, outline, part_look, render
from wsolbench.data.splits import SPLITS
from wsolbench.errors import SealedError, UserError
from wsolbench.protocols import (
    CRITERIA,
    BoxHits,
    SplitScores,
    ceiling_map,
    center_map,
    level_hits_batch,
    prepare,
    score,
)

VARIANTS = ("", "context", "no-body")

# Computed once, when the drawing was accepted. A change here is a new dataset: raise parts._DRAWING with it.
GOLDEN = {
    "": "5b35508f004fe5f9961a4ccb29c98523354a7d8133e7e82d7efd202e794d6ffd",
    "context": "25e5f0cff23622a3efafeb5445124101e7a2f5427db9e84638bb062d0bcb0ccc",
    "no-body": "5ecc15eb36e76ad78da237338e0dee9151f599948171800c582ac01f38c314f9",
}


def pixels(dataset: Parts, split: str, index: int) -> np.ndarray:
    return np.asarray(dataset.images(split).read(index))


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and every pixel that touches it."""
    wide = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([wide[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)


def test_default_sizes_and_balance() -> None:
    dataset = open_parts()
    assert [len(dataset.images(split)) for split in SPLITS] == [3200, 400, 1000]
    assert (dataset.name, dataset.image_size, dict(dataset.options)) == ("parts", 64, {})
    assert dataset.defaults["feature_map"] == 4
    for split in SPLITS:
        counts = np.bincount(dataset.images(split).labels, minlength=8)
        assert counts.max() - counts.min() == 0
    assert pixels(dataset, "train-weaksup", 3199).shape == (64, 64, 3)


def test_ids_differ_across_splits() -> None:
    dataset = open_parts(train=20, fullsup=20, test=20)
    ids = [name for split in SPLITS for name in dataset.images(split).ids]
    assert len(set(ids)) == 60


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_bytes_are_the_accepted_ones(variant: str) -> None:
    dataset = open_parts(variant=variant)
    digest = hashlib.sha256()
    for index in range(24):
        digest.update(pixels(dataset, "train-weaksup", index).tobytes())
        digest.update(pixels(dataset, "test", index).tobytes())
        for mask in masks(dataset, "test", index):
            digest.update(np.packbits(mask).tobytes())
    assert digest.hexdigest() == GOLDEN[variant]


def test_a_split_is_the_same_wherever_it_is_drawn_from() -> None:
    one, other = open_parts(train=40, test=12), open_parts(test=30)
    read = pickle.loads(pickle.dumps(one.images("test").read))
    for index in (11, 3, 3):
        expected = pixels(other, "test", index)
        assert (np.asarray(read(index)) == expected).all()
    assert (one.annotations("test").boxes == other.annotations("test").boxes[:12]).all()
    assert (pixels(one, "test", 0) != pixels(one, "train-weaksup", 0)).mean() > 0.5
    assert (pixels(one, "test", 0) != pixels(open_parts(seed=1), "test", 0)).mean() > 0.5


def test_boxes_are_the_exact_extent_of_the_masks() -> None:
    dataset = open_parts(test=200)
    boxes = dataset.annotations("test").boxes
    for index, box in enumerate(boxes.tolist()):
        part, body = masks(dataset, "test", index)
        assert not (part & body).any()
        rows, columns = np.nonzero(part | body)
        assert box == [columns.min(), rows.min(), columns.max(), rows.max()]


@pytest.mark.parametrize(("size", "seed"), [(64, 0), (64, 1), (32, 0), (100, 2)])
def test_objects_cover_5_to_40_percent_and_lie_inside(size: int, seed: int) -> None:
    boxes = open_parts(size=size, seed=seed).annotations("test").boxes
    cover = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1) / size**2
    assert 0.05 <= cover.min() < 0.08
    assert 0.34 < cover.max() <= 0.40
    assert boxes.min() >= 0
    assert boxes[:, 2:].max() < size
    assert boxes[:, :2].min() <= size // 16  # anywhere, up to the edge
    assert boxes[:, 2:].max() >= size - 1 - size // 16


def test_parts_are_small_but_visible_and_bodies_large() -> None:
    dataset = open_parts(test=200)
    areas = np.array([[mask.sum() for mask in masks(dataset, "test", index)] for index in range(200)])
    assert areas[:, 0].min() >= 20
    share = areas[:, 0] / areas.sum(1)
    assert share.min() > 0.08
    assert share.max() < 0.35


def v2(raw: np.ndarray, dataset: Parts) -> float:
    truth = dataset.annotations("test")
    maps = prepare(raw, (64, 64)).maps
    bits = level_hits_batch(maps, truth.boxes, truth.offsets, CRITERIA)
    hits = BoxHits.from_levels(bits, maps.max(axis=(1, 2)), CRITERIA)
    return score(SplitScores(hits=hits), None).metrics["max_box_acc_v2"]


def test_null_rows_leave_room_for_methods() -> None:
    dataset = open_parts()
    centred = np.repeat(center_map((64, 64))[None], 1000, axis=0)
    assert v2(centred, dataset) <= 30
    boxes = dataset.annotations("test").boxes
    drawn = np.stack([ceiling_map(box[None], (64, 64), (16, 16)) for box in boxes])
    assert v2(drawn, dataset) >= 95


@pytest.mark.parametrize("index", range(6))
def test_the_background_is_the_same_whatever_the_class(index: int) -> None:
    scenes = [Scene(key=(0, 2, index), label=label, classes=8, size=64) for label in (0, 3, 7)]
    shape = outline(scenes[0])
    outside = ~grown(shape.part | shape.body)
    first, *others = (render(scene) for scene in scenes)
    for scene, picture in zip(scenes[1:], others, strict=True):
        assert outline(scene).box == shape.box
        assert (picture[outside] == first[outside]).all()
        assert (picture[shape.part] != first[shape.part]).mean() > 0.3
        assert (picture[shape.body] != first[shape.body]).mean() > 0.3


def test_no_body_draws_the_same_body_for_every_class() -> None:
    for index in range(6):
        scenes = [Scene(key=(0, 2, index), label=k, classes=8, size=64, body_evidence=False) for k in (1, 6)]
        shape = outline(scenes[0])
        first, second = map(render, scenes)
        assert (first[~grown(shape.part)] == second[~grown(shape.part)]).all()
        assert (first[shape.part] != second[shape.part]).any()


def hue_of(colour: np.ndarray) -> float:
    """The hue in turns of an RGB colour, by the textbook's case distinction."""
    high, low = colour.max(), colour.min()
    red, green, blue = colour / (high - low)
    if colour.argmax() == 0:
        return (green - blue) / 6 % 1
    return ((2 + blue - red) if colour.argmax() == 1 else (4 + red - green)) / 6


@pytest.mark.parametrize(("variant", "low", "high"), [("", 0.45, 0.75), ("no-body", 0.05, 0.2)])
def test_the_body_hints_at_the_class_without_telling_it(variant: str, low: float, high: float) -> None:
    dataset = open_parts(variant=variant, fullsup=320)
    labels = dataset.images("train-fullsup").labels
    right = 0
    for index, label in enumerate(labels):
        body = masks(dataset, "train-fullsup", index)[1]
        hue = hue_of(pixels(dataset, "train-fullsup", index)[body].mean(0))
        right += int(hue * 8 + 0.5) % 8 == label
    assert low < right / len(labels) < high


def context_hits(dataset: Parts, split: str) -> float:
    images = dataset.images(split)
    corners = [np.asarray(images.read(i))[[0, 0, -1, -1], [0, -1, 0, -1]].astype(float) for i in range(240)]
    guesses = [np.median([int(hue_of(c) * 8 + 0.5) % 8 for c in four]) for four in corners]
    return float(np.mean(guesses == images.labels[:240]))


def test_context_tells_the_class_in_training_only() -> None:
    dataset = open_parts(variant="context")
    assert context_hits(dataset, "train-weaksup") > 0.7
    assert context_hits(dataset, "train-fullsup") < 0.25
    assert context_hits(dataset, "test") < 0.25
    told = [
        dataset.recipe.scene("train-weaksup", i).context == dataset.recipe.scene("train-weaksup", i).label
        for i in range(3200)
    ]
    assert 0.89 < np.mean(told) < 0.93  # nine in ten, and an eighth of the rest by chance


def test_variants_share_pose_and_annotations() -> None:
    plain, *others = (open_parts(variant=variant, test=30) for variant in VARIANTS)
    for other in others:
        assert other.fingerprint("test") == plain.fingerprint("test")
        assert other.images("test").content_key != plain.images("test").content_key
    context = pixels(others[0], "test", 5)
    part, body = masks(plain, "test", 5)
    assert (context[part] == pixels(plain, "test", 5)[part]).mean() > 0.7
    assert (context[~grown(part | body)] == pixels(plain, "test", 5)[~grown(part | body)]).mean() < 0.3


def test_parts_of_a_thousand_classes_differ() -> None:
    looks = {part_look(label) for label in range(MAX_CLASSES)}
    assert len(looks) == MAX_CLASSES >= 1000
    assert all(look.ink != look.plate for look in looks)
    names = open_parts(classes=1000, train=1000).class_names
    assert len(set(names)) == 1000


def test_no_glyph_is_a_turned_or_mirrored_other() -> None:
    axis = (np.arange(48) + 0.5) / 24 - 1
    u, v = np.broadcast_arrays(axis[None, :], axis[:, None])
    disc = u * u + v * v <= 0.77
    turns = [(1.0, 0.0), (0.8, 0.6), (0.6, 0.8), (0.28, 0.96), (0.96, 0.28)]
    turns += [(-sin, cos) for cos, sin in turns]
    turns += [(-cos, -sin) for cos, sin in turns]
    drawn = {
        name: [(glyph(c * u + s * v, side * (c * v - s * u)) & disc) for c, s in turns for side in (1, -1)]
        for name, glyph in GLYPHS.items()
    }
    for name, views in drawn.items():
        for other, others in drawn.items():
            if other > name:
                nearest = min((views[0] ^ view).sum() / disc.sum() for view in others)
                assert nearest > 0.06, (name, other)


def test_colours_of_the_palette_are_far_apart() -> None:
    colours = np.array(list(PALETTE.values()))
    gaps = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.eye(len(colours))
    assert gaps.min() > 0.3


@pytest.mark.parametrize(
    ("hue", "expected"), [(0, (1, 0, 0)), (1 / 6, (1, 1, 0)), (-1 / 3, (0, 0, 1)), (2.5, (0, 1, 1))]
)
def test_hue_colour(hue: float, expected: tuple[int, int, int]) -> None:
    assert hue_colour(hue, 1.0, 1.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("corner", [-1.0, 0.0, 0.04, 0.1])
def test_a_shape_touches_its_bounding_box_and_stays_inside(corner: float) -> None:
    shape = Shape(0.5, 0.5, 0.3, 0.15, corner, 0.8, 0.6)
    axis = (np.arange(2000) + 0.5) / 2000
    x, y = (axis - 0.5)[None, :], (axis - 0.5)[:, None]
    inside = shape.depth((0.8 * x + 0.6 * y) / 0.3, (0.8 * y - 0.6 * x) / 0.15) <= 1
    half_w, half_h = shape.half_extent()
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    assert axis[columns[-1]] - 0.5 == pytest.approx(half_w, abs=0.002)
    assert axis[rows[-1]] - 0.5 == pytest.approx(half_h, abs=0.002)


def test_draws_are_uniform_and_turns_lie_on_the_circle() -> None:
    draws = Draws((1, 2))
    assert np.histogram([draws.unit() for _ in range(4000)], 4, (0, 1))[0].min() > 900
    assert {draws.below(3) for _ in range(100)} == {0, 1, 2}
    turns = np.array([draws.turn() for _ in range(500)])
    assert np.hypot(*turns.T) == pytest.approx(np.ones(500))
    assert len({(x > 0, y > 0) for x, y in turns}) == 4
    noise = draws.noise((3, 50, 50), 6)
    assert (noise.min(), noise.max()) == (-6, 6)
    assert abs(noise.mean()) < 0.3


def test_boxes_and_masks_of_training_images_are_sealed() -> None:
    dataset = open_parts(train=16)
    with pytest.raises(SealedError):
        dataset.annotations("train-weaksup")
    with pytest.raises(SealedError):
        masks(dataset, "train-weaksup", 0)


def test_options_record_what_differs_and_the_cache_key_changes() -> None:
    dataset = open_parts(classes=3, size=48, fullsup=6, test=6)
    assert dict(dataset.options) == {"classes": 3, "size": 48, "fullsup": 6, "test": 6}
    keys = {
        open_parts(**options).images("test").content_key
        for options in ({}, {"seed": 1}, {"classes": 9}, {"size": 48}, {"variant": "context"})
    }
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 1}, "classes .* is 1; expected at least 2"),
        ({"classes": MAX_CLASSES + 1, "train": 5000}, "expected at most 1080"),
        ({"train": 7}, "train .* is 7; expected at least 8"),
        ({"test": 0}, "test .* is 0; expected at least 1"),
        ({"size": 16}, "size .* expected at least 32"),
        ({"seed": -1}, "seed .* expected at least 0"),
        ({"variant": "contxt"}, "did you mean 'context'"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, int | str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_parts(**options)
