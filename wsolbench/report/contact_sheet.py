"""A contact sheet: pictures of a dataset by class, with their boxes or masks as scoring sees them."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from wsolbench.data.checking import OpenedSplits
from wsolbench.data.masks import read_masks
from wsolbench.data.splits import Annotations, Dataset, Ints, SplitName
from wsolbench.errors import UserError
from wsolbench.files import atomic_write
from wsolbench.report.fonts import font

COLUMNS: Mapping[SplitName, int] = {"train-weaksup": 2, "train-fullsup": 2, "test": 5}
"""Pictures of a class on the sheet."""

LARGEST_ROWS = 20
"""Classes on the sheet; of more, this many in even steps."""

_CELL, _GAP, _GUTTER, _MARGIN, _NAMES, _HEAD = 120, 6, 26, 28, 176, 112  # pixels
_PAPER, _INK, _FAINT, _EMPTY = "#15171c", "#f2f2f0", "#8d929c", "#22252c"
_BOX, _SHADE, _IGNORED = "#ffd60a", "#000000", "#64d2ff"
_TINT = 0.3  # opacity of a mask's colour, whose edge is opaque


class ContactSheet:
    """Collects the pictures of a sheet while a check reads them, and draws them.

    Args:
        dataset: that is checked.
        opened: its splits.
    """

    def __init__(self, dataset: Dataset, opened: OpenedSplits) -> None:
        self._dataset = dataset
        self._opened = opened
        labels = {split: images.labels for split, images in opened.images.items()}
        self._rows = even_steps(len(dataset.class_names), LARGEST_ROWS)
        self._cells = {split: _chosen(labels[split], self._rows, COLUMNS[split]) for split in labels}
        wanted = {split: {index for row in rows for index in row} for split, rows in self._cells.items()}
        self._wanted: dict[SplitName, set[int]] = wanted
        self._thumbnails: dict[tuple[SplitName, int], Image.Image] = {}

    def add(self, split: SplitName, index: int, picture: Image.Image) -> None:
        """Keep a picture's thumbnail if it is on the sheet; may be called from any thread."""
        if index in self._wanted[split]:
            self._thumbnails[split, index] = self._thumbnail(split, index, picture)

    def draw(self, path: Path) -> None:
        """Write the sheet as a PNG; the place of a picture that was not added says so.

        Raises:
            OSError: the file cannot be written.
        """
        lefts, right = _lefts(list(self._cells))
        pitch = _CELL + _GAP
        sheet = Image.new("RGB", (right + _MARGIN, _HEAD + len(self._rows) * pitch + _MARGIN), _PAPER)
        pen = ImageDraw.Draw(sheet)
        self._draw_head(pen, lefts, right)
        for row, label in enumerate(self._rows):
            top = _HEAD + row * pitch
            self._draw_name(pen, label, top)
            for split, left in lefts.items():
                for column in range(COLUMNS[split]):
                    members = self._cells[split][row]
                    index = members[column] if column < len(members) else None
                    self._draw_cell(sheet, pen, split, index, (left + column * pitch, top))
        drawn = io.BytesIO()
        sheet.save(drawn, "PNG")
        atomic_write(path, drawn.getvalue())

    # --- parts of it --------------------------------------------------------------------------------------------------

    def _thumbnail(self, split: SplitName, index: int, picture: Image.Image) -> Image.Image:
        """Return a picture that fits into a cell, with its objects."""
        scale = _CELL / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        small = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        annotations = self._opened.annotations.get(split)
        if annotations is None:
            return small
        if annotations.masks is not None:
            return _tinted(small, annotations, index)
        _outline(small, annotations, index)
        return small

    def _draw_head(self, pen: ImageDraw.ImageDraw, lefts: Mapping[SplitName, int], right: int) -> None:
        options = ", ".join(f"{name}={value}" for name, value in self._dataset.options.items())
        shown, classes = len(self._rows), len(self._dataset.class_names)
        pen.text((_MARGIN, 22), self._dataset.name, _INK, font(26, bold=True))
        left = _MARGIN + pen.textlength(self._dataset.name, font(26, bold=True)) + 16
        what = f"{shown} of {classes:,} classes" if shown < classes else f"{classes:,} classes"
        pen.text((left, 34), " · ".join(filter(None, (what, options))), _FAINT, font(14))
        pen.text((right, 34), self._legend(), _FAINT, font(14), anchor="ra")
        for split, left in lefts.items():
            pen.text((left, _HEAD - 30), split, _INK, font(14, bold=True))
            room = _CELL * COLUMNS[split] + _GAP * (COLUMNS[split] - 1)
            count = f"{len(self._opened.images[split]):,}"
            pen.text((left + room, _HEAD - 30), count, _FAINT, font(14), anchor="ra")

    def _legend(self) -> str:
        """Say what the colours are."""
        kinds = {annotations.masks is None for annotations in self._opened.annotations.values()}
        words = {True: "yellow: boxes as they are scored", False: "yellow: objects, blue: ignored"}
        return ", ".join(words[each] for each in sorted(kinds))

    def _draw_name(self, pen: ImageDraw.ImageDraw, label: int, top: int) -> None:
        lines = textwrap.wrap(self._dataset.class_names[label], 20, max_lines=3, placeholder=" …")
        counts = [int((images.labels == label).sum()) for images in self._opened.images.values()]
        pen.multiline_text((_MARGIN, top + 4), "\n".join(lines), _INK, font(15), spacing=5)
        under = top + 10 + 22 * len(lines)
        pen.text((_MARGIN, under), " · ".join(f"{count:,}" for count in counts), _FAINT, font(12))

    def _draw_cell(
        self,
        sheet: Image.Image,
        pen: ImageDraw.ImageDraw,
        split: SplitName,
        index: int | None,
        corner: tuple[int, int],
    ) -> None:
        left, top = corner
        thumbnail = None if index is None else self._thumbnails.get((split, index))
        if thumbnail is not None:
            place = left + (_CELL - thumbnail.width) // 2, top + (_CELL - thumbnail.height) // 2
            pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=_EMPTY)
            sheet.paste(thumbnail, place)
            return
        pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), outline=_EMPTY)
        if index is not None:
            middle = left + _CELL // 2, top + _CELL // 2
            pen.text(middle, "cannot be read", _FAINT, font(12), anchor="mm")


