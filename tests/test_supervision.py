"""What a run may learn from: which images of train-fullsup are held out, and masks drawn from boxes."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from wsolbench.data.augment import augment, draw_augmentation
from wsolbench.data.listed import Listed, mask_annotations
from wsolbench.data.masks import read_masks
from wsolbench.data.parts import open_parts
from wsolbench.data.splits import SPLITS, ImageSplit, Masks
from wsolbench.errors import SealedError, UserError
from wsolbench.supervision import divide, hold_out, refuse_partial, with_masks


@pytest.mark.parametrize(
    ("count", "held"),
    [(1, []), (2, [1]), (3, [2]), (4, [3]), (5, [4]), (6, [4]), (9, [4]), (10, [4, 9]), (16, [4, 9, 14])],
)
def test_every_fifth_image_of_a_class_is_held_out(count, held):
    assert np.flatnonzero(hold_out(np.zeros(count, dtype=np.int64))).tolist() == held


def test_classes_are_counted_apart_in_the_splits_order():
    labels = np.random.default_rng(0).integers(0, 7, 200)
    held = hold_out(labels)
    for label in range(7):
        alone = hold_out(np.full((labels == label).sum(), label))
        assert held[labels == label].tolist() == alone.tolist()
    assert 0.15 < held.mean() < 0.2


def test_a_method_trained_on_labels_gets_the_whole_splits_and_no_box(make_dataset):
    dataset = make_dataset({"train-fullsup": [[(0, 0, 5, 5)]] * 9, "test": [[(1, 1, 2, 2)]] * 3})
    dataset = seal(dataset)
    division = divide(dataset, "labels")
    assert division.boxes is None
    assert division.identity is None
    assert division.train.name == "train-weaksup"
    assert len(division.annotations("train-fullsup")) == len(division.images("train-fullsup")) == 9


def seal(dataset):
    """Return a dataset that gives the pictures of train-weaksup, whose boxes nobody may ask for."""
    whole = type(dataset).images

    class Sealed(type(dataset)):
        def images(self, split):
            if split == "train-weaksup":
                ids = tuple(f"weak/{index}" for index in range(40))
                return ImageSplit(name=split, ids=ids, labels=np.arange(40) % 2, content_key="", read=None)
            return whole(self, split)

    sealed = Sealed(**{field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)})
    for name in ("boxes", "sizes"):
        object.__setattr__(sealed, name, getattr(dataset, name))
    return sealed


def test_what_is_trained_on_is_not_scored(make_dataset):
    boxes = [[(index, 0, index + 5, 5)] * (1 + index % 3) for index in range(12)]
    dataset = seal(make_dataset({"train-fullsup": boxes, "test": [[(1, 1, 2, 2)]] * 3}, classes=2))
    division = divide(dataset, "masks")  # two classes of six: the fifth of each is held out
    whole = dataset.annotations("train-fullsup")
    assert division.images("train-fullsup").ids == division.annotations("train-fullsup").ids
    assert [whole.ids.index(image) for image in division.images("train-fullsup").ids] == [8, 9]
    assert division.train.ids == division.boxes.ids
    assert set(division.train.ids) | set(division.images("train-fullsup").ids) == set(whole.ids)
    assert not set(division.train.ids) & set(division.images("train-fullsup").ids)
    assert division.images("test").ids == dataset.images("test").ids
    assert division.epoch_images == 40
    assert division.identity == {
        "kind": "masks",
        "train_images": 10,
        "threshold_images": 2,
        "held_out": "one in 5 of each class",
        "epoch": "as many steps as on train-weaksup",
    }
    kept = division.annotations("train-fullsup")
    assert kept.boxes.tolist() == [[8, 0, 13, 5]] * 3 + [[9, 0, 14, 5]]
    assert kept.offsets.tolist() == [0, 3, 4]
    assert kept.labels.tolist() == [0, 1]
    with pytest.raises(SealedError):
        division.annotations("train-weaksup")


def test_a_split_without_two_images_of_a_class_is_refused():
    dataset = open_parts(train=8, fullsup=4, test=4)  # labels 0 to 3
    with pytest.raises(UserError, match=r"train-fullsup of parts has 4 images and no class with two of them; .* needs"):
        divide(dataset, "masks")


def test_only_the_word_masks_opens_the_boxes(make_dataset):
    dataset = make_dataset({"train-fullsup": [[(0, 0, 5, 5)]] * 9})
    with pytest.raises(UserError, match="supervision is 'mask'; expected 'labels' or 'masks'"):
        divide(dataset, "mask")


def test_selected_pictures_are_those_of_the_split():
    def read(index):
        return Image.new("RGB", (1, 1), (index, 0, 0))

    labels = np.array([5, 6, 7, 8])
    split = ImageSplit(name="test", ids=("a", "b", "c", "d"), labels=labels, content_key="key", read=read)
    part = split.select(np.array([3, 1]))
    assert (part.ids, part.labels.tolist(), part.content_key) == (("d", "b"), [8, 6], "key")
    assert [part.read(index).getpixel((0, 0))[0] for index in (0, 1)] == [3, 1]


def test_masks_by_hand(make_dataset):
    # Pictures of 8x4 pixels (width x height) drawn at 4x4: x is halved, y stays.
    boxes = [[(2, 1, 5, 2)], [(0, 0, 0, 0), (6, 3, 7, 3)], [(-4, -2, 1, 0), (5, 2, 30, 9)]]
    annotations = make_dataset({"train-fullsup": boxes}, size=(4, 8)).annotations("train-fullsup")
    pictures = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    before = pictures.copy()
    result = with_masks(pictures, annotations)
    assert result.dtype == np.uint8
    assert (result[..., :3] == before).all()
    assert (pictures == before).all()
    assert (result[..., 3] // 255).tolist() == [
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]],
    ]
    assert set(np.unique(result[..., 3])) == {0, 255}


def test_crop_and_flip_move_the_mask_with_its_picture(make_dataset):
    # The picture is white where the mask is, so they must agree after any augmentation.
    boxes = [[(index, 2, index + 6, 9)] for index in range(8)]
    annotations = make_dataset({"train-fullsup": boxes}, size=(16, 16)).annotations("train-fullsup")
    blank = with_masks(np.zeros((8, 16, 16, 3), dtype=np.uint8), annotations)
    pictures = with_masks(np.repeat(blank[..., 3:], 3, axis=3), annotations)
    draws = draw_augmentation(8, 16, 11, torch.Generator().manual_seed(0))
    assert 0 < draws.flip.sum() < 8
    result = augment(torch.from_numpy(pictures), draws, 11)
    assert set(result[:, 3].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(result[:, 0] > 0, result[:, 3] == 1)
    plain = augment(torch.from_numpy(pictures[..., :3].copy()), draws, 11)
    assert torch.equal(result[:, :3], plain)


def test_masks_are_drawn_as_they_are_scored(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray((rng.random((9, 13)) < 0.5).astype(np.uint8) * 255).save(tmp_path / f"{index}.png")
    masks = Masks(root=tmp_path, objects=(("0.png", "1.png"), ("1.png",)), ignored=("0.png", None))
    annotations = mask_annotations("train-fullsup", Listed(("a", "b"), np.array([0, 1])), masks)
    pictures = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    drawn = with_masks(pictures, annotations)
    assert np.array_equal(drawn[..., :3], pictures)
    for index in range(2):
        assert np.array_equal(drawn[index, ..., 3], 255 * read_masks(masks, index, (20, 20))[0])


def test_a_partial_benchmark_is_refused_or_said(make_dataset, capsys, monkeypatch):
    dataset = make_dataset({"test": [[(0, 0, 5, 5)]] * 3})
    refuse_partial(dataset, SPLITS, allowed=False)  # no benchmark: nothing to compare with
    monkeypatch.setattr(type(dataset), "problems", lambda self, splits: [f"{split} is odd" for split in splits])
    with pytest.raises(
        UserError, match="train-weaksup is odd; numbers on other images do not compare, .*--allow-partial"
    ):
        refuse_partial(dataset, SPLITS, allowed=False)
    refuse_partial(dataset, SPLITS[1:], allowed=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: train-fullsup is odd; the numbers do not compare with published ones"
    assert len(lines) == 2
