"""What a run may learn from: the labels of train-weaksup, or, for a method that says so, boxes of train-fullsup.

The one place where boxes are turned into something to train on. What is trained on is never scored: of train-fullsup a
fixed part is held out, and frozen thresholds are chosen on that part alone (docs/decisions/0006).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.masks import read_masks
from wsolbench.data.splits import Annotations, Dataset, ImageSplit, Ints, SplitName
from wsolbench.errors import UserError
from wsolbench.scoring import scaled_boxes

Bytes = npt.NDArray[np.uint8]

ONE_IN = 5
"""One image in five of each class of train-fullsup is held out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
    """Which images a run trains on, and which it is scored on.

    Attributes:
        dataset: the whole dataset.
        train: the pictures and labels to train on.
        boxes: where the objects of ``train`` are; None for a method that is trained on labels.
        held_out: int64 (n,), the images of train-fullsup that are scored; None: all of them.
    """

    dataset: Dataset
    train: ImageSplit
    boxes: Annotations | None = None
    held_out: Ints | None = None

    def images(self, split: SplitName) -> ImageSplit:
        """Return the pictures of a scored split."""
        images = self.dataset.images(split)
        return images if self._whole(split) else images.select(self.held_out)  # type: ignore[arg-type]

    def annotations(self, split: SplitName) -> Annotations:
        """Return the boxes of a scored split."""
        annotations = self.dataset.annotations(split)
        return annotations if self._whole(split) else annotations.select(self.held_out)  # type: ignore[arg-type]

    def _whole(self, split: SplitName) -> bool:
        return self.held_out is None or split != "train-fullsup"

    @property
    def epoch_images(self) -> int:
        """How many images make an epoch: always those of train-weaksup, so that equal recipes take equal steps."""
        return len(self.dataset.images("train-weaksup"))

    @property
    def identity(self) -> dict[str, Any] | None:
        """What a run's identity says about it; None where only labels are used."""
        if self.held_out is None:
            return None
        return {
            "kind": "masks",
            "train_images": len(self.train),
            "threshold_images": len(self.held_out),
            "held_out": f"one in {ONE_IN} of each class",
            "epoch": "as many steps as on train-weaksup",
        }


def refuse_partial(dataset: Dataset, splits: Sequence[SplitName], *, allowed: bool) -> None:
    """Refuse splits that are not the benchmark's, or warn of them on standard error.

    Args:
        dataset: the dataset.
        splits: those to look at.
        allowed: warn instead.

    Raises:
        UserError: a split has another number of images than the benchmark's, or shares images with another.
    """
    for problem in dataset.problems(splits):
        if not allowed:
            raise UserError(
                f"{problem}; numbers on other images do not compare, so complete the data, or go on with "
                "--allow-partial"
            )
        sys.stderr.write(f"warning: {problem}; the numbers do not compare with published ones\n")


def divide(dataset: Dataset, supervision: str) -> Division:
    """Decide what a run trains on and is scored on.

    Args:
        dataset: the dataset.
        supervision: the method's, ``labels`` or ``masks``.

    Raises:
        UserError: neither of the two; or ``masks``, and train-fullsup has no class with two images, one to train on
            and one to hold out.
    """
    if supervision == "labels":
        return Division(dataset=dataset, train=dataset.images("train-weaksup"))
    if supervision != "masks":  # a slip of the pen gets no boxes
        raise UserError(f"a method's supervision is '{supervision}'; expected 'labels' or 'masks'; correct its class")
    images = dataset.images("train-fullsup")
    held = hold_out(images.labels)
    if not held.any():
        raise UserError(
            f"train-fullsup of {dataset.name} has {len(images)} images and no class with two of them; a method that "
            "trains on boxes needs one to train on and one to choose thresholds on, so take more images a class"
        )
    kept = np.flatnonzero(~held)
    return Division(
        dataset=dataset,
        train=images.select(kept),
        boxes=dataset.annotations("train-fullsup").select(kept),
        held_out=np.flatnonzero(held),
    )


def hold_out(labels: Ints) -> npt.NDArray[np.bool_]:
    """Choose the images that are not trained on: every fifth of a class, in the split's order.

    Of a class with two to four images it is the last one; a class with one image is trained on.

    Args:
        labels: int64 (N,).

    Returns:
        bool (N,).

    >>> hold_out(np.array([0, 1, 0, 2, 0, 1, 0, 0, 0])).astype(int).tolist()
    [0, 0, 0, 0, 0, 1, 0, 1, 0]
    """
    counts = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    place = np.empty_like(labels)  # of each image within its class, from 1
    place[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    size = counts[labels]
    held: npt.NDArray[np.bool_] = np.where(size < ONE_IN, (place == size) & (size > 1), place % ONE_IN == 0)
    return held


def with_masks(pictures: Bytes, boxes: Annotations) -> Bytes:
    """Give pictures a fourth channel, the mask of their boxes or their masks themselves.

    Args:
        pictures: uint8 (N, R, R, 3).
        boxes: where their objects are; boxes are scaled to R as the protocol scales them and cut at the border, masks
            are resized as it resizes them.

    Returns:
        uint8 (N, R, R, 4), the mask being 255 inside an object and 0 elsewhere.
    """
    count, side = pictures.shape[:2]
    assert count == len(boxes)
    drawn = np.zeros((count, side, side, 4), dtype=np.uint8)
    drawn[..., :3] = pictures
    if boxes.masks is not None:
        for position in range(count):
            drawn[position, ..., 3] = 255 * read_masks(boxes.masks, position, (side, side))[0]
        return drawn
    image = np.repeat(np.arange(count), np.diff(boxes.offsets))
    for index, (x0, y0, x1, y1) in zip(image, np.maximum(scaled_boxes(boxes, side), 0), strict=True):
        drawn[index, y0 : y1 + 1, x0 : x1 + 1, 3] = 255
    return drawn
