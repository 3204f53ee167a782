"""``wsolbench data prepare``: the decoded caches that a run would make, made before the first run."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsolbench.data.cache import cached_images, missing_bytes
from wsolbench.data.decoded import NO_CACHE
from wsolbench.data.splits import Dataset, ImageSplit, SplitName
from wsolbench.errors import UserError
from wsolbench.files import nearest_existing
from wsolbench.recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class CachePart:
    """The cache of one split.

    Attributes:
        images: the split.
        side: height and width in pixels that its pictures are squashed to.
        missing: bytes that are not on the disk yet; 0: it is complete.
    """

    images: ImageSplit
    side: int
    missing: int

    @property
    def bytes(self) -> int:
        """How large it is when it is complete."""
        return len(self.images) * self.side * self.side * 3


def plan_caches(
    dataset: Dataset, splits: Sequence[SplitName], cache: Path, image_size: int | None = None
) -> list[CachePart]:
    """Find what a run of any method trained on labels would read: ``train-weaksup`` a bit larger, others as scored.

    Args:
        dataset: the dataset.
        splits: which of its splits.
        cache: folder of the decoded images; need not exist.
        image_size: side of the crop and of the evaluation size in pixels; None: the dataset's.

    Raises:
        UserError: a split cannot be opened or is empty, or the folder cannot be used or is none.
    """
    if cache == NO_CACHE:
        raise UserError(f"--cache {cache} keeps no decoded images, so there is nothing to prepare; name a folder")
    recipe = Recipe(image_size=dataset.image_size if image_size is None else image_size)
    parts = []
    for split in splits:
        images = dataset.images(split)
        if not len(images):
            raise UserError(
                f"{split} of {dataset.name} has no images; expected at least one, so leave it out (--split)"
            )
        side = recipe.resized_side if split == "train-weaksup" else recipe.image_size
        parts.append(CachePart(images=images, side=side, missing=missing_bytes(images, side, cache)))
    return parts


def free_bytes(folder: Path) -> int:
    """Return how much a folder's disk still takes; the folder need not exist."""
    return shutil.disk_usage(nearest_existing(folder)).free


def make_caches(parts: Sequence[CachePart], cache: Path, quiet: bool = False) -> None:
    """Decode what is missing; what was begun and interrupted goes on where it stopped.

    Args:
        parts: of the dataset.
        cache: folder of the decoded images.
        quiet: plain progress lines even on a terminal.

    Raises:
        UserError: a picture is missing or damaged, or the disk has no room; that is known before anything is decoded.
    """
    missing, free = sum(part.missing for part in parts), free_bytes(cache)
    if missing > free:
        raise UserError(
            f"the caches need {missing / 1e6:,.1f} MB more, and the disk of {cache} has {free / 1e6:,.1f} MB free; "
            "free some space, choose another folder with --cache, or fewer splits with --split"
        )
    for part in parts:
        if part.missing:
            cached_images(part.images, part.side, cache, quiet)
