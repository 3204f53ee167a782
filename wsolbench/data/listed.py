"""Datasets whose splits are lists of photographs: what those of the field share.

A subclass says which images a split has, where their files are and where their objects are. Ids are in sorted order
whatever lists them, so that two descriptions of the same images are the same split.
"""

import io
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from errno import EACCES, EPERM, EROFS
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from wsolbench.data.cache import default_cache_dir
from wsolbench.data.decoded import NO_CACHE
from wsolbench.data.hashing import plain_hash
from wsolbench.data.pictures import decode, picture_size
from wsolbench.data.published import EXPECTED_COUNTS
from wsolbench.data.sources import Source
from wsolbench.data.splits import Annotations, Dataset, ImageSplit, Ints, Masks, SplitName, refuse_sealed
from wsolbench.errors import UserError
from wsolbench.files import atomic_write
from wsolbench.progress import progress

MadeT = TypeVar("MadeT")


class Listed(NamedTuple):
    """The images of a split: ids, sorted, and labels, int64 (N,)."""

    ids: tuple[str, ...]
    labels: Ints


class Located(NamedTuple):
    """Where the photographs of a split are: the source, each one's name there, and the hash of their stamps."""

    source: Source
    files: Sequence[str]
    content_key: str


class MissingPhotographs(UserError):
    """Some photographs of a split are not there; ``located`` says where all of them should be."""

    def __init__(self, message: str, located: Located) -> None:
        super().__init__(message)
        self.located = located


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedDataset(Dataset):
    """A dataset of photographs; each split is listed, located and annotated once, when it is first asked for.

    Attributes:
        cache: folder of what is found out once; None: the user's; ``none``: nowhere.
    """

    cache: Path | None = None
    _kept: dict[tuple[str, SplitName], Any] = field(default_factory=dict, repr=False)

    @abstractmethod
    def _list(self, split: SplitName) -> Listed:
        """Return the images of a split; UserError says what is missing and where to get it."""

    @abstractmethod
    def _locate(self, split: SplitName, ids: Sequence[str]) -> Located:
        """Find the photographs of a split; UserError where one is missing."""

    @abstractmethod
    def _objects(self, split: SplitName) -> Annotations:
        """Return the boxes or masks of ``train-fullsup`` or ``test``, in the order of the ids."""

    def images(self, split: SplitName) -> ImageSplit:
        """Return the photographs and labels of a split."""
        refuse_sealed(split)
        return self._once("images", split, self._images)

    def expected_images(self, split: SplitName) -> ImageSplit:
        """Return the photographs and labels of a split, of which some may be missing: reading one of those raises."""
        try:
            return self.images(split)
        except MissingPhotographs as error:
            ids, labels = self.listed(split)
            source, files, key = error.located
        read = partial(_read_picture, source, files)
        return ImageSplit(name=split, ids=ids, labels=labels, content_key=key, read=read)

    def listed(self, split: SplitName) -> Listed:
        """Return the ids and labels of a split, without looking for its photographs."""
        refuse_sealed(split)
        return self._once("listed", split, self._list)

    def located(self, split: SplitName) -> Located:
        """Return where the photographs of a split are."""
        refuse_sealed(split)
        return self._once("located", split, lambda name: self._locate(name, self.listed(name).ids))

    def problems(self, splits: Sequence[SplitName]) -> list[str]:
        """Compare the splits with the benchmark's: sentences, one for each wrong count and for each overlap."""
        found = {split: self.listed(split) for split in splits}
        expected = EXPECTED_COUNTS.get(self.name, {})
        wrong = [
            f"{self.name} {split} has {count:,} images where the benchmark has {expected[split]:,}"
            for split in found
            if (count := self._count(split)) != expected.get(split, count)
        ]
        return [*wrong, *self._odd_classes(found), *_overlaps(found)]

    def _count(self, split: SplitName) -> int:
        """Return how many images a split has, all those of which an option may take a part."""
        return len(self.listed(split).ids)

    def _odd_classes(self, found: Mapping[SplitName, Listed]) -> list[str]:
        """Return sentences about classes that a split does not have as it should."""
        return []

    def _members(self, split: SplitName) -> Listed:
        return self.listed(split)

    def _annotations(self, split: SplitName) -> Annotations:
        return self._once("annotations", split, self._objects)

    def _images(self, split: SplitName) -> ImageSplit:
        ids, labels = self.listed(split)
        source, files, key = self.located(split)
        return ImageSplit(
            name=split, ids=ids, labels=labels, content_key=key, read=partial(_read_picture, source, files)
        )

    def _once(self, what: str, split: SplitName, make: Callable[[SplitName], MadeT]) -> MadeT:
        if (what, split) not in self._kept:
            self._kept[what, split] = make(split)
        made: MadeT = self._kept[what, split]
        return made


