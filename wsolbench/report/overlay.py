"""One picture with its score map in colour, its box and a caption: what ``wsolbench predict`` shows."""

from collections.abc import Sequence
from functools import cache
from math import ceil

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wsolbench.report.fonts import font
from wsolbench.report.qualitative import PREDICTED, SCORE_MAP

LARGEST = 1024
"""Longer side of a drawn picture in pixels, at most: larger pictures are reduced."""

SMALLEST = 384
"""Longer side at least, so that a caption can be read: smaller pictures are enlarged by a whole factor."""

_VEIL = 0.75  # opacity of the colours where the map is highest
_FLOOR = 0.3  # and where it is 0
_SHADE = "#000000"
_PAPER, _INK, _FAINT = "#15171c", "#f2f2f0", "#a9aeb8"
_MARGIN, _BIG, _SMALL = 12, 20, 14  # pixels


def fitted(picture: Image.Image) -> Image.Image:
    """Return a picture at the size that it is drawn at: its own, between :data:`SMALLEST` and :data:`LARGEST`.

    Args:
        picture: mode RGB.
    """
    longest = max(picture.size)
    if longest < SMALLEST:
        factor = ceil(SMALLEST / longest)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = min(1.0, LARGEST / longest)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0) if scale < 1 else picture.copy()


def draw_overlay(
    shown: Image.Image,
    score_map: npt.NDArray[np.uint8],
    box: Sequence[int] | None,
    size: tuple[int, int],
    caption: tuple[str, str],
) -> Image.Image:
    """Draw a score map and a box over a picture, with a caption below it.

    Args:
        shown: the picture as :func:`fitted` returns it; not changed.
        score_map: uint8 (S, S), stretched over the whole picture.
        box: ``x0 y0 x1 y1`` in pixels of the original picture, inclusive; None: there is none.
        size: (H, W) of the original picture.
        caption: a line in bold, which is shortened if it is too long, and a smaller line, which is broken.

    Returns:
        The drawing, mode RGB: as wide as ``shown``, and higher by the caption.
    """
    wide = np.asarray(Image.fromarray(score_map).resize(shown.size, Image.Resampling.BILINEAR))
    veil = (_FLOOR + (_VEIL - _FLOOR) * wide / 255)[..., None]
    grey = np.asarray(shown.convert("L"))[..., None]  # so that every colour is the map's
    mixed = (1 - veil) * grey + veil * _colours()[wide]
    lines = _broken(caption[1], shown.width - 2 * _MARGIN, font(_SMALL))
    band = 2 * _MARGIN + _BIG + 6 + (_SMALL + 5) * len(lines)
    drawing = Image.new("RGB", (shown.width, shown.height + band), _PAPER)
    drawing.paste(Image.fromarray(np.rint(mixed).astype(np.uint8)))
    pen = ImageDraw.Draw(drawing)
    if box is not None:
        _outline(pen, box, shown.width / size[1], shown.height / size[0], max(2, max(shown.size) // 200))
    top = shown.height + _MARGIN
    bold = font(_BIG, bold=True)
    pen.text((_MARGIN, top), _shortened(caption[0], shown.width - 2 * _MARGIN, bold), _INK, bold)
    for index, line in enumerate(lines):
        pen.text((_MARGIN, top + _BIG + 8 + (_SMALL + 5) * index), line, _FAINT, font(_SMALL))
    return drawing


@cache
def _colours() -> npt.NDArray[np.float64]:
    """Return the colour of each of a map's 256 values, float64 (256, 3): those of the figures."""
    import matplotlib

    table: npt.NDArray[np.float64] = 255 * matplotlib.colormaps[SCORE_MAP](np.arange(256))[:, :3]
    return table


def _outline(pen: ImageDraw.ImageDraw, box: Sequence[int], across: float, down: float, width: int) -> None:
    """Draw a box of the original picture along the edges of its outermost pixels."""
    x0, y0, x1, y1 = box
    corners = (round(x0 * across), round(y0 * down), round((x1 + 1) * across) - 1, round((y1 + 1) * down) - 1)
    left, top, right, bottom = corners
    if right - left < 2 or bottom - top < 2:  # thinner than its own line
        right, bottom = max(right, left + 2), max(bottom, top + 2)
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_SHADE, width=width + 2)
    pen.rectangle((left, top, right, bottom), outline=PREDICTED, width=width)


def _shortened(text: str, room: int, face: ImageFont.FreeTypeFont) -> str:
    """Cut a text that is wider than ``room`` pixels, with an ellipsis."""
    if face.getlength(text) <= room:
        return text
    kept = next((end for end in range(len(text), 0, -1) if face.getlength(text[:end].rstrip() + "…") <= room), 0)
    return text[:kept].rstrip() + "…"


def _broken(text: str, room: int, face: ImageFont.FreeTypeFont) -> list[str]:
    """Break a text into lines of at most ``room`` pixels, at spaces; a word that is wider is shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(_shortened(word, room, face))
    return lines
