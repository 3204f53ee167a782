"""ImageNet's localisation challenge (ILSVRC 2012) as people have it on disk.

The photographs, below the data root or its folders ``ILSVRC/Data/CLS-LOC`` (Kaggle's layout):

* ``train/<wnid>/*.JPEG``: ``train-weaksup``; the id is the path, the label the place of the wnid in sorted order
* ``val/*.JPEG``, or ``val/<wnid>/*.JPEG``: ``test``; the id is ``val/<file>`` in both
* ``val2/<label>/*.jpeg`` or ``imagenetv2-threshold0.7`` as it unpacks: ``train-fullsup`` (ImageNetV2)

The boxes of ``test`` are in the published split files or in the challenge's XML files, those of ``train-fullsup`` in
the published split files only. An image may have several boxes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from wsolbench.data.hashing import smallest_hashes
from wsolbench.data.listed import Listed, ListedDataset, Located, in_order, listed, locate
from wsolbench.data.listing import Listing, list_folders
from wsolbench.data.places import Containers, Places
from wsolbench.data.published import FOLDERS, PUBLISHED_AT, has_split, numbered_lines, read_annotations, read_labels
from wsolbench.data.sources import Source, is_unsafe
from wsolbench.data.splits import Annotations, SplitName
from wsolbench.data.xml_files import read_xml
from wsolbench.errors import UserError

_BASES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC", "CLS-LOC")
_BOXES = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "Annotations/val",
    "ILSVRC2012_bbox_val_v3/val",
    "bbox_val/val",
    "bbox_val",
    "val",
)
_NAMES = ("LOC_synset_mapping.txt", "ILSVRC/LOC_synset_mapping.txt")
_V2 = ("val2", "imagenetv2-threshold0.7", "imagenetv2-threshold0.7-format-val")
_V2_FOLDERS = (*_V2, *(f"{base}/{name}" for base in _BASES if base for name in _V2), "")
_JPEG = (".jpeg", ".jpg")

_IMAGENET_AT = (
    "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar come from https://www.image-net.org/download-images (an "
    "account is needed), to be unpacked to train/<wnid>/ and val/"
)
_SPLITS_AT = f"the split files are metadata/ILSVRC of {PUBLISHED_AT}, for --metadata"
_XML_AT = f"the boxes of val are ILSVRC2012_bbox_val_v3.tgz of the challenge, or {_SPLITS_AT}"
_V2_AT = (
    "ImageNetV2 is https://s3-us-west-2.amazonaws.com/imagenetv2public/imagenetv2-threshold0.7.tar.gz, to be unpacked "
    f"beside train/ and val/, and {_SPLITS_AT}, with its mapping.txt where the photographs have their own long names"
)


def open_ilsvrc(places: Places, *, proxy: int = 100) -> "Ilsvrc":
    """Open ImageNet: find its folders and list its classes; no photograph is read or listed.

    Args:
        places: ``data_root``: the folder with ``train/`` and ``val/``, or the one Kaggle's archive unpacks to;
            ``metadata``: the published split files.
        proxy: percent of the images of each class that ``train-weaksup`` has, chosen by the hash of their ids; tuning
            trains on 10 (PROTOCOL: tuning on train-fullsup).

    Raises:
        UserError: there is no such folder, or ``proxy`` is out of range.
    """
    if not 1 <= proxy <= 100:
        raise UserError(f"--data-option proxy={proxy} is out of range; expected 1 to 100, percent of each class")
    if places.data_root is None:
        raise UserError(f"ilsvrc needs --data-root, the folder with train/ and val/; {_IMAGENET_AT}")
    sources = Containers(places, ("imagenetv2-threshold0.7.tar.gz",), _V2)
    root = next(iter(sources))
    base = next((folder for folder in _BASES if "train" in root.children(folder)), None)
    photographs = root if not base else root.below(base)
    wnids = tuple(name for name in photographs.children("train") if re.fullmatch("n[0-9]{8}", name))
    if base is None or not wnids:
        raise UserError(
            f"--data-root {places.data_root} has no train/<wnid>/, such as train/n01440764/; {_IMAGENET_AT}"
        )
    names = _read_names(root)
    return Ilsvrc(
        name="ilsvrc",
        options={} if proxy == 100 else {"proxy": proxy},
        class_names=tuple(names.get(wnid, wnid) for wnid in wnids),
        image_size=224,
        cache=places.cache,
        places=places,
        sources=sources,
        root=root,
        photographs=photographs,
        wnids=wnids,
    )


class _Boxed(NamedTuple):
    """What an XML file says: the picture's size (h, w), and of each object its wnid and box."""

    size: tuple[int, int]
    objects: list[tuple[str, tuple[int, int, int, int]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ilsvrc(ListedDataset):
    """ImageNet; made by :func:`open_ilsvrc`.

    Attributes:
        places: where its files are.
        sources: the data root and what lies beside it.
        root: the data root.
        photographs: the folder with ``train`` and ``val``.
        wnids: the WordNet id of each class, sorted.
    """

    places: Places
    sources: Containers
    root: Source
    photographs: Source
    wnids: tuple[str, ...]

    def _list(self, split: SplitName) -> Listed:
        if has_split(self.places.metadata, split):
            assert self.places.metadata is not None
            return self._known(split, listed(*read_labels(self.places.metadata, split)))
        if split == "train-fullsup":
            raise UserError(f"ilsvrc has no list of train-fullsup here; {_V2_AT}")
        if split == "train-weaksup":
            share = int(self.options.get("proxy", 100))
            by_class = [
                smallest_hashes([f"train/{wnid}/{name}" for name in names], max(1, round(len(names) * share / 100)))
                for wnid, names in zip(self.wnids, self._training.names, strict=True)
            ]
            ids = tuple(image for images in by_class for image in images)  # sorted already: classes are
            return Listed(ids, np.repeat(np.arange(len(by_class)), [len(images) for images in by_class]))
        files = self._validation
        ids = tuple(f"val/{name}" for name in sorted(files))
        return listed(ids, [self._label(image) for image in ids])

    def _locate(self, split: SplitName, ids: Sequence[str]) -> Located:
        if split == "train-fullsup":
            return self._locate_v2(ids)
        if split == "train-weaksup" and not has_split(self.places.metadata, split):
            return Located(self.photographs, ids, self._training.content_key)
        if split == "train-weaksup":
            return locate([(self.photographs, "")], ids, f"photographs of {split}", _IMAGENET_AT)
        files = self._validation
        there = [files.get(image.rpartition("/")[2], image) for image in ids]
        return locate([(self.photographs, "")], there, f"photographs of {split}", _IMAGENET_AT)

    def _locate_v2(self, ids: Sequence[str]) -> Located:
        """Find ImageNetV2 by the published names, or by those of its own archive, which mapping.txt translates."""
        own = [image.removeprefix("val2/") for image in ids]
        places = [(source, folder) for source in self.sources for folder in _V2_FOLDERS]
        assert self.places.metadata is not None
        mapping = self.places.metadata / FOLDERS["train-fullsup"] / "mapping.txt"
        if mapping.is_file():
            table = _read_mapping(mapping.read_bytes(), str(mapping))
            translated = [table.get(image, image) for image in own]
            if any(source.exists(f"{folder}/{translated[0]}".lstrip("/")) for source, folder in places):
                own = translated
        return locate(places, own, "photographs of train-fullsup", _V2_AT)

    def _objects(self, split: SplitName) -> Annotations:
        if has_split(self.places.metadata, split):
            assert self.places.metadata is not None
            return in_order(read_annotations(self.places.metadata, split))
        if split == "train-fullsup":
            raise UserError(f"ilsvrc has no boxes of train-fullsup here; {_V2_AT}")
        images = self.listed(split)
        found = [self._boxed(image) for image in images.ids]
        boxes, counts = [], []
        for image, label, (size, objects) in zip(images.ids, images.labels.tolist(), found, strict=True):
            own = [box for wnid, box in objects if wnid == self.wnids[label]]
            if not own:
                raise UserError(f"the boxes of {image} have none of its class {self.wnids[label]}; {_XML_AT}")
            last = (size[1] - 1, size[0] - 1) * 2  # published boxes end at the last pixel, XML's may lie one beyond
            boxes += [[min(edge, end) for edge, end in zip(box, last, strict=True)] for box in own]
            counts.append(len(own))
        return Annotations(
            split=split,
            ids=images.ids,
            labels=images.labels,
            sizes=np.array([size for size, _ in found], dtype=np.int64).reshape(-1, 2),
            boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        )

    def _count(self, split: SplitName) -> int:
        if split == "train-weaksup" and "proxy" in self.options and not has_split(self.places.metadata, split):
            return sum(map(len, self._training.names))  # the whole, of which the proxy is a part
        return super()._count(split)

    def _known(self, split: SplitName, images: Listed) -> Listed:
        beyond = images.labels >= len(self.wnids)
        if beyond.any():
            first = int(beyond.argmax())
            raise UserError(
                f"{split} gives '{images.ids[first]}' the label {images.labels[first]}, but train/ has only "
                f"{len(self.wnids)} classes; {_IMAGENET_AT}"
            )
        return images

    @cached_property
    def _training(self) -> Listing:
        """The training photographs of each class."""
        made = list_folders(self.photographs, [f"train/{wnid}" for wnid in self.wnids], _JPEG, self.cache)
        for wnid, names in zip(self.wnids, made.names, strict=True):
            if not names:
                raise UserError(f"{self.photographs.label(f'train/{wnid}')} has no photograph (*.JPEG); {_IMAGENET_AT}")
        return made

    @cached_property
    def _validation(self) -> Mapping[str, str]:
        """The files of ``val``, by their last name, whether they lie in class folders or not."""
        folders = [name for name in self.photographs.children("val") if name in self._index]
        inside = [f"val/{wnid}" for wnid in folders] or ["val"]
        made = list_folders(self.photographs, inside, _JPEG, self.cache)
        files = {name: f"{folder}/{name}" for folder, names in zip(inside, made.names, strict=True) for name in names}
        if not files:
            raise UserError(f"{self.photographs.label('val')} has no photograph (*.JPEG); {_IMAGENET_AT}")
        return files

    def _label(self, image: str) -> int:
        """Return the label of a test image: that of its class folder, else that of its boxes."""
        places = self._validation[image.rpartition("/")[2]].split("/")
        wnid = places[1] if len(places) == 3 else self._boxed(image).objects[0][0]
        if wnid not in self._index:
            raise UserError(f"{image} is of class {wnid}, which train/ does not have; {_IMAGENET_AT}")
        return self._index[wnid]

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {wnid: label for label, wnid in enumerate(self.wnids)}

    @cached_property
    def _xml(self) -> Mapping[str, str]:
        """The XML files of ``val``, by the photograph's name without its ending."""
        for folder in _BOXES:
            names = [name for name in self.root.children(folder) if name.endswith(".xml")]
            if names:
                return {name.removesuffix(".xml"): f"{folder}/{name}" for name in names}
        raise UserError(f"ilsvrc has no boxes of test below {self.root.root}; {_XML_AT}")

    @cached_property
    def _read(self) -> dict[str, _Boxed]:
        return {}

    def _boxed(self, image: str) -> _Boxed:
        """Read what an image's XML file says, once."""
        stem = image.rpartition("/")[2].rpartition(".")[0]
        if stem not in self._read:
            if stem not in self._xml:
                raise UserError(f"the boxes of {image} are missing, no {stem}.xml beside the others; {_XML_AT}")
            self._read[stem] = _read_boxes(self.root, self._xml[stem])
        return self._read[stem]


def _read_boxes(source: Source, name: str) -> _Boxed:
    """Read one of the challenge's XML files, whose pixels count from 0."""
    label = source.label(name)
    root = read_xml(source.read(name), label)
    try:
        size = int(root.findtext("size/height", "")), int(root.findtext("size/width", ""))
        objects = []
        for entry in root.findall("object"):
            x0, y0, x1, y1 = (int(entry.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            objects.append((entry.findtext("name", "").strip(), (x0, y0, x1, y1)))
    except ValueError:
        raise UserError(f"{label} has a size or a box that is no whole number; {_XML_AT}") from None
    if not objects or any(x0 > x1 or y0 > y1 for _, (x0, y0, x1, y1) in objects) or min(size) < 1:
        raise UserError(f"{label} has no box, a reversed one or no size; {_XML_AT}")
    return _Boxed(size, objects)


def _read_names(source: Source) -> dict[str, str]:
    """Return the first name of each class in Kaggle's list, which need not be there."""
    for name in _NAMES:
        if source.exists(name):
            lines = numbered_lines(source.read(name), source.label(name))
            pairs = (line.partition(" ") for _, line in lines)
            return {wnid: words.split(",")[0].strip() or wnid for wnid, _, words in pairs}
    return {}


def _read_mapping(raw: bytes, file: str) -> dict[str, str]:
    """Return published name -> the archive's name of ImageNetV2's photographs."""
    found = {}
    for number, line in numbered_lines(raw, file):
        published, comma, own = (part.strip() for part in line.partition(","))
        if not comma or not published or not own or is_unsafe(own):
            raise UserError(f"{file}, line {number}: expected 'published name, its own name', found '{line[:80]}'")
        found[published] = own
    return found
