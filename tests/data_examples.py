"""A dataset made by hand, whose every fault is chosen by the test that makes it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from wsolbench.data.splits import SPLITS, Annotations, Dataset, ImageSplit, Masks
from wsolbench.errors import UserError

SIZE = (40, 50)  # height, width


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@dataclass(kw_only=True, eq=False)
class MadeSplit:
    """Pictures (or the error that reading one raises), ids, labels, and boxes by image."""

    pictures: list[Any]
    ids: list[str]
    labels: list[int]
    boxes: list[list[tuple[int, int, int, int]]]
    sizes: list[tuple[int, int]]
    masks: Masks | None = None


def made_split(name: str, count: int = 4, classes: int = 2) -> MadeSplit:
    start = 1000 * SPLITS.index(name)
    return MadeSplit(
        pictures=[picture(start + index) for index in range(count)],
        ids=[f"{name}/{index}.jpg" for index in range(count)],
        labels=[index % classes for index in range(count)],
        boxes=[[(5, 4, 30, 20)] for _ in range(count)],
        sizes=[SIZE] * count,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MadeDataset(Dataset):
    """Hands out what a test put into ``splits``; an error in place of a split is raised when it is opened."""

    splits: dict[str, Any]
    refused_annotations: dict[str, UserError] = field(default_factory=dict)
    objections: list[Any] = field(default_factory=list)

    def problems(self, splits):
        for each in self.objections:
            if isinstance(each, UserError):
                raise each
        return self.objections

    def images(self, split):
        made = self.splits[split]
        if isinstance(made, UserError):
            raise made

        def read(index):
            found = made.pictures[index]
            if isinstance(found, Exception):
                raise found
            return found

        labels = np.array(made.labels, dtype=np.int64)
        return ImageSplit(name=split, ids=tuple(made.ids), labels=labels, content_key=split, read=read)

    def _annotations(self, split):
        assert split != "train-weaksup"
        if split in self.refused_annotations:
            raise self.refused_annotations[split]
        made = self.splits[split]
        boxes = [] if made.masks is not None else [box for boxes in made.boxes for box in boxes]
        counts = [0] * len(made.ids) if made.masks is not None else [len(boxes) for boxes in made.boxes]
        return Annotations(
            split=split,
            ids=tuple(made.ids),
            labels=np.array(made.labels, dtype=np.int64),
            sizes=np.array(made.sizes, dtype=np.int64).reshape(-1, 2),
            boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            masks=made.masks,
        )


def made_dataset(name: str = "made", **changes: Any) -> MadeDataset:
    """Return a dataset without a fault: two classes, four pictures a split."""
    splits = {split: made_split(split) for split in SPLITS}
    given = {"class_names": ("cat", "dog"), "image_size": 32, "splits": splits} | changes
    return MadeDataset(name=name, **given)
