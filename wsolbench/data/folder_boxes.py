"""Boxes of the user's own pictures: ``boxes.csv``, COCO's JSON, Pascal VOC's XML, all as inclusive pixels from 0.

Every reader says at once which pictures have an entry, and reads the boxes of a picture only when it is asked for them:
boxes of train-weaksup do not exist (PROTOCOL: splits), so not even a mistake in them matters.
"""

import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from wsolbench.data.folder_layout import SPLIT_WORDS, Finder
from wsolbench.data.published import numbered_lines
from wsolbench.data.sources import Source
from wsolbench.data.splits import SplitName
from wsolbench.data.xml_files import read_xml
from wsolbench.errors import UserError, unknown_name

Box = tuple[int, int, int, int]

COLUMNS = ("image", "x0", "y0", "x1", "y1")
OPTIONAL = ("label", "split")
_HEADER = f"expected the columns {','.join(COLUMNS)} and perhaps {' and '.join(OPTIONAL)}, with commas"


class Found(NamedTuple):
    """One box as a file has it.

    Attributes:
        place: file and line, for errors.
        label: name of the class of what is in the box; empty where the file does not say it.
        box: ``x0 y0 x1 y1``, inclusive pixels from 0; it may still be reversed or outside.
        size: (H, W) that the file says the picture has; None where it does not.
    """

    place: str
    label: str
    box: Box
    size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxFiles:
    """Boxes by picture.

    Attributes:
        file: how to call the file or files in an error.
        annotated: ids of the pictures that have an entry.
        read: returns the boxes of a picture; raises UserError if they are malformed.
        split_of: picture id -> split; None where the file does not tell it.
    """

    file: str
    annotated: frozenset[str]
    read: Callable[[str], list[Found]]
    split_of: Mapping[str, SplitName] | None = None


# --- boxes.csv --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    place: str
    label: str
    fields: Sequence[str]


def read_csv(source: Source, name: str, finder: Finder) -> BoxFiles:
    """Read ``boxes.csv``: a header, then one box a line, or a line with a split and empty coordinates.

    Args:
        source: where the file is.
        name: its name.
        finder: of the pictures.

    Raises:
        UserError: the header or a line is malformed, or a picture does not exist or is in two splits.
    """
    file = source.label(name)
    lines = numbered_lines(source.read(name), file)
    if not lines:
        raise UserError(f"{file} is empty; {_HEADER}")
    columns = _header(lines[0][1], f"{file}, line {lines[0][0]}")
    rows: dict[str, list[_Row]] = {}
    split_of: dict[str, SplitName] = {}
    for number, line in lines[1:]:
        place = f"{file}, line {number}"
        cells = dict(zip(columns, _cells(line, place, len(columns)), strict=True))
        image = finder.find(cells["image"], place)
        if "split" in cells:
            _note_split(split_of, image, cells["split"], place)
        fields = [cells[column] for column in COLUMNS[1:]]
        if any(fields):
            rows.setdefault(image, []).append(_Row(place, cells.get("label", ""), fields))
    return BoxFiles(
        file=file,
        annotated=frozenset(rows),
        read=partial(_csv_boxes, rows),
        split_of=split_of if "split" in columns else None,
    )


def _header(line: str, place: str) -> list[str]:
    columns = [cell.lower() for cell in _cells(line, place)]
    for column in columns:
        if column not in (*COLUMNS, *OPTIONAL) or columns.count(column) > 1:
            raise UserError(f"{place}: the column '{column[:60]}' is unknown or there twice; {_HEADER}")
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise UserError(f"{place}: the column '{missing[0]}' is missing; {_HEADER}")
    return columns


def _cells(line: str, place: str, count: int | None = None) -> list[str]:
    try:
        cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
    except csv.Error as error:
        raise UserError(f"{place}: not comma-separated fields ({error}); correct the line '{line[:120]}'") from None
    if count not in (None, len(cells)):
        raise UserError(
            f"{place}: {len(cells)} fields where the header has {count}; put a name with a comma in double quotes"
        )
    return cells


def _note_split(split_of: dict[str, SplitName], image: str, word: str, place: str) -> None:
    if word not in SPLIT_WORDS:
        raise UserError(f"{place}: {unknown_name('split', word, SPLIT_WORDS)}")
    if split_of.setdefault(image, SPLIT_WORDS[word]) != SPLIT_WORDS[word]:
        raise UserError(f"{place}: '{image}' is in {split_of[image]} by a line above; expected one split a picture")


