"""The dataset interface: three splits, what training may see of them, and what only scoring may see.

Training receives an :class:`ImageSplit`, which has no way to reach a box. Scoring receives :class:`Annotations`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.errors import SealedError

SplitName = Literal["train-weaksup", "train-fullsup", "test"]
SPLITS: tuple[SplitName, ...] = ("train-weaksup", "train-fullsup", "test")

Ints = npt.NDArray[np.int64]


class _Seal:
    """Counts the open :func:`sealed_test` blocks of this process, for all threads: boxes are scored on workers."""

    blocks = 0


@contextmanager
def sealed_test() -> Iterator[None]:
    """Seal ``test``: inside the block nothing of it can be opened, by any dataset and in any thread of this process.

    Whatever is chosen inside cannot have looked at it (PROTOCOL: splits). Blocks may be nested.

    >>> with sealed_test():
    ...     refuse_sealed("test")
    Traceback (most recent call last):
    wsolbench.errors.SealedError: the split test is sealed while tuning; choose on train-fullsup
    """
    _Seal.blocks += 1
    try:
        yield
    finally:
        _Seal.blocks -= 1


def refuse_sealed(split: SplitName) -> None:
    """Raise SealedError for ``test`` inside :func:`sealed_test`; whatever hands out pictures or boxes calls it."""
    if split == "test" and _Seal.blocks:
        raise SealedError("the split test is sealed while tuning; choose on train-fullsup")


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSplit:
    """Images and class labels of one split, and nothing else.

    Attributes:
        name: the split.
        ids: N image ids, unique, in the order of everything else.
        labels: int64 (N,), class indices from 0.
        content_key: hash of what the pictures are made from (archive checksums, or sizes and times); the cache's key.
        read: returns picture i as a PIL image in mode RGB; raises :class:`~wsolbench.errors.UserError` naming the
            file if it is missing or damaged.
    """

    name: SplitName
    ids: tuple[str, ...]
    labels: Ints
    content_key: str
    read: Callable[[int], Image.Image]

    def __post_init__(self) -> None:
        refuse_sealed(self.name)
        assert self.labels.shape == (len(self.ids),)
        assert len(set(self.ids)) == len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Ints) -> "ImageSplit":
        """Return some of the images, in the order of the indices, int64 (n,)."""
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            labels=self.labels[indices],
            read=lambda index: self.read(int(indices[index])),
        )


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Where the masks of N images are: the names of files, which are read when they are needed.

    Attributes:
        root: folder that the names are relative to.
        objects: each image's object masks, at least one.
        ignored: each image's ignore mask; None where it has none.
        read: returns a file's bytes, from an archive say; None: they are files in the folder.
    """

    root: Path
    objects: tuple[tuple[str, ...], ...]
    ignored: tuple[str | None, ...]
    read: Callable[[str], bytes] | None = None

    def __post_init__(self) -> None:
        assert len(self.objects) == len(self.ignored)
        assert all(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    def names(self) -> list[str]:
        """Return the names of all files."""
        return [name for names in self.objects for name in names] + [name for name in self.ignored if name is not None]

    def select(self, indices: Iterable[int]) -> "Masks":
        """Return the masks of some images, in the order of the indices."""
        chosen = list(indices)
        return replace(
            self,
            objects=tuple(self.objects[index] for index in chosen),
            ignored=tuple(self.ignored[index] for index in chosen),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """Where the objects of one split are. Image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.

    A split with masks has no boxes at all.

    Attributes:
        split: the split.
        ids: N image ids.
        labels: int64 (N,), class indices from 0.
        sizes: int64 (N, 2), height and width of the original picture in pixels; 0 with masks, which need no size.
        boxes: int64 (M, 4), ``x0 y0 x1 y1``, inclusive pixels of the original picture.
        offsets: int64 (N + 1,), where each image's boxes start.
        masks: each image's masks; None for a split with boxes.
    """

    split: SplitName
    ids: tuple[str, ...]
    labels: Ints
    sizes: Ints
    boxes: Ints
    offsets: Ints
    masks: Masks | None = None

    def __post_init__(self) -> None:
        refuse_sealed(self.split)
        count = len(self.ids)
        assert self.labels.shape == (count,)
        assert self.sizes.shape == (count, 2)
        assert self.offsets.shape == (count + 1,)
        assert self.boxes.shape == (int(self.offsets[-1]), 4)
        if self.masks is None:
            assert bool((np.diff(self.offsets) > 0).all())
        else:
            assert len(self.boxes) == 0
            assert len(self.masks) == count

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Ints) -> "Annotations":
        """Return some of the images with what they have, in the order of the indices, int64 (n,), at least one."""
        counts = np.diff(self.offsets)[indices]
        boxes = [self.boxes[self.offsets[index] : self.offsets[index + 1]] for index in indices]
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            labels=self.labels[indices],
            sizes=self.sizes[indices],
            boxes=np.concatenate(boxes),
            offsets=np.concatenate(([0], np.cumsum(counts))),
            masks=None if self.masks is None else self.masks.select(indices.tolist()),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset(ABC):
    """A dataset with its three splits.

    Attributes:
        name: as on the command line, such as ``tiny-imagenet``.
        options: what was chosen beside the name (number of classes, say); recorded, part of a run's identity.
        class_names: K names, index = label.
        image_size: side of the evaluation size in pixels unless the user says otherwise.
        defaults: recipe fields whose default this dataset sets (epochs, say).
        headline: the slice of ``test`` whose V2 ranks the tables; empty: all test images.
    """

    name: str
    options: Mapping[str, int | float | str] = field(default_factory=dict)
    class_names: tuple[str, ...]
    image_size: int
    defaults: Mapping[str, Any] = field(default_factory=dict)
    headline: str = ""

    @abstractmethod
    def images(self, split: SplitName) -> ImageSplit:
        """Return the pictures and labels of a split."""

    def expected_images(self, split: SplitName) -> ImageSplit:
        """Return the pictures and labels of a split, also where files are missing: reading one of those raises.

        For looking at a dataset, never for training on it: what :meth:`images` refuses has no content key.
        """
        return self.images(split)

    @abstractmethod
    def _annotations(self, split: SplitName) -> Annotations:
        """Return the boxes of ``train-fullsup`` or ``test``."""

    def annotations(self, split: SplitName) -> Annotations:
        """Return the boxes of ``train-fullsup`` or ``test``.

        Raises:
            SealedError: for ``train-weaksup``, whose boxes do not exist for anyone here (PROTOCOL: splits), and for
                ``test`` inside :func:`sealed_test`.
        """
        refuse_sealed(split)  # here too: a dataset may keep annotations that were made before
        if split == "train-weaksup":
            raise SealedError("boxes of train-weaksup do not exist under the protocol")
        return self._annotations(split)

    def problems(self, splits: Sequence[SplitName]) -> list[str]:
        """Return what keeps numbers on these splits from being compared with published ones, a sentence each.

        A benchmark counts its images and looks for ids that splits share; other datasets have nothing to compare with.
        """
        return []

    def fingerprint(self, split: SplitName) -> str:
        """Return the hash of a split's ids, labels and (not for train-weaksup) annotations, 16 hex digits."""
        if split != "train-weaksup":
            return annotation_fingerprint(self.annotations(split))
        ids, labels = self._members(split)
        digest = _Digest()
        digest.texts(ids)
        digest.ints(labels)
        return digest.hex()

    def _members(self, split: SplitName) -> tuple[tuple[str, ...], Ints]:
        """Return the ids and labels of a split."""
        images = self.images(split)
        return images.ids, images.labels


def annotation_fingerprint(annotations: Annotations) -> str:
    """Return the hash of a split's ids, labels, sizes and boxes (or the names of its masks), 16 hex digits."""
    digest = _Digest()
    digest.texts(annotations.ids)
    for array in (annotations.labels, annotations.sizes, annotations.boxes, annotations.offsets):
        digest.ints(array)
    if annotations.masks is not None:
        for names in annotations.masks.objects:
            digest.texts(names)
        digest.texts(tuple(name or "" for name in annotations.masks.ignored))
    return digest.hex()


class _Digest:
    """SHA-256 over typed values, each preceded by its length so that no two contents collide by concatenation."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def texts(self, values: tuple[str, ...]) -> None:
        self._hash.update(len(values).to_bytes(8, "little"))
        for value in values:
            raw = value.encode()
            self._hash.update(len(raw).to_bytes(8, "little") + raw)

    def ints(self, values: Ints) -> None:
        self._hash.update(values.size.to_bytes(8, "little"))
        self._hash.update(np.ascontiguousarray(values, dtype="<i8").tobytes())

    def hex(self) -> str:
        return self._hash.hexdigest()[:16]
