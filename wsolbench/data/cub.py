"""CUB-200-2011, from the original distribution, from the published split files, or from both.

The distribution (``CUB_200_2011/`` or its ``.tgz``) has

* ``images.txt``: ``number path``; the path below ``images/`` is the image's id
* ``image_class_labels.txt``: ``number class``, from 1; ``classes.txt``: ``class name``
* ``train_test_split.txt``: ``number 1`` for ``train-weaksup``, ``number 0`` for ``test``
* ``bounding_boxes.txt``: ``number x y width height``, floats

``train-fullsup`` is CUBV2, five photographs a class (three or six of some) that the distribution does not have: they
and the published split files, which have their boxes, come from the authors of the protocol. What the published files
list is taken from them, whatever the distribution says; the same content has the same fingerprint both ways.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsolbench.data.listed import (
    Listed,
    ListedDataset,
    Located,
    in_order,
    listed,
    locate,
    mask_annotations,
    one_box_each,
    sizes_of,
)
from wsolbench.data.places import Containers, Places
from wsolbench.data.published import PUBLISHED_AT, has_split, numbered_lines, read_annotations, read_labels
from wsolbench.data.sources import Source
from wsolbench.data.splits import SPLITS, Annotations, Ints, Masks, SplitName
from wsolbench.errors import UserError

_NAME = "CUB_200_2011"
_CUB_AT = "download CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158"
_V2_AT = (
    f"CUBV2 comes from {PUBLISHED_AT} (its boxes: metadata/CUB, for --metadata; its photographs: "
    "dataset/prepare_cub.sh, unpacked into a folder CUBV2 beside CUB_200_2011)"
)
_MASKS_AT = "download segmentations.tgz from https://data.caltech.edu/records/w9d68-gec53 and unpack it there"

PER_CLASS = (3, 6)
"""The fewest and the most images a class has in ``train-fullsup``."""

_PHOTOGRAPHS = ("images", f"{_NAME}/images", "", "CUB", "CUB/images", "CUBV2", "CUBV2/images")


def open_cub(places: Places, *, masks: int = 0) -> "Cub":
    """Open CUB; of the photographs none is read.

    Args:
        places: ``data_root``: ``CUB_200_2011`` (the folder, the ``.tgz`` or where either lies) or a folder with the
            class folders of the photographs; ``metadata``: the published split files; ``masks_root``: the folder of
            the segmentations.
        masks: 1: score ``test`` by its segmentations (PxAP), not by its boxes.

    Raises:
        UserError: neither the distribution nor split files are there, or they are damaged.
    """
    sources = Containers(places, ("CUBV2.tar", "CUBV2.tgz", "CUBV2.zip", f"{_NAME}.tgz"), ("CUBV2",))
    published = all(has_split(places.metadata, split) for split in ("train-weaksup", "test"))
    distribution = None if published else _find_distribution(sources)
    if distribution is None and places.metadata is None:
        where = "--data-root is not given" if places.data_root is None else f"--data-root {places.data_root} has none"
        raise UserError(f"cub needs images.txt of {_NAME} or split files (--metadata), and {where}; {_CUB_AT}")
    table = None if distribution is None else _read_table(distribution)
    return Cub(
        name="cub",
        options={"masks": 1} if masks else {},
        class_names=_class_names(distribution, places.metadata),
        image_size=224,
        cache=places.cache,
        places=places,
        sources=sources,
        distribution=distribution,
        table=table,
    )


def _find_distribution(sources: Containers) -> Source | None:
    """Return the files of the distribution, with images.txt at the top."""
    for source in sources:
        for folder in ("", _NAME):
            if source.exists(f"{folder}/images.txt".lstrip("/")):
                return source.below(folder) if folder else source
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The distribution's list of images, by their numbers.

    Attributes:
        ids: number -> id.
        labels: number -> label, from 0.
        training: number -> whether it is of ``train-weaksup``.
    """

    ids: Mapping[int, str]
    labels: Mapping[int, int]
    training: Mapping[int, bool]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cub(ListedDataset):
    """CUB; made by :func:`open_cub`.

    Attributes:
        places: where its files are.
        sources: of the photographs.
        distribution: with ``images.txt``; None: only published split files are there.
        table: what the distribution lists.
    """

    places: Places
    sources: Containers
    distribution: Source | None
    table: Table | None

    def _list(self, split: SplitName) -> Listed:
        if has_split(self.places.metadata, split):
            assert self.places.metadata is not None
            return listed(*read_labels(self.places.metadata, split))
        if split == "train-fullsup" or self.table is None:
            advice = _V2_AT if split == "train-fullsup" else _CUB_AT
            raise UserError(f"cub has no list of {split} here, neither published split files nor its own; {advice}")
        numbers = [number for number, training in self.table.training.items() if training == (split != "test")]
        return listed([self.table.ids[each] for each in numbers], [self.table.labels[each] for each in numbers])

    def _locate(self, split: SplitName, ids: Sequence[str]) -> Located:
        advice = _V2_AT if split == "train-fullsup" else _CUB_AT
        if not self.sources.paths:
            raise UserError(f"cub needs --data-root, where the photographs of {split} are; {advice}")
        places = ((source, folder) for source in self.sources for folder in _PHOTOGRAPHS)
        return locate(places, ids, f"photographs of {split}", advice)

    def _objects(self, split: SplitName) -> Annotations:
        if self.options.get("masks") and split == "test":
            return mask_annotations(split, self.listed(split), self._masks(self.listed(split).ids))
        if has_split(self.places.metadata, split):
            assert self.places.metadata is not None
            return in_order(read_annotations(self.places.metadata, split))
        images = self.listed(split)
        assert self.distribution is not None
        assert self.table is not None
        boxes = _read_boxes(self.distribution, self.table)
        sizes = sizes_of(self.located(split), self.cache)
        return one_box_each(split, images, sizes, _inclusive([boxes[each] for each in images.ids], sizes))

    def _masks(self, ids: Sequence[str]) -> Masks:
        names = tuple((each.rsplit(".", 1)[0] + ".png",) for each in ids)
        given, root = self.places.masks_root, self.places.data_root
        near = [] if root is None else [root, root / _NAME, root.parent]
        folders = [given] if given is not None else [folder / "segmentations" for folder in near]
        for folder in folders:
            missing = [name for (name,) in names if not (folder / name).is_file()]
            if not missing:
                return Masks(root=folder, objects=names, ignored=(None,) * len(names))
            if len(missing) < len(names):
                raise UserError(f"{len(missing):,} segmentations are missing, first {folder / missing[0]}; {_MASKS_AT}")
        looked = ", ".join(map(str, folders)) or "no folder"
        raise UserError(f"masks=1 needs the segmentations, which are not in {looked} (--masks-root); {_MASKS_AT}")

    def _odd_classes(self, found: Mapping[SplitName, Listed]) -> list[str]:
        low, high = PER_CLASS
        counts = {split: np.bincount(images.labels, minlength=len(self.class_names)) for split, images in found.items()}
        odd = [
            f"cub {split} has no image of class '{self.class_names[int(np.argmin(each))]}'"
            for split, each in counts.items()
            if each.min() == 0
        ]
        each = counts.get("train-fullsup")
        if each is None or (low <= each.min() and each.max() <= high):
            return odd
        return [*odd, f"cub train-fullsup has {each.min()} to {each.max()} images a class; expected {low} to {high}"]