def _csv_boxes(rows: Mapping[str, Sequence[_Row]], image: str) -> list[Found]:
    return [Found(row.place, row.label, _whole_box(row), None) for row in rows.get(image, ())]


def _whole_box(row: _Row) -> Box:
    # Tables that once had an empty cell write 12 as 12.0.
    if not all(re.fullmatch(r"[+-]?[0-9]{1,9}(\.0*)?", text) for text in row.fields):
        raise UserError(
            f"{row.place}: expected whole pixels x0 y0 x1 y1 of the first and the last pixel, "
            f"found '{' '.join(row.fields)[:120]}'"
        )
    x0, y0, x1, y1 = (int(text.partition(".")[0]) for text in row.fields)
    return x0, y0, x1, y1


# --- COCO -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CocoImage:
    """One entry of ``images`` with its annotations, each with its place and its label."""

    image: str
    size: tuple[int, int] | None
    boxes: list[tuple[str, str, Any]] = field(default_factory=list)


def read_coco(source: Source, names: Iterable[str], finder: Finder) -> BoxFiles:
    """Read COCO's JSON, one file or several; crowds (``iscrowd``) are no objects and are left out.

    Args:
        source: where the files are.
        names: their names.
        finder: of the pictures.

    Raises:
        UserError: a file is no such JSON or contradicts itself, or a picture does not exist.
    """
    found: dict[str, _CocoImage] = {}
    for name in names:
        for entry in _coco_images(source.read(name), source.label(name), finder):
            if entry.image in found:
                raise UserError(f"{source.label(name)}: '{entry.image}' is listed twice; expected every picture once")
            found[entry.image] = entry
    return BoxFiles(
        file=", ".join(map(source.label, names)),
        annotated=frozenset(image for image, entry in found.items() if entry.boxes),
        read=partial(_coco_boxes, found),
    )


def _coco_images(raw: bytes, file: str, finder: Finder) -> list[_CocoImage]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({error}); expected COCO's, so export it again") from None
    categories: dict[Any, str] = {}
    for place, entry in _entries(data, "categories", file):
        _note_once(categories, _field(entry, "id", (int, str), place), _field(entry, "name", str, place), place)
    images: dict[Any, _CocoImage] = {}
    for place, entry in _entries(data, "images", file):
        image = finder.find(_field(entry, "file_name", str, place), place)
        height, width = entry.get("height"), entry.get("width")
        # Some exports leave a size out by writing 0.
        size = (height, width) if isinstance(height, int) and isinstance(width, int) and height * width > 0 else None
        _note_once(images, _field(entry, "id", (int, str), place), _CocoImage(image, size), place)
    for place, entry in _entries(data, "annotations", file):
        image_id = _field(entry, "image_id", (int, str), place)
        category = _field(entry, "category_id", (int, str), place)
        if image_id not in images or category not in categories:
            raise UserError(f"{place}: image_id {image_id} or category_id {category} is not in the file; correct it")
        if not entry.get("iscrowd"):
            images[image_id].boxes.append((place, categories[category].strip(), entry.get("bbox")))
    return list(images.values())


def _entries(data: Any, key: str, file: str) -> Iterable[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    """Yield the entries of one of the file's lists, each with its place."""
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{file} has no list '{key}'; expected COCO's images, annotations and categories")
    for index, entry in enumerate(entries):
        place = f"{file}, {key}[{index}]"
        if not isinstance(entry, dict):
            raise UserError(f"{place} is no object; expected COCO's fields")
        yield place, entry


def _field(entry: Mapping[str, Any], key: str, kind: type | tuple[type, ...], place: str) -> Any:  # noqa: ANN401
    value = entry.get(key)
    if not isinstance(value, kind):
        raise UserError(f"{place}: '{key}' is missing or of the wrong kind; expected COCO's, so export it again")
    return value


def _note_once(entries: dict[Any, Any], key: object, value: object, place: str) -> None:
    if key in entries:
        raise UserError(f"{place}: the id {key} occurs twice; expected every id once, so export the file again")
    entries[key] = value


def _coco_boxes(images: Mapping[str, _CocoImage], image: str) -> list[Found]:
    entry = images.get(image)
    if entry is None:
        return []
    return [Found(place, label, coco_box(box, place), entry.size) for place, label, box in entry.boxes]


def coco_box(box: Any, place: str) -> Box:  # noqa: ANN401
    """Return the pixels of COCO's ``x y width height``, whose x and y are edges: pixel i reaches from i to i + 1.

    Edges are rounded to the nearest edge between two pixels, a half upwards, so that numbers just beside a whole one,
    as converters write them, mean it. A box too thin to have a pixel then is the pixel that it begins in.

    Raises:
        UserError: not four finite numbers, or an empty box.

    >>> coco_box([10, 20, 3, 1], "a.json"), coco_box([9.9999, 0.5, 3.2, 0.2], "a.json")
    ((10, 20, 12, 20), (10, 0, 12, 0))
    """
    numbers = isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)
    if not (numbers and all(abs(value) < 10**9 for value in box) and min(box[2:]) > 0):
        raise UserError(f"{place}: expected a bbox [x, y, width, height] with a size above 0, found {str(box)[:80]}")
    (x0, x1), (y0, y1) = (_between_edges(start, start + length) for start, length in (box[::2], box[1::2]))
    return x0, y0, x1, y1


