"""Decoding one picture: what each kind becomes, and one sentence for what is none."""

import random
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from wsolbench.data.pictures import MAX_PIXELS, decode, exif_orientation, orientation_of, picture_size
from wsolbench.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def written(picture, kind, **options):
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(width, height, rows=b"", depth=8):
    """Write a PNG by hand: its header may promise more than it has."""

    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, 2, 0, 0, 0])
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("GIF", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(("WEBP", mode) for mode in ("L", "RGB", "RGBA")),
        *(("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
    ],
)
def test_pixels_are_those_of_pils_conversion(mode, kind):
    data = written(PICTURE.convert(mode), kind)
    with Image.open(BytesIO(data)) as same:
        expected = np.asarray(same.convert("RGB"))
    found = decode(data, "a")
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), expected)
    assert picture_size(data, "a") == (6, 9)


def test_transparent_pixels_show_what_lies_under_them():
    hidden = np.dstack([PIXELS, np.zeros((6, 9), np.uint8)])
    np.testing.assert_array_equal(np.asarray(decode(written(Image.fromarray(hidden), "PNG"), "a")), PIXELS)


def test_a_palette_with_transparency_is_read_without_a_warning():
    palette = PICTURE.convert("P")
    data = written(palette, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(np.asarray(decode(data, "a")), np.asarray(palette.convert("RGB")))


def test_16_bit_grey_keeps_its_high_byte():
    values = np.array([[0, 255, 256, 511], [512, 32768, 65279, 65535]], dtype=np.uint16)
    found = np.asarray(decode(written(Image.fromarray(values), "PNG"), "a"))
    assert found[..., 0].tolist() == [[0, 0, 1, 1], [2, 128, 254, 255]]
    assert (found == found[..., :1]).all()


def test_16_bit_colour_keeps_its_high_byte_too():
    rows = b"\0" + bytes([0, 255, 1, 0, 127, 255]) + bytes([255, 255, 254, 255, 2, 0])
    found = np.asarray(decode(png(2, 1, rows, depth=16), "a"))
    assert found.tolist() == [[[0, 1, 127], [255, 254, 2]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_several_frames_it_is_the_first(kind):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("#ff0000", "#0000ff")]
    data = written(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert np.asarray(decode(data, "a")).reshape(-1, 3)[0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_told_and_not_followed(kind):
    data = written(PICTURE, kind, exif=turned(6))
    assert exif_orientation(data) == orientation_of(decode(data, "a")) == 6
    assert decode(data, "a").size == (9, 6)
    assert picture_size(data, "a") == (6, 9)


@pytest.mark.parametrize(
    "data",
    [b"", b"text", written(PICTURE, "JPEG"), written(PICTURE, "JPEG", exif=turned(9)), png(3, 3)],
    ids=["empty", "text", "without", "nonsense", "cut"],
)
def test_a_picture_without_a_known_orientation_is_as_stored(data):
    assert exif_orientation(data) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"cannot read it\.jpg \(it is empty\); expected a complete picture"),
        (b"not a picture\n" * 9, r"\(it is not JPEG, PNG, GIF, WEBP or BMP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"\(it is not JPEG"),
        (written(PICTURE, "TIFF"), r"\(it is not JPEG"),
        (written(PICTURE, "JPEG")[:3], r"\(it is not JPEG"),
        (written(PICTURE, "JPEG")[:-20], r"\(a truncated or damaged JPEG: "),
        (written(PICTURE, "PNG")[:80], r"\(a truncated or damaged PNG: "),
        (written(PICTURE, "WEBP")[:40], r"truncated or damaged|not JPEG"),
        (written(PICTURE, "BMP")[:90], r"\(a truncated or damaged BMP: "),
        (png(20_000, 20_000), r"\(it has more than 89,478,485 pixels, the limit\); .* make it smaller$"),
        (png(10_000, 9_000), r"\(it has more than 89,478,485 pixels"),
        (png(200_000, 200_000), r"\(it has more than 89,478,485 pixels"),
        (png(0, 7), r"cannot read it\.jpg \("),
    ],
)
def test_what_is_no_picture_is_one_sentence(data, message):
    with pytest.raises(UserError, match=message) as caught:
        decode(data, "it.jpg")
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_picture_is_refused_by_its_header_alone():
    with pytest.raises(UserError, match="the limit"):
        picture_size(png(10_000, 9_000), "a")
    assert 9_459**2 <= MAX_PIXELS < 9_460**2
    assert picture_size(png(9_459, 9_459), "a") == (9_459, 9_459)  # only decoding would miss its pixels


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize(
    "data",
    [
        written(PICTURE, "JPEG", exif=turned(6)),
        written(PICTURE, "JPEG", progressive=True),
        written(PICTURE.convert("P"), "PNG", transparency=bytes(256)),
        written(PICTURE.convert("P"), "GIF"),
        written(PICTURE, "WEBP"),
        written(PICTURE, "BMP"),
        written(Image.fromarray(PIXELS[..., 0].astype(np.uint16)), "PNG"),
    ],
)
def test_any_damage_is_a_picture_or_one_sentence(data):
    draw = random.Random(0)  # noqa: S311
    refused = 0
    for _ in range(150):
        damaged = bytearray(data[: draw.randrange(len(data))] if draw.random() < 0.3 else data)
        for _ in range(draw.choice([0, 1, 3])):
            damaged[draw.randrange(len(damaged)) :][:1] = damaged[:1]
        for _ in range(draw.choice([1, 3]) if damaged else 0):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            assert decode(bytes(damaged), "a").mode == "RGB"
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
        exif_orientation(bytes(damaged))
    assert refused > 10


def test_warnings_of_damaged_exif_are_not_shown(tmp_path):
    data = bytearray(written(PICTURE, "JPEG", exif=turned(6)))
    data[data.index(b"MM\0*") + 9] = 40  # entries that are not there
    (tmp_path / "a.jpg").write_bytes(data)
    program = (
        "import pathlib, sys, warnings; warnings.simplefilter('default'); from wsolbench.data.pictures import *; "
        "data = pathlib.Path(sys.argv[1]).read_bytes(); print(decode(data, 'a').size, exif_orientation(data))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.jpg"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("(9, 6)")
    assert done.stderr == ""