def _class_names(distribution: Source | None, metadata: Path | None) -> tuple[str, ...]:
    """Return the names of classes.txt, or those of the folders in the ids: ``001.Black_footed_Albatross``."""
    if distribution is not None:
        found = {number - 1: name for _, number, name in _numbered(distribution, "classes.txt")}
    else:
        assert metadata is not None
        found = {}
        for split in SPLITS[:2]:  # not test, which may be sealed; its classes are those of training
            if has_split(metadata, split):
                ids, labels = read_labels(metadata, split)
                found |= {int(label): each.split("/")[0] for each, label in zip(ids, labels, strict=True)}
    if sorted(found) != list(range(len(found))) or not found:
        raise UserError(
            f"cub has classes numbered {', '.join(map(str, sorted(found)[:3]))}, ... in "
            f"{metadata if distribution is None else distribution.label('classes.txt')}; expected all from the first "
            f"on, so {_CUB_AT} again"
        )
    return tuple(found[label].partition(".")[2].replace("_", " ") or found[label] for label in range(len(found)))


def _read_table(source: Source) -> Table:
    ids = {number: path for _, number, path in _numbered(source, "images.txt")}
    labels = _whole(source, "image_class_labels.txt", ids)
    training = _whole(source, "train_test_split.txt", ids)
    if len(set(ids.values())) != len(ids):
        raise UserError(f"{source.label('images.txt')} lists a photograph twice; {_CUB_AT} again")
    if not set(training.values()) <= {0, 1}:
        raise UserError(f"{source.label('train_test_split.txt')} has other values than 0 and 1; {_CUB_AT} again")
    if min(labels.values(), default=0) < 1:
        raise UserError(f"{source.label('image_class_labels.txt')} has a class below 1; {_CUB_AT} again")
    return Table(
        ids=ids,
        labels={number: label - 1 for number, label in labels.items()},
        training={number: bool(value) for number, value in training.items()},
    )


