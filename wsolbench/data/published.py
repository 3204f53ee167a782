"""The field's published split files: where the objects of ``train-fullsup`` and ``test`` are, without any picture.

The format (PROTOCOL: splits) is a folder with ``train/ val/ test/``, ``val`` being ``train-fullsup``, each with

* ``image_ids.txt``: ``id``
* ``class_labels.txt``: ``id,label``
* ``image_sizes.txt``: ``id,width,height``
* ``localization.txt``: ``id,x0,y0,x1,y1``, several lines for several boxes, inclusive pixels; or, for a dataset with
  masks, ``id,mask.png,ignore.png``, several lines for several masks, the last field empty in all lines but one or in
  all. Such a dataset needs no ``image_sizes.txt``: masks are resized, whatever their size

An id may contain commas, so lines are split from the right. Boxes stay as published, also where they leave their image:
the published numbers were computed with them unclipped.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsolbench.data.sources import is_unsafe
from wsolbench.data.splits import Annotations, Ints, Masks, SplitName, refuse_sealed
from wsolbench.errors import SealedError, UserError

EXPECTED_COUNTS: Mapping[str, Mapping[SplitName, int]] = {
    "cub": {"train-weaksup": 5_994, "train-fullsup": 1_000, "test": 5_794},
    "ilsvrc": {"train-weaksup": 1_281_167, "train-fullsup": 10_000, "test": 50_000},
    "openimages": {"train-weaksup": 29_819, "train-fullsup": 2_500, "test": 5_000},
}
"""Images a split has in the benchmark the published numbers come from."""

Lines = list[tuple[int, str]]
"""Lines of a text file, each with its number from 1."""

PUBLISHED_AT = "https://github.com/clovaai/wsolevaluation"
"""Where the split files are, in the folder ``metadata``, and the scripts that fetch the photographs, in ``dataset``."""

FOLDERS: Mapping[SplitName, str] = {"train-weaksup": "train", "train-fullsup": "val", "test": "test"}
_FORMAT = "the published format is a folder with train/, val/ and test/, each with image_ids.txt and its companions"


_MASK = re.compile(r"(.+),\s*([^,]+\.png)\s*,\s*([^,]+\.png)?", re.IGNORECASE)


class _Rows(NamedTuple):
    """R parsed lines: the image each is about (R,), its integers (R, C), its line number (R,)."""

    images: Ints
    values: Ints
    lines: Ints


def read_annotations(metadata: Path, split: SplitName, masks_root: Path | None = None) -> Annotations:
    """Read the boxes or masks of a split from the published files.

    Args:
        metadata: folder with ``train/ val/ test/``.
        split: ``train-fullsup`` (folder ``val``) or ``test``.
        masks_root: for a dataset with masks, the folder that their names are relative to.

    Returns:
        Images in the order of ``image_ids.txt``; an image's boxes or masks in the order of ``localization.txt``, boxes
        never clipped.

    Raises:
        SealedError: for ``train-weaksup``, whose boxes are not read, and for ``test`` while it is sealed.
        UserError: if a file is missing, malformed or disagrees with another one, if an image has no box or mask, or if
            ``masks_root`` does not fit the dataset; names the file and, where there is one, the line.
    """
    if split == "train-weaksup":
        raise SealedError("boxes of train-weaksup do not exist under the protocol")
    refuse_sealed(split)  # before a file is opened
    folder = metadata / FOLDERS[split]
    index = _read_ids(folder / "image_ids.txt")
    path = folder / "localization.txt"
    text = _read_lines(path)
    masked = text[0][1].rstrip(", ").lower().endswith(".png") if text else masks_root is not None
    if masked != (masks_root is not None):
        what, need = ("mask files", "give their folder with") if masked else ("boxes, no masks", "leave out")
        raise UserError(f"{path} lists {what}; {need} --masks-root")
    masks = None if masks_root is None else _read_masks(path, text, index, masks_root)
    boxes = _read_boxes(path, text if masks is None else [], index, required=masks is None)
    labels = _read_one_each(folder / "class_labels.txt", index, ("label",), minimum=0)
    sizes = np.zeros((len(index), 2), dtype=np.int64)
    if masks is None:
        sizes = _read_one_each(folder / "image_sizes.txt", index, ("width", "height"), minimum=1)[:, ::-1].copy()
    return Annotations(
        split=split,
        ids=tuple(index),
        labels=labels[:, 0],
        sizes=sizes,
        boxes=boxes.values[np.argsort(boxes.images, kind="stable")],
        offsets=np.concatenate(([0], np.cumsum(np.bincount(boxes.images, minlength=len(index))))),
        masks=masks,
    )


def has_split(metadata: Path | None, split: SplitName) -> bool:
    """Tell whether a folder of published files lists the images of a split."""
    return metadata is not None and (metadata / FOLDERS[split] / "image_ids.txt").is_file()


def first_mask(metadata: Path, split: SplitName) -> str | None:
    """Return the first mask that a split lists; None for a split with boxes.

    Raises:
        SealedError: for ``test`` while it is sealed.
        UserError: the list is missing or no text.
    """
    refuse_sealed(split)
    text = _read_lines(metadata / FOLDERS[split] / "localization.txt")
    match = _MASK.fullmatch(text[0][1]) if text else None
    return None if match is None else match[2]


def read_labels(metadata: Path, split: SplitName) -> tuple[tuple[str, ...], Ints]:
    """Read the images and class labels of a split, and nothing else of it.

    Args:
        metadata: folder with ``train/ val/ test/``.
        split: any; ``train-weaksup`` is the folder ``train``.

    Returns:
        N ids in the order of ``image_ids.txt``; their labels, int64 (N,).

    Raises:
        SealedError: for ``test`` while it is sealed.
        UserError: as :func:`read_annotations`.
    """
    refuse_sealed(split)
    folder = metadata / FOLDERS[split]
    index = _read_ids(folder / "image_ids.txt")
    return tuple(index), _read_one_each(folder / "class_labels.txt", index, ("label",), minimum=0)[:, 0]


def check_counts(dataset: str, annotations: Annotations) -> str | None:
    """Compare a split's number of images with the benchmark's.

    Args:
        dataset: a name as on the command line; one that is not in :data:`EXPECTED_COUNTS` has nothing to compare.
        annotations: the split as read.

    Returns:
        A sentence to show and record, or None when the count is the benchmark's.
    """
    expected = EXPECTED_COUNTS.get(dataset, {}).get(annotations.split)
    if expected is None or expected == len(annotations):
        return None
    return (
        f"{dataset} {annotations.split} has {len(annotations):,} images where the benchmark has {expected:,}; "
        "the numbers do not compare with published ones"
    )


def check_overlap(first: Annotations, second: Annotations) -> str | None:
    """Look for images that two splits share.

    Args:
        first: one split.
        second: another split of the same dataset.

    Returns:
        A sentence to show and record, with the first shared id in the order of ``first``, or None when there is none.
    """
    known = set(second.ids)
    shared = [image for image in first.ids if image in known]
    if not shared:
        return None
    return (
        f"{first.split} and {second.split} overlap (shared ids: {len(shared):,}, first '{shared[0]}'); "
        "what is chosen on one split is not independent of the other"
    )


def numbered_lines(raw: bytes, file: str) -> Lines:
    r"""Split a text file into its non-blank lines, stripped, each with its number from 1.

    Args:
        raw: the file's bytes, UTF-8 with or without a byte order mark, lines ended by LF or CRLF.
        file: how to call the file in the error.

    Raises:
        UserError: if the bytes are not UTF-8.

    >>> numbered_lines(b"\xef\xbb\xbfone\r\n\r\n two\n", "ids.txt")
    [(1, 'one'), (3, 'two')]
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 text (byte {error.start}); expected plain text, so save or download it again"
        ) from None
    # Not splitlines(): it also breaks at characters such as U+2028 that a file name may contain.
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in numbered if line]


