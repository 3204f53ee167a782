"""The user's own pictures (``folder``): a folder for each class, boxes or masks, and three splits.

What there may be below the data root, a folder or an archive:

* a folder for each class, its pictures at any depth; perhaps all of them in one folder such as ``images``
* one kind of annotations: ``boxes.csv``; COCO's ``instances*.json`` or ``annotations.json``; Pascal VOC's ``*.xml``;
  or ``masks/`` with a PNG for each picture, in the same folders and of the same name
* perhaps splits: ``train/ val/ test/`` around the classes, or a column ``split`` in ``boxes.csv``; otherwise they are
  drawn by a hash

The class of a picture is its folder. A box with another label is of another object in the picture and is left out. A
box that occurs twice counts once. Boxes are sorted, so that files of different kinds with the same content give the
same dataset.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsolbench.data.folder_boxes import Box, BoxFiles, Found, read_coco, read_csv, read_voc
from wsolbench.data.folder_layout import MASKS, Finder, Layout, composed, read_layout
from wsolbench.data.folder_splits import DEFAULT_SHARES, draw_splits, members, read_share
from wsolbench.data.hashing import plain_hash
from wsolbench.data.listed import Listed, ListedDataset, Located, listed, mask_annotations, sizes_of
from wsolbench.data.pictures import exif_orientation
from wsolbench.data.sources import Source
from wsolbench.data.splits import Annotations, Masks, SplitName
from wsolbench.errors import UserError

IMAGE_SIZE = 224
"""Side of the evaluation size in pixels unless the user says otherwise."""


def open_folder(
    data_root: Path | None, *, fullsup: str | None = None, test: str | None = None, cache: Path | None = None
) -> "Folder":
    """List the user's pictures, find their annotations and make the splits; no picture is opened.

    Args:
        data_root: the folder, or an archive of it.
        fullsup: how much of each class's annotated pictures is drawn for train-fullsup, such as ``5`` or ``10%``;
            None: :data:`~wsolbench.data.folder_splits.DEFAULT_SHARES`. Only where splits are drawn.
        test: likewise for test.
        cache: folder of what is found out or unpacked once; None: the user's; ``none``: nowhere.

    Returns:
        The dataset. A label is the index of the class in the naturally sorted names of the folders.

    Raises:
        UserError: something is missing, malformed or contradicts something else; one sentence that names the file.
    """
    if data_root is None:
        raise UserError("folder needs --data-root DIR, your pictures in a folder for each class, or an archive of that")
    layout = read_layout(data_root, cache)
    boxes, masks = _find_annotations(layout)
    given = {option: text for option, text in (("fullsup", fullsup), ("test", test)) if text is not None}
    split_of, options = _split(layout, boxes, masks, given)
    return Folder(
        name="folder",
        options=options,
        class_names=layout.classes,
        image_size=IMAGE_SIZE,
        cache=cache,
        layout=layout,
        members=members(layout, split_of),
        boxes=boxes,
        masks=masks,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Folder(ListedDataset):
    """The user's own pictures; made by :func:`open_folder`.

    Attributes:
        layout: what is where.
        members: ids of each split.
        boxes: where there are boxes; None for a dataset with masks.
        masks: picture id -> name of its mask's file; empty for a dataset with boxes.
    """

    layout: Layout
    members: Mapping[SplitName, tuple[str, ...]]
    boxes: BoxFiles | None
    masks: Mapping[str, str]

    def fingerprint(self, split: SplitName) -> str:
        """Return the hash of a split's ids, labels and annotations; of masks it is their content, not the names alone.

        Published masks are what their names say. The user may correct a mask, and a run on it is another run.
        """
        named = super().fingerprint(split)
        if split == "train-weaksup" or self.boxes is not None:
            return named
        return plain_hash((named, self._once("contents", split, self._contents)))[: len(named)]

    def _list(self, split: SplitName) -> Listed:
        label = {name: index for index, name in enumerate(self.class_names)}
        ids = self.members[split]
        return listed(ids, [label[self.layout.class_of[image]] for image in ids])

    def _locate(self, split: SplitName, ids: Sequence[str]) -> Located:
        source, files = self.layout.source, tuple(self.layout.files[image] for image in ids)
        return Located(source, files, plain_hash([source.stamp(file) for file in files]))

    def _objects(self, split: SplitName) -> Annotations:
        images = self.listed(split)
        if self.boxes is None:
            return mask_annotations(split, images, self._masks(split, images.ids))
        sizes = sizes_of(self.located(split), self.cache)
        sized = zip(images.ids, sizes.tolist(), strict=True)
        boxes = [_boxes_of(self.layout, image, (height, width), self.boxes) for image, (height, width) in sized]
        missing = [image for image, own in zip(images.ids, boxes, strict=True) if not own]
        if missing:
            raise _without(split, images.ids, missing, "box", self.boxes.file, _labels_there(self.boxes, missing[0]))
        return Annotations(
            split=split,
            ids=images.ids,
            labels=images.labels,
            sizes=sizes,
            boxes=np.array([box for own in boxes for box in own], dtype=np.int64),
            offsets=np.cumsum([0, *map(len, boxes)], dtype=np.int64),
        )

    def _masks(self, split: SplitName, ids: Sequence[str]) -> Masks:
        missing = [image for image in ids if image not in self.masks]
        if missing:
            raise _without(split, ids, missing, "mask", f"{MASKS}/")
        return Masks(
            root=self.layout.source.root,
            objects=tuple((self.masks[image],) for image in ids),
            ignored=(None,) * len(ids),
            read=self.layout.source.read,
        )

    def _contents(self, split: SplitName) -> list[str]:
        """Return the hash of each mask's file."""
        read, ids = self.layout.source.read, self.listed(split).ids
        return [hashlib.sha256(read(self.masks[image])).hexdigest() for image in ids]