def _read_boxes(source: Source, table: Table) -> dict[str, tuple[float, float, float, float]]:
    """Return each image's x, y, width and height."""
    boxes = {}
    for place, number, text in _numbered(source, "bounding_boxes.txt"):
        try:
            x, y, width, height = map(float, text.split())
        except ValueError:
            raise UserError(f"{place}: expected 'number x y width height', found '{text[:80]}'") from None
        if not (np.isfinite([x, y, width, height]).all() and width >= 0 and height >= 0):
            raise UserError(f"{place}: the box {text[:80]} has no size; expected width and height of at least 0")
        if number in table.ids:
            boxes[table.ids[number]] = (x, y, width, height)
    _refuse_missing(source, "bounding_boxes.txt", table.ids.values(), boxes)
    return boxes


def _inclusive(boxes: Sequence[tuple[float, float, float, float]], sizes: Ints) -> Ints:
    """Return boxes as the published split files have them, int64 (N, 4).

    The far edges are ``int(x + width)`` and ``int(y + height)``, cut at the last pixel: so are all 12,788 published
    boxes, of which 670 touch it and none lies beyond.
    """
    x, y, width, height = np.array(boxes, dtype=np.float64).reshape(-1, 4).T
    edges = np.stack([x, y, x + width, y + height], axis=1).astype(np.int64)
    last = sizes[:, ::-1] - 1
    return np.minimum(edges, np.tile(last, 2))


def _numbered(source: Source, name: str) -> Iterator[tuple[str, int, str]]:
    """Yield place, number and what follows it, for every line."""
    file = source.label(name)
    seen: set[int] = set()
    for line_number, line in numbered_lines(source.read(name), file):
        place = f"{file}, line {line_number}"
        number, _, rest = line.partition(" ")
        if not number.isdecimal() or not rest.strip():
            raise UserError(f"{place}: expected a number and a value, found '{line[:80]}'; {_CUB_AT} again")
        if int(number) in seen:
            raise UserError(f"{place}: number {number} occurs twice; expected one line each, so {_CUB_AT} again")
        seen.add(int(number))
        yield place, int(number), rest.strip()


def _whole(source: Source, name: str, ids: Mapping[int, str]) -> dict[int, int]:
    """Read a file with a whole number for every image."""
    values = {}
    for place, number, text in _numbered(source, name):
        if not text.isdecimal():
            raise UserError(f"{place}: expected two whole numbers, found '{number} {text[:80]}'; {_CUB_AT} again")
        values[number] = int(text)
    _refuse_missing(source, name, ids, values)
    return {number: values[number] for number in ids}


def _refuse_missing(source: Source, name: str, wanted: Iterable[Any], there: Mapping[Any, object]) -> None:
    missing = [each for each in wanted if each not in there]
    if missing:
        raise UserError(
            f"{source.label(name)} has no line for {len(missing):,} images of images.txt, first {missing[0]}; "
            f"{_CUB_AT} again"
        )
