"""The generated dataset ``parts``: a small part names the class, a large body hints at it, the clutter says nothing.

It costs no download and has what photographs lack, exact masks of part and body, so that where a map lies can be
measured. Variants: ``context`` paints the background of training images in the class's colour and texture (a random
class's in a tenth of them, and always on train-fullsup and test); ``no-body`` draws bodies whose hue and texture say
nothing about the class.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
from PIL import Image

from wsolbench.data.parts_canvas import Draws, Mask
from wsolbench.data.parts_render import MAX_CLASSES, Outline, Scene, outline, part_look, render
from wsolbench.data.splits import SPLITS, Annotations, Dataset, ImageSplit, Ints, SplitName, refuse_sealed
from wsolbench.errors import SealedError, UserError, unknown_name

Variant = Literal["", "context", "no-body"]
VARIANTS: tuple[Variant, ...] = ("", "context", "no-body")

_DRAWING = 1  # raise it when a picture changes: cached pictures are keyed by it
_MIN_SIZE = 32  # below, the smallest parts are under 4 pixels wide and rounding moves boxes out of 5 to 40 %
_CONTEXT = 4  # the stream that chooses the background's class


@dataclass(frozen=True, kw_only=True)
class PartsRecipe:
    """Everything that decides the pictures.

    Attributes:
        variant: ``""``, ``"context"`` or ``"no-body"``.
        seed: non-negative.
        classes: number of classes, 2 .. MAX_CLASSES.
        train: images of train-weaksup.
        fullsup: images of train-fullsup.
        test: images of test.
        size: side of the pictures in pixels.
    """

    variant: Variant = ""
    seed: int = 0
    classes: int = 8
    train: int = 3200
    fullsup: int = 400
    test: int = 1000
    size: int = 64

    def count(self, split: SplitName) -> int:
        """Return the number of images of a split."""
        return {"train-weaksup": self.train, "train-fullsup": self.fullsup, "test": self.test}[split]

    def scene(self, split: SplitName, index: int) -> Scene:
        """Return what image ``index`` of a split is drawn from; labels cycle through the classes."""
        assert 0 <= index < self.count(split)
        key = (self.seed, SPLITS.index(split), index)
        label = index % self.classes
        return Scene(
            key=key,
            label=label,
            classes=self.classes,
            size=self.size,
            body_evidence=self.variant != "no-body",
            context=self._context(key, label, split) if self.variant == "context" else None,
        )

    def _context(self, key: tuple[int, ...], label: int, split: SplitName) -> int:
        draws = Draws((*key, _CONTEXT))
        telling = draws.unit() < 0.9 and split == "train-weaksup"
        other = draws.below(self.classes)
        return label if telling else other


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts(Dataset):
    """The dataset of a recipe; pictures are drawn when they are read."""

    recipe: PartsRecipe

    def fingerprint(self, split: SplitName) -> str:
        """Return the hash of a split's ids, labels, annotations and the version of the drawing."""
        return hashlib.sha256(f"{super().fingerprint(split)} drawing {_DRAWING}".encode()).hexdigest()[:16]

    def images(self, split: SplitName) -> ImageSplit:
        """Return the pictures and labels of a split."""
        key = f"parts drawing {_DRAWING} {split} {self.recipe!r}"
        return ImageSplit(
            name=split,
            ids=_ids(self.recipe, split),
            labels=_labels(self.recipe, split),
            content_key=hashlib.sha256(key.encode()).hexdigest()[:16],
            read=partial(_read, self.recipe, split),
        )

    def _annotations(self, split: SplitName) -> Annotations:
        return _draw_annotations(self.recipe, split)


def open_parts(
    *,
    variant: Variant = "",
    seed: int = 0,
    classes: int = 8,
    train: int = 3200,
    fullsup: int = 400,
    test: int = 1000,
    size: int = 64,
) -> Parts:
    """Return the generated dataset ``parts``, ``parts/context`` or ``parts/no-body``.

    Args:
        variant: ``""``, ``"context"`` or ``"no-body"``.
        seed: seed of all pictures, not negative.
        classes: number of classes, 2 to MAX_CLASSES.
        train: images of train-weaksup, at least one a class.
        fullsup: images of train-fullsup, at least one.
        test: images of test, at least one.
        size: side of the pictures in pixels, at least 32.

    Raises:
        UserError: for a value outside its range.

    >>> dataset = open_parts(train=16, fullsup=4, test=4)
    >>> dataset.images("test").ids[0], dataset.class_names[0]
    ('test-00000', 'yellow cross on red')
    """
    if variant not in VARIANTS:
        raise unknown_name("variant of parts", variant, VARIANTS)
    values = {"seed": seed, "classes": classes, "train": train, "fullsup": fullsup, "test": test, "size": size}
    lowest = {"seed": 0, "classes": 2, "train": classes, "fullsup": 1, "test": 1, "size": _MIN_SIZE}
    for name, value in values.items():
        if value < lowest[name]:
            raise UserError(f"{name} of the dataset parts is {value}; expected at least {lowest[name]}")
    if classes > MAX_CLASSES:
        raise UserError(f"classes of the dataset parts is {classes}; expected at most {MAX_CLASSES}")
    recipe = PartsRecipe(
        variant=variant, seed=seed, classes=classes, train=train, fullsup=fullsup, test=test, size=size
    )
    standard = PartsRecipe()
    return Parts(
        name=f"parts/{variant}" if variant else "parts",
        options={name: value for name, value in values.items() if value != getattr(standard, name)},
        class_names=tuple(str(part_look(label)) for label in range(classes)),
        image_size=size,
        defaults={"epochs": 5, "lr": 0.02, "lr_decay_every": 2, "feature_map": 4},
        recipe=recipe,
    )


def masks(dataset: Dataset, split: SplitName, index: int) -> tuple[Mask, Mask]:
    """Return where the part and the visible body of an image are.

    Args:
        dataset: made by :func:`open_parts`.
        split: ``train-fullsup`` or ``test``.
        index: of the image in the split.

    Returns:
        Part and body, each bool (size, size); they do not overlap.

    Raises:
        SealedError: for ``train-weaksup``, and for ``test`` while tuning.
        UserError: if the dataset is another one.
    """
    refuse_sealed(split)
    if split == "train-weaksup":
        raise SealedError("masks of train-weaksup do not exist under the protocol")
    if not isinstance(dataset, Parts):
        raise UserError(f"the dataset {dataset.name} has no masks of part and body; expected parts")
    found = _outline(dataset.recipe, split, index)
    return found.part, found.body


def _ids(recipe: PartsRecipe, split: SplitName) -> tuple[str, ...]:
    return tuple(f"{split}-{index:05d}" for index in range(recipe.count(split)))


def _labels(recipe: PartsRecipe, split: SplitName) -> Ints:
    return np.arange(recipe.count(split), dtype=np.int64) % recipe.classes


def _read(recipe: PartsRecipe, split: SplitName, index: int) -> Image.Image:
    return Image.fromarray(render(recipe.scene(split, index)))


def _outline(recipe: PartsRecipe, split: SplitName, index: int) -> Outline:
    return outline(recipe.scene(split, index))


@lru_cache(maxsize=8)
def _draw_annotations(recipe: PartsRecipe, split: SplitName) -> Annotations:
    count = recipe.count(split)
    boxes = [_outline(recipe, split, index).box for index in range(count)]
    return Annotations(
        split=split,
        ids=_ids(recipe, split),
        labels=_labels(recipe, split),
        sizes=np.full((count, 2), recipe.size, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.int64),
        offsets=np.arange(count + 1, dtype=np.int64),
    )