def listed(ids: Sequence[str], labels: Iterable[int] | Ints) -> Listed:
    """Return images with their labels, sorted by id.

    >>> listed(["b", "a"], [1, 0])
    Listed(ids=('a', 'b'), labels=array([0, 1]))
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    values = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels), dtype=np.int64)
    return Listed(tuple(ids[index] for index in order), values[order])


def in_order(annotations: Annotations) -> Annotations:
    """Return annotations sorted by id."""
    ids = annotations.ids
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return annotations if order == list(range(len(ids))) else annotations.select(np.array(order))


def locate(places: Iterable[tuple[Source, str]], ids: Sequence[str], what: str, advice: str) -> Located:
    """Find the place where photographs are by their ids.

    Args:
        places: sources, and a folder in each; the first that has all of a few of the photographs is taken, else the
            one that has the most.
        ids: names below that folder.
        what: how to call the photographs in the error.
        advice: the clause that ends the error: where to get them.

    Raises:
        MissingPhotographs: some of them are there, not all.
        UserError: none of a few of them is there.
    """
    some = ids[:: max(1, len(ids) // 16)]
    best, most = None, 0
    looked = []
    for source, folder in places:
        start = f"{folder}/" if folder else ""
        there = sum(source.exists(start + each) for each in some)
        looked.append(source.label(folder or "."))
        if there > most:
            best, most = (source, start), there
        if there == len(some):
            break
    if best is None:
        raise UserError(f"no {what} in {', '.join(dict.fromkeys(looked))}, where '{ids[0]}' is not; {advice}")
    source, start = best
    files = tuple(start + each for each in ids)
    missing = [file for file in files if not source.exists(file)]
    if missing:
        raise MissingPhotographs(
            f"{len(missing):,} of {len(files):,} {what} are missing, first {source.label(missing[0])}; {advice}",
            Located(source, files, ""),
        )
    return Located(source, files, plain_hash([source.stamp(file) for file in files]))


def sizes_of(located: Located, cache: Path | None, quiet: bool = False) -> Ints:
    """Return the size of every photograph, read from its first bytes once and then from the cache.

    Args:
        located: N photographs.
        cache: folder of the cache; None: the user's; ``none``: nowhere.
        quiet: plain progress lines.

    Returns:
        int64 (N, 2), height and width in pixels.

    Raises:
        UserError: a photograph cannot be read.
    """
    path = (cache or default_cache_dir()) / f"sizes-{located.content_key[:32]}.npy"
    try:
        known: Ints = np.load(path, allow_pickle=False)
        if known.shape == (len(located.files), 2) and known.dtype == np.int64:
            return known
    except (OSError, ValueError, EOFError):
        pass  # not there or damaged: made anew
    sizes = np.empty((len(located.files), 2), dtype=np.int64)
    with progress("sizes of photographs", len(sizes), quiet=quiet) as bar:
        for index, file in enumerate(located.files):
            sizes[index] = picture_size(located.source.read(file), located.source.label(file))
            bar.advance(1)
    if cache != NO_CACHE:
        buffer = io.BytesIO()
        np.save(buffer, sizes)
        keep(path, buffer.getvalue())
    return sizes


def keep(path: Path, data: bytes) -> None:
    """Write what can be found out again into the cache, or say in one sentence why it cannot be written.

    A cache that is shared and read-only is no error: its decoded images are of use without this.
    """
    try:
        atomic_write(path, data)
    except OSError as error:
        if error.errno in (EACCES, EPERM, EROFS) and path.parent.is_dir():
            sys.stderr.write(f"{path.name} is not kept: the cache {path.parent} cannot be written ({error.strerror})\n")
            return
        raise UserError(
            f"cannot use the cache {path.parent} ({error.strerror}); expected a folder that can be written, so free "
            "some space or choose another one with --cache"
        ) from None


def mask_annotations(split: SplitName, images: Listed, masks: Masks) -> Annotations:
    """Return the annotations of a split that has masks and no boxes."""
    return Annotations(
        split=split,
        ids=images.ids,
        labels=images.labels,
        sizes=np.zeros((len(images.ids), 2), dtype=np.int64),
        boxes=np.zeros((0, 4), dtype=np.int64),
        offsets=np.zeros(len(images.ids) + 1, dtype=np.int64),
        masks=masks,
    )


def one_box_each(split: SplitName, images: Listed, sizes: Ints, boxes: Ints) -> Annotations:
    """Return the annotations of a split whose images have one box each."""
    offsets = np.arange(len(images.ids) + 1, dtype=np.int64)
    return Annotations(split=split, ids=images.ids, labels=images.labels, sizes=sizes, boxes=boxes, offsets=offsets)


def _overlaps(found: Mapping[SplitName, Listed]) -> list[str]:
    """Return a sentence for each two splits that share ids."""
    names, sentences = list(found), []
    for index, first in enumerate(names):
        known = set(found[first].ids)
        for second in names[index + 1 :]:
            if shared := [image for image in found[second].ids if image in known]:
                sentences.append(f"{first} and {second} overlap (shared ids: {len(shared):,}, first '{shared[0]}')")
    return sentences


def _read_picture(source: Source, files: Sequence[str], index: int) -> Image.Image:
    return decode(source.read(files[index]), source.label(files[index]))
