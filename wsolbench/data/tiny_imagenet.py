"""Tiny ImageNet, from the public archive as downloaded or unpacked: 64x64 photographs, one box each.

The archive ``tiny-imagenet-200.zip`` holds one folder, ``tiny-imagenet-200``, with

* ``wnids.txt``: the classes, one WordNet id a line (all 200, or fewer); ``words.txt``: ``wnid<TAB>name, name, ...``
* ``train/<wnid>/images/*.JPEG`` and ``train/<wnid>/<wnid>_boxes.txt``: ``file<TAB>x0<TAB>y0<TAB>x1<TAB>y1``
* ``val/images/*.JPEG`` and ``val/val_annotations.txt``: ``file<TAB>wnid<TAB>x0<TAB>y0<TAB>x1<TAB>y1``

Splits: ``train-fullsup`` is 10 training images a class drawn by a hash of their ids and taken out of training,
``train-weaksup`` the rest, ``test`` the archive's val. Its own ``test`` folder has no labels and is not read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from wsolbench.data.hashing import plain_hash, smallest_hashes
from wsolbench.data.pictures import decode
from wsolbench.data.published import numbered_lines
from wsolbench.data.sources import Source, open_source
from wsolbench.data.splits import Annotations, Dataset, ImageSplit, Ints, SplitName
from wsolbench.errors import UserError

SIDE = 64
"""Height and width of every photograph of the archive, in pixels."""

_ALL_CLASSES = 200  # of the whole dataset; fewer, whether asked for or all there is, are an option of the run
FULLSUP_PER_CLASS = 10

_ROOT = "tiny-imagenet-200"
_ARCHIVE = f"{_ROOT}.zip"

Box = tuple[int, int, int, int]


def open_tiny_imagenet(data_root: Path | None, *, classes: int | None = None, image_size: int = SIDE) -> "TinyImageNet":
    """Open the archive and list its classes and training images; no picture and no box is read.

    Args:
        data_root: ``tiny-imagenet-200.zip``, the unpacked folder ``tiny-imagenet-200``, or the folder it lies in.
        classes: only the first so many classes, WordNet ids in sorted order; None: all.
        image_size: side of the evaluation size in pixels.

    Returns:
        The dataset. A label is the index of the class in the sorted WordNet ids.

    Raises:
        UserError: if there is no archive there, if it is damaged or incomplete, or if ``classes`` is out of range.
    """
    if data_root is None:
        raise UserError(
            f"tiny-imagenet needs --data-root; expected {_ARCHIVE} as downloaded, or the folder {_ROOT} made from it"
        )
    source = _open_source(data_root)
    wnids = _read_wnids(source)
    if classes is not None and not 2 <= classes <= len(wnids):
        raise UserError(f"classes={classes} is out of range; {data_root} allows 2 to {len(wnids)}")
    chosen = wnids[:classes]
    names = _read_names(source)
    return TinyImageNet(
        name="tiny-imagenet",
        options={} if len(chosen) == _ALL_CLASSES else {"classes": len(chosen)},
        class_names=tuple(names.get(wnid, wnid) for wnid in chosen),
        image_size=image_size,
        headline="boxes_5_50",
        defaults={"feature_map": 8},  # stride 16 would leave 4x4 maps
        source=source,
        wnids=chosen,
        train=_list_train(source, chosen),
    )


def draw_fullsup(ids: Iterable[str], count: int = FULLSUP_PER_CLASS) -> tuple[str, ...]:
    """Choose the images of a class that are ``train-fullsup``: those whose id has the smallest hash, sorted."""
    return smallest_hashes(ids, count)


@dataclass(frozen=True, kw_only=True, eq=False)
class TinyImageNet(Dataset):
    """Tiny ImageNet; made by :func:`open_tiny_imagenet`.

    Attributes:
        source: where files are read from.
        wnids: the WordNet id of each class, sorted.
        train: ids of the two training splits, class by class.
    """

    source: Source
    wnids: tuple[str, ...]
    train: Mapping[SplitName, tuple[tuple[str, ...], ...]]

    def images(self, split: SplitName) -> ImageSplit:
        """Return the photographs and labels of a split."""
        ids, labels = self._members(split)
        return ImageSplit(
            name=split,
            ids=ids,
            labels=labels,
            content_key=plain_hash([self.source.stamp(each) for each in ids]),
            read=partial(_read_picture, self.source, ids),
        )

    def _annotations(self, split: SplitName) -> Annotations:
        ids, labels = self._members(split)
        boxes = _read_test_boxes(self.source, ids) if split == "test" else self._fullsup_boxes()
        return Annotations(
            split=split,
            ids=ids,
            labels=labels,
            sizes=np.full((len(ids), 2), SIDE, dtype=np.int64),
            boxes=np.array([boxes[each] for each in ids], dtype=np.int64).reshape(-1, 4),
            offsets=np.arange(len(ids) + 1, dtype=np.int64),
        )

    def _members(self, split: SplitName) -> tuple[tuple[str, ...], Ints]:
        by_class = _list_test(self.source, self.wnids) if split == "test" else self.train[split]
        labels = np.repeat(np.arange(len(by_class), dtype=np.int64), [len(ids) for ids in by_class])
        return tuple(each for ids in by_class for each in ids), labels

    def _fullsup_boxes(self) -> dict[str, Box]:
        boxes: dict[str, Box] = {}
        for wnid, ids in zip(self.wnids, self.train["train-fullsup"], strict=True):
            boxes.update(_read_train_boxes(self.source, wnid, ids))
        return boxes


def _open_source(data_root: Path) -> Source:
    if not data_root.exists():
        raise UserError(
            f"--data-root {data_root} does not exist; expected {_ARCHIVE} as downloaded, or the folder {_ROOT}"
        )
    source = open_source(data_root, advice=f"expected the public {_ARCHIVE}, so download or unpack it again")
    if _ROOT in source.children() or not data_root.is_dir():
        source = source.below(_ROOT)
    if not source.exists("wnids.txt"):
        raise UserError(
            f"--data-root {data_root} has no {_ROOT}/wnids.txt; expected {_ARCHIVE} as downloaded, or that folder"
        )
    return source


def _read_wnids(source: Source) -> tuple[str, ...]:
    file = source.label("wnids.txt")
    wnids: set[str] = set()
    for number, line in numbered_lines(source.read("wnids.txt"), file):
        if re.fullmatch("n[0-9]{8}", line) is None:
            raise UserError(f"{file}, line {number}: expected a WordNet id such as n01443537, found '{line[:80]}'")
        wnids.add(line)
    if not wnids:
        raise UserError(f"{file} lists no class; expected one WordNet id a line, so download {_ARCHIVE} again")
    return tuple(sorted(wnids))


def _read_names(source: Source) -> dict[str, str]:
    """Return the first name of every class in words.txt, which lists many more classes than the archive has."""
    names: dict[str, str] = {}
    for _, line in numbered_lines(source.read("words.txt"), source.label("words.txt")):
        wnid, _, words = line.partition("\t")
        names[wnid] = words.split(",")[0].strip() or wnid
    return names


def _photographs(source: Source, folder: str) -> list[str]:
    """Return the ids of the photographs in a folder, sorted; other files that a desktop may have left are not ours."""
    names = source.children(folder)
    return [f"{folder}/{name}" for name in names if name.endswith(".JPEG") and not name.startswith(".")]


def _list_train(source: Source, wnids: Sequence[str]) -> Mapping[SplitName, tuple[tuple[str, ...], ...]]:
    """Split every class's training images into the two training splits."""
    fullsup: list[tuple[str, ...]] = []
    weaksup: list[tuple[str, ...]] = []
    for wnid in wnids:
        folder = f"train/{wnid}/images"
        ids = _photographs(source, folder)
        if len(ids) <= FULLSUP_PER_CLASS:
            raise UserError(
                f"{source.label(folder)} holds {len(ids)} photographs (*.JPEG); expected at least "
                f"{FULLSUP_PER_CLASS + 1} for a class of wnids.txt, so unpack or download {_ARCHIVE} again"
            )
        fullsup.append(draw_fullsup(ids))
        weaksup.append(tuple(sorted(set(ids).difference(fullsup[-1]))))
    return {"train-fullsup": tuple(fullsup), "train-weaksup": tuple(weaksup)}