# --- choosing ---------------------------------------------------------------------------------------------------------


def even_steps(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers below ``count``, in even steps from the first to the last.

    >>> even_steps(3, 5), even_steps(100, 4)
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()


def _chosen(labels: Ints, classes: Sequence[int], count: int) -> list[list[int]]:
    """Return, for each class, up to ``count`` of its images: neighbours in a listing are often alike, so spread out."""
    chosen = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        chosen.append(members[even_steps(len(members), count)].tolist() if len(members) else [])
    return chosen


def _lefts(splits: Sequence[SplitName]) -> tuple[dict[SplitName, int], int]:
    """Return where each split's columns start, and where the last ones end, in pixels."""
    lefts: dict[SplitName, int] = {}
    right = _MARGIN + _NAMES
    for split in splits:
        lefts[split] = right + (_GUTTER if lefts else 0)
        right = lefts[split] + COLUMNS[split] * (_CELL + _GAP) - _GAP
    return lefts, right


# --- drawing ----------------------------------------------------------------------------------------------------------


def _outline(small: Image.Image, annotations: Annotations, index: int) -> None:
    """Draw boxes onto a thumbnail, scaled by the size that the annotations tell, as scoring does."""
    height, width = annotations.sizes[index].tolist()
    across, down = small.width / max(width, 1), small.height / max(height, 1)
    boxes = annotations.boxes[annotations.offsets[index] : annotations.offsets[index + 1]]
    pen = ImageDraw.Draw(small)
    corners = [
        (round(x0 * across), round(y0 * down), round((x1 + 1) * across) - 1, round((y1 + 1) * down) - 1)
        for x0, y0, x1, y1 in boxes.tolist()
        if x0 <= x1 and y0 <= y1  # a reversed box is in the report
    ]
    for grow, colour in ((1, _SHADE), (0, _BOX)):  # the shade of all of them first: it shall hide no line
        for x0, y0, x1, y1 in corners:
            pen.rectangle((x0 - grow, y0 - grow, x1 + grow, y1 + grow), outline=colour, width=2 + 2 * grow)


def _tinted(small: Image.Image, annotations: Annotations, index: int) -> Image.Image:
    """Return a thumbnail with its object masks and its ignore mask laid over it."""
    assert annotations.masks is not None
    try:
        objects, ignored = read_masks(annotations.masks, index, (small.height, small.width))
    except UserError:  # it is in the report
        return small
    for mask, colour in ((ignored & ~objects, _IGNORED), (objects, _BOX)):
        veil = Image.fromarray((255 * np.maximum(_TINT * mask, _edge(mask))).astype(np.uint8))
        small = Image.composite(Image.new("RGB", small.size, colour), small, veil)
    return small


def _edge(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a mask, bool (h, w), that touch what is not in it.

    >>> _edge(np.ones((3, 4), dtype=bool)).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    around = np.pad(mask, 1)
    edge: npt.NDArray[np.bool_] = mask & ~(around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:])
    return edge