def _split(
    layout: Layout, boxes: BoxFiles | None, masks: Mapping[str, str], given: dict[str, str]
) -> tuple[Mapping[str, SplitName], Mapping[str, str]]:
    """Return the split of each picture, and the options that decided it."""
    annotated, what = (masks.keys(), f"{MASKS}/") if boxes is None else (boxes.annotated, boxes.file)
    by_column = None if boxes is None else boxes.split_of
    if layout.split_of and by_column is not None:
        raise UserError(
            f"{what} has a column split, and folders are splits too; keep one of the two, they may disagree"
        )
    if not layout.split_of and by_column is None:
        options = DEFAULT_SHARES | given
        return draw_splits(
            layout, annotated, {name: read_share(name, text) for name, text in options.items()}, what
        ), options
    if given:
        raise UserError(
            f"--data-option {next(iter(given))} is for drawn splits, and those of {layout.source.root} are given by "
            f"{'its folders' if layout.split_of else what}; leave it out"
        )
    return by_column or layout.split_of, {}


# --- annotations ------------------------------------------------------------------------------------------------------


def _find_annotations(layout: Layout) -> tuple[BoxFiles | None, dict[str, str]]:
    """Return the boxes, or None and the masks."""
    files: dict[str, list[str]] = {}
    for name in layout.others:
        if kind := _kind(name):
            files.setdefault(kind, []).append(name)
    if len(files) != 1:
        seen = f"annotations of {len(files)} kinds ({', '.join(sorted(files))})" if files else "no annotations"
        raise UserError(
            f"--data-root {layout.source.root} has {seen}; expected one kind of boxes.csv, COCO's instances*.json or "
            f"annotations.json, Pascal VOC's *.xml, or {MASKS}/*.png (docs/your-own-pictures.md)"
        )
    ((kind, names),) = files.items()
    if kind == "boxes.csv":
        return read_csv(layout.source, names[0], Finder(layout.files)), {}
    if kind == "COCO":
        return read_coco(layout.source, names, Finder(layout.files)), {}
    stems = Finder(layout.files, stems=True)
    if kind == "VOC":
        return read_voc(layout.source, names, stems), {}
    return None, _list_masks(layout.source, names, stems)


def _kind(name: str) -> str:
    """Return what kind of annotations a file is, or nothing."""
    last = name.rpartition("/")[2].lower()
    if name.startswith(f"{MASKS}/"):
        return MASKS
    if name.lower() == "boxes.csv":
        return "boxes.csv"
    if last.endswith(".json") and (last.startswith("instances") or last == "annotations.json"):
        return "COCO"
    return "VOC" if last.endswith(".xml") else ""


def _list_masks(source: Source, names: Sequence[str], finder: Finder) -> dict[str, str]:
    """Return the mask of each picture that has one."""
    masks: dict[str, str] = {}
    for name in names:
        place = source.label(name)
        if not name.lower().endswith(".png"):
            raise UserError(
                f"{place} is no PNG; expected one mask for each picture there, so convert it or take it out"
            )
        image = finder.find(name.removeprefix(f"{MASKS}/")[: -len(".png")], place)
        if image in masks:
            raise UserError(f"{place} and {source.label(masks[image])} are both masks of '{image}'; join them in one")
        masks[image] = name
    return masks


def _boxes_of(layout: Layout, image: str, size: tuple[int, int], files: BoxFiles) -> list[Box]:
    """Return the boxes of a picture's class, sorted, every box once; the picture's size is (H, W)."""
    boxes = set()
    for found in files.read(image):
        if found.label and composed(found.label) != layout.class_of[image]:
            continue
        if (reason := _misfit(found, size)) is not None:
            turned = exif_orientation(layout.source.read(layout.files[image])) > 1
            hint = (
                "; a viewer turns this picture (EXIF), a box must be of the picture as it is stored" if turned else ""
            )
            raise UserError(f"{found.place}: {reason}{hint}")
        boxes.add(found.box)
    return sorted(boxes)


def _misfit(found: Found, size: tuple[int, int]) -> str | None:
    """Say why a box cannot be of a picture of a size (H, W)."""
    (height, width), (x0, y0, x1, y1) = size, found.box
    picture = f"its picture of {height}x{width} pixels (height x width)"
    if found.size is not None and found.size != size:
        return f"the size {found.size[0]}x{found.size[1]} is not that of {picture}; expected boxes of this picture"
    if not (0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height):
        return (
            f"the box {x0} {y0} {x1} {y1} (first and last pixel, from 0) is reversed or leaves {picture}; "
            f"expected 0 <= x0 <= x1 <= {width - 1} and 0 <= y0 <= y1 <= {height - 1}, so correct it"
        )
    return None


def _without(
    split: SplitName, ids: Sequence[str], missing: Sequence[str], what: str, file: str, hint: str = ""
) -> UserError:
    return UserError(
        f"{file}: no {what} for '{missing[0]}'{hint}; {len(missing):,} of {len(ids):,} pictures of {split} lack one, "
        f"expected a {what} for each picture of train-fullsup and test"
    )


def _labels_there(files: BoxFiles, image: str) -> str:
    """Say which labels the boxes of a picture have instead of its folder's name."""
    labels = sorted({found.label for found in files.read(image)})
    return f" with its folder's name as label (labels there: {', '.join(labels)})" if labels else ""