def _list_test(source: Source, wnids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the test images of each class, sorted."""
    file = "val/val_annotations.txt"
    known = set(_read_wnids(source))
    photographs = set(_photographs(source, "val/images"))
    by_class: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for place, image_id, (wnid, *_) in _annotated(source, file, "val/images", 5):
        if wnid not in known:
            raise UserError(f"{place}: class '{wnid}' is not in wnids.txt; expected one of its {len(known)} classes")
        if image_id not in photographs:
            raise UserError(f"{place}: {image_id} does not exist; expected a photograph for every line, so restore it")
        photographs.remove(image_id)
        if wnid in by_class:
            by_class[wnid].append(image_id)
    if photographs:
        raise UserError(
            f"{source.label(file)} has no line for {min(photographs)}, so it has no class and no box; "
            "expected one line a photograph, so restore the line or remove the photograph"
        )
    empty = [wnid for wnid, ids in by_class.items() if not ids]
    if empty:
        raise UserError(f"{source.label(file)} has no test image of class {empty[0]}; download {_ARCHIVE} again")
    return tuple(tuple(sorted(by_class[wnid])) for wnid in wnids)


def _read_test_boxes(source: Source, ids: Sequence[str]) -> dict[str, Box]:
    wanted = set(ids)
    rows = _annotated(source, "val/val_annotations.txt", "val/images", 5)
    return {image_id: _box(fields[1:], place) for place, image_id, fields in rows if image_id in wanted}


def _read_train_boxes(source: Source, wnid: str, ids: Sequence[str]) -> dict[str, Box]:
    """Read the boxes of ``ids`` alone: those of training images do not exist under the protocol."""
    file = f"train/{wnid}/{wnid}_boxes.txt"
    wanted = set(ids)
    rows = _annotated(source, file, f"train/{wnid}/images", 4)
    boxes = {image_id: _box(fields, place) for place, image_id, fields in rows if image_id in wanted}
    missing = wanted.difference(boxes)
    if missing:
        raise UserError(
            f"{source.label(file)} has no box for {min(missing)}, which is in train-fullsup; "
            f"expected one line a photograph, so download {_ARCHIVE} again"
        )
    return boxes


def _annotated(source: Source, file: str, folder: str, count: int) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the place (file and line), the image id and the ``count`` fields after the name, for every line."""
    label = source.label(file)
    seen: set[str] = set()
    for number, line in numbered_lines(source.read(file), label):
        place = f"{label}, line {number}"
        name, *fields = line.split()
        if len(fields) != count:
            form = "a file name, a class and a box" if count == 5 else "a file name and a box"
            raise UserError(f"{place}: expected {form} (x0 y0 x1 y1), found '{line[:120]}'")
        if name in seen:
            raise UserError(f"{place}: {name} occurs twice; expected one line a photograph, so remove one")
        seen.add(name)
        yield place, f"{folder}/{name}", fields


def _box(fields: Sequence[str], place: str) -> Box:
    try:
        x0, y0, x1, y1 = map(int, fields)
    except ValueError:
        raise UserError(f"{place}: expected integers x0 y0 x1 y1, found '{' '.join(fields)}'") from None
    if not (0 <= x0 <= x1 < SIDE and 0 <= y0 <= y1 < SIDE):
        raise UserError(
            f"{place}: box {x0} {y0} {x1} {y1} leaves its {SIDE}x{SIDE} photograph or is reversed; "
            f"expected 0 <= x0 <= x1 <= {SIDE - 1}, and y likewise"
        )
    return x0, y0, x1, y1


def _read_picture(source: Source, ids: Sequence[str], index: int) -> Image.Image:
    """Decode one photograph to RGB; some are greyscale."""
    label = source.label(ids[index])
    picture = decode(source.read(ids[index]), label)
    if picture.size != (SIDE, SIDE):
        width, height = picture.size
        raise UserError(
            f"{label} is {height}x{width} pixels (height x width); expected {SIDE}x{SIDE}, as in {_ARCHIVE}"
        )
    return picture
