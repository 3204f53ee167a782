"""The dataset interface: three splits, what training may see of them, and what only scoring may see.

Training receives an :class:`ImageSplit`, which has no way to reach a box. Scoring receives :class:`Annotations`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.errors import SealedError

SplitName = Literal["train-weaksup", "train-fullsup", "test"]
SPLITS: tuple[SplitName, ...] = ("train-weaksup", "train-fullsup", "test")

Ints = npt.NDArray[np.int64]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """Where the objects of one split are. Image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.

    Attributes:
        split: the split.
        ids: N image ids.
        labels: int64 (N,), class indices from 0.
        sizes: int64 (N, 2), height and width of the original picture in pixels.
        boxes: int64 (M, 4), ``x0 y0 x1 y1``, inclusive pixels of the original picture.
        offsets: int64 (N + 1,), where each image's boxes start.
    """

    split: SplitName
    ids: tuple[str, ...]
    labels: Ints
    sizes: Ints
    boxes: Ints
    offsets: Ints

    def __post_init__(self) -> None:
        count = len(self.ids)
        assert self.labels.shape == (count,)
        assert self.sizes.shape == (count, 2)
        assert self.offsets.shape == (count + 1,)
        assert self.boxes.shape == (int(self.offsets[-1]), 4)
        assert bool((np.diff(self.offsets) > 0).all())

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Ints) -> "Annotations":
        """Return some of the images with their boxes, in the order of the indices, int64 (n,), at least one."""
        counts = np.diff(self.offsets)[indices]
        boxes = [self.boxes[self.offsets[index] : self.offsets[index + 1]] for index in indices]
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            labels=self.labels[indices],
            sizes=self.sizes[indices],
            boxes=np.concatenate(boxes),
            offsets=np.concatenate(([0], np.cumsum(counts))),
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

    @abstractmethod
    def _annotations(self, split: SplitName) -> Annotations:
        """Return the boxes of ``train-fullsup`` or ``test``."""

    def annotations(self, split: SplitName) -> Annotations:
        """Return the boxes of ``train-fullsup`` or ``test``.

        Raises:
            SealedError: for ``train-weaksup``, whose boxes do not exist for anyone here (PROTOCOL: splits).
        """
        if split == "train-weaksup":
            raise SealedError("boxes of train-weaksup do not exist under the protocol")
        return self._annotations(split)

    def fingerprint(self, split: SplitName) -> str:
        """Return the hash of a split's ids, labels and (not for train-weaksup) annotations, 16 hex digits."""
        if split != "train-weaksup":
            return annotation_fingerprint(self.annotations(split))
        images = self.images(split)
        digest = _Digest()
        digest.texts(images.ids)
        digest.ints(images.labels)
        return digest.hex()


def annotation_fingerprint(annotations: Annotations) -> str:
    """Return the hash of a split's ids, labels, sizes and boxes, 16 hex digits."""
    digest = _Digest()
    digest.texts(annotations.ids)
    for array in (annotations.labels, annotations.sizes, annotations.boxes, annotations.offsets):
        digest.ints(array)
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