def _between_edges(start: float, end: float) -> tuple[int, int]:
    first, last = math.floor(start + 0.5), math.floor(end + 0.5) - 1
    return (first, last) if first <= last else (math.floor(start), math.floor(start))


# --- Pascal VOC -------------------------------------------------------------------------------------------------------


def read_voc(source: Source, names: Iterable[str], finder: Finder) -> BoxFiles:
    """List Pascal VOC's XML files, each about the picture of the same name, whatever it says inside.

    Args:
        source: where the files are.
        names: their names, beside the pictures or below a folder ``annotations`` with or without the pictures' folders.
        finder: of the pictures' stems.

    Raises:
        UserError: a picture does not exist, or two files are about one.
    """
    found: dict[str, str] = {}
    for name in names:
        image = finder.find(below_folder(name, "annotations").removesuffix(name[-4:]), source.label(name))
        if image in found:
            raise UserError(f"{source.label(name)} and {source.label(found[image])} are both about '{image}'; keep one")
        found[image] = name
    return BoxFiles(
        file="no XML file" if not found else f"{len(found):,} XML files",
        annotated=frozenset(found),
        read=partial(_voc_boxes, source, found),
    )


def below_folder(name: str, folder: str) -> str:
    """Return what follows a folder in a path, or the path if it is not in it; upper and lower case are the same.

    >>> below_folder("VOC/Annotations/dog/1.xml", "annotations"), below_folder("dog/1.xml", "annotations")
    ('dog/1.xml', 'dog/1.xml')
    """
    parts = name.split("/")
    places = [index for index, part in enumerate(parts[:-1]) if part.lower() == folder]
    return "/".join(parts[places[0] + 1 :]) if places else name


def _voc_boxes(source: Source, names: Mapping[str, str], image: str) -> list[Found]:
    if image not in names:
        return []
    place = source.label(names[image])
    root = read_xml(source.read(names[image]), place)
    size = [root.findtext(f"size/{side}", "").strip() for side in ("height", "width")]
    told = (int(size[0]), int(size[1])) if all(re.fullmatch("[1-9][0-9]{0,8}", text) for text in size) else None
    return [
        Found(place, entry.findtext("name", "").strip(), voc_box(entry, place), told)
        for entry in root.findall("object")
    ]


def voc_box(entry: ET.Element, place: str) -> Box:
    """Return the pixels of VOC's ``bndbox``, whose pixels count from 1 and are inclusive.

    Fractions, which some files have, are rounded to the nearest pixel, a half upwards.

    Raises:
        UserError: a coordinate is missing or no number.

    >>> entry = "<object><bndbox><xmin>1</xmin><ymin>2.4</ymin><xmax>30</xmax><ymax>4</ymax></bndbox></object>"
    >>> voc_box(ET.fromstring(entry), "1.xml")
    (0, 1, 29, 3)
    """
    texts = [entry.findtext(f"bndbox/{key}", "").strip() for key in ("xmin", "ymin", "xmax", "ymax")]
    if not all(re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]*)?", text) for text in texts):
        raise UserError(
            f"{place}: expected numbers xmin ymin xmax ymax in every bndbox, found '{' '.join(texts)[:120]}'"
        )
    x0, y0, x1, y1 = (math.floor(float(text) + 0.5) - 1 for text in texts)
    return x0, y0, x1, y1
