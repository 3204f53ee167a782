"""The overlay of a prediction: sizes, where the box lies, what the colours hide, and a caption that fits."""

import numpy as np
import pytest
from PIL import Image

from wsolbench.report.fonts import font
from wsolbench.report.overlay import LARGEST, SMALLEST, _broken, _shortened, draw_overlay, fitted

GREEN = (0x19, 0xE6, 0x5A)


def grey(width, height):
    return Image.new("RGB", (width, height), (90, 90, 90))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 48), (384, 288)),
        ((500, 375), (500, 375)),
        ((4000, 2000), (1024, 512)),
        ((3, 400), (3, 400)),
        ((1, 5000), (1, 1024)),
        ((1, 1), (384, 384)),
    ],
)
def test_a_picture_is_drawn_between_the_two_sizes(size, expected):
    picture = grey(*size)
    assert fitted(picture).size == expected
    assert picture.size == size
    assert SMALLEST <= max(fitted(picture).size) <= LARGEST


def test_the_box_lies_along_its_outermost_pixels():
    shown = fitted(grey(100, 50))  # four times as large
    assert shown.size == (400, 200)
    drawing = np.asarray(draw_overlay(shown, np.zeros((8, 8), np.uint8), (10, 5, 59, 29), (50, 100), ("a", "b")))
    assert drawing.shape[0] > 200
    down, across = np.nonzero((drawing[:200] == GREEN).all(axis=-1))
    assert (across.min(), across.max(), down.min(), down.max()) == (40, 239, 20, 119)
    inside = drawing[24:116, 44:236]
    assert not (inside == GREEN).all(axis=-1).any()
    none = np.asarray(draw_overlay(shown, np.zeros((8, 8), np.uint8), None, (50, 100), ("a", "b")))
    assert not (none == GREEN).all(axis=-1).any()


def test_a_box_of_one_pixel_can_be_seen():
    drawing = np.asarray(draw_overlay(grey(900, 600), np.zeros((8, 8), np.uint8), (0, 0, 0, 0), (6000, 9000), ("", "")))
    assert (drawing == GREEN).all(axis=-1).any()


def test_colour_is_strongest_where_the_map_is_and_the_picture_stays():
    score_map = np.zeros((10, 10), dtype=np.uint8)
    score_map[:, 5:] = 255
    shown = grey(400, 400)
    before = np.asarray(shown).copy()
    pixels = np.asarray(draw_overlay(shown, score_map, None, (400, 400), ("a", "b")))[:400].astype(int)
    assert np.abs(pixels[:, :150] - 90).max() < 30
    assert np.abs(pixels[:, 300:] - 90).max() > 50
    assert np.array_equal(np.asarray(shown), before)


def test_a_caption_fits():
    bold = font(20, bold=True)
    assert _shortened("short", 200, bold) == "short"
    cut = _shortened("a very long name of a class " * 9, 200, bold)
    assert cut.endswith("\u2026")
    assert bold.getlength(cut) <= 200
    assert _shortened("abc", 1, bold) == "\u2026"
    lines = _broken("one two three four five", 60, font(14))
    assert " ".join(lines) == "one two three four five"
    assert len(lines) > 2
    assert all(font(14).getlength(line) <= 60 for line in lines)
    assert _broken("", 60, font(14)) == []


def test_a_narrow_picture_gets_a_caption_too():
    drawing = draw_overlay(grey(30, 400), np.zeros((8, 8), np.uint8), None, (400, 30), ("class", "box 1 2 3 4"))
    assert drawing.width == 30