def _read_lines(path: Path) -> Lines:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); {_FORMAT}") from None
    return numbered_lines(raw, str(path))


def _read_ids(path: Path) -> dict[str, int]:
    """Return the position of every id, in the order of the file."""
    index: dict[str, int] = {}
    for number, line in _read_lines(path):
        if line in index:
            raise UserError(f"{path}, line {number}: id '{line}' occurs twice; remove one of the lines")
        if is_unsafe(line):
            raise UserError(f"{path}, line {number}: id '{line}' leaves the folder of images; expected a path in it")
        index[line] = len(index)
    if not index:
        raise UserError(f"{path} lists no image; expected one id a line")
    return index


def _parse_rows(path: Path, text: Lines, index: Mapping[str, int], columns: Sequence[str]) -> _Rows:
    """Parse lines of an id and one integer for each column; ``path`` is for the errors."""
    # The greedy id leaves exactly the last len(columns) fields; nine digits keep every value inside int64.
    pattern = re.compile(r"(.+)" + r",\s*(-?[0-9]{1,9})\s*" * len(columns))
    images: list[int] = []
    values: list[int] = []
    lines: list[int] = []
    for number, line in text:
        match = pattern.fullmatch(line)
        if match is None:
            form = ",".join(("id", *columns))
            raise UserError(f"{path}, line {number}: expected '{form}' with integers, found '{line[:120]}'")
        image_id, *fields = match.groups()
        images.append(_known(path, number, image_id.rstrip(), index))
        values.extend(map(int, fields))
        lines.append(number)
    table = np.array(values, dtype=np.int64).reshape(-1, len(columns))
    return _Rows(np.array(images, dtype=np.int64), table, np.array(lines, dtype=np.int64))


def _read_one_each(path: Path, index: Mapping[str, int], columns: Sequence[str], *, minimum: int) -> Ints:
    """Read a file with exactly one line an image; returns int64 (N, C) in the order of the ids."""
    rows = _parse_rows(path, _read_lines(path), index, columns)
    low = np.flatnonzero((rows.values < minimum).any(axis=1))
    if low.size:
        raise UserError(
            f"{path}, line {rows.lines[low[0]]}: expected {' and '.join(columns)} of at least {minimum}, "
            f"found {', '.join(map(str, rows.values[low[0]]))}"
        )
    _require_all(path, rows.images, index, "line")
    if len(rows.images) > len(index):
        first = np.unique(rows.images, return_index=True)[1]
        second = np.setdiff1d(np.arange(len(rows.images)), first)[0]
        raise UserError(
            f"{path}, line {rows.lines[second]}: id '{tuple(index)[rows.images[second]]}' occurs twice; "
            "expected one line an image, so remove one of the two"
        )
    table = np.empty_like(rows.values)
    table[rows.images] = rows.values
    return table


def _read_boxes(path: Path, text: Lines, index: Mapping[str, int], *, required: bool) -> _Rows:
    """Read the boxes, in the order of the file; where they are required one or more an image."""
    rows = _parse_rows(path, text, index, ("x0", "y0", "x1", "y1"))
    reversed_ = np.flatnonzero((rows.values[:, :2] > rows.values[:, 2:]).any(axis=1))
    if reversed_.size:
        box = " ".join(map(str, rows.values[reversed_[0]]))
        raise UserError(
            f"{path}, line {rows.lines[reversed_[0]]}: box {box} is reversed; expected x0 <= x1 and y0 <= y1"
        )
    if required:
        _require_all(path, rows.images, index, "box")
    return rows


def _read_masks(path: Path, text: Lines, index: Mapping[str, int], root: Path) -> Masks:
    """Read one or more masks an image, in the order of the file, and at most one ignore mask."""
    objects: list[list[str]] = [[] for _ in index]
    ignored: list[str | None] = [None] * len(index)
    for number, line in text:
        match = _MASK.fullmatch(line)
        if match is None:
            raise UserError(f"{path}, line {number}: expected 'id,mask.png,ignore.png', found '{line[:120]}'")
        image_id = match[1].rstrip()
        image = _known(path, number, image_id, index)
        if outside := [name for name in (match[2], match[3]) if name and is_unsafe(name)]:
            raise UserError(f"{path}, line {number}: '{outside[0]}' leaves the folder of masks; expected a path in it")
        objects[image].append(match[2])
        if match[3] and ignored[image] not in (None, match[3]):
            raise UserError(f"{path}, line {number}: '{image_id}' has a second ignore mask; expected one an image")
        ignored[image] = match[3] or ignored[image]
    _require_all(path, np.repeat(np.arange(len(index)), [len(names) for names in objects]), index, "mask")
    masks = Masks(root=root, objects=tuple(map(tuple, objects)), ignored=tuple(ignored))
    names = masks.names()
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(names):,} masks are missing in '{root}', first '{missing[0]}'; "
            "give the folder that the names in localization.txt are relative to with --masks-root"
        )
    return masks


def _known(path: Path, number: int, image_id: str, index: Mapping[str, int]) -> int:
    """Return the position of an id, or refuse one that image_ids.txt does not have."""
    if image_id not in index:
        raise UserError(
            f"{path}, line {number}: id '{image_id}' is not in image_ids.txt; "
            "the files of one folder must list the same images"
        )
    return index[image_id]


def _require_all(path: Path, images: Ints, index: Mapping[str, int], what: str) -> None:
    """Refuse rows, given by the image that each is about, that leave an image out."""
    missing = np.flatnonzero(np.bincount(images, minlength=len(index)) == 0)
    if missing.size:
        raise UserError(
            f"{path} has no {what} for '{tuple(index)[missing[0]]}' ({missing.size:,} of {len(index):,} images "
            f"lack one); expected a {what} for every id of image_ids.txt"
        )
