"""Decoding one picture to RGB: the pixels of PIL's ``convert("RGB")``, and one sentence for what cannot be decoded.

What the user's file may be, and what becomes of it:

* greyscale, palette, CMYK, RGBA: as PIL converts them; transparency is dropped, what lies under it shows
* 16-bit greyscale: the high byte of every value. PIL would clip, so that everything above 255 is white; it is also what
  PIL does to 16-bit colour
* more than one frame (GIF, WebP, PNG): the first
* EXIF rotation: ignored, as the published numbers were (PROTOCOL), so boxes are those of the picture as it is stored;
  :func:`exif_orientation` tells where a viewer would turn it
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsolbench.errors import UserError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
"""What is read. PIL knows more, among it formats that run other programs, and TIFF, which only some versions rotate."""

MAX_PIXELS = 2**30 // 4 // 3
"""The most pixels that a picture may have, which its header tells: 89 million, a quarter of a GiB as RGB."""

_ORIENTATION = 0x0112  # EXIF's tag

# Said once for the process: warnings.catch_warnings is not safe in the threads that decode.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)  # from PIL's own limit, equal to ours
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damaged EXIF, beside intact pixels


def decode(data: bytes, label: str) -> Image.Image:
    """Decode a picture, without EXIF rotation; the module's text says what becomes of each kind.

    Args:
        data: the file's bytes.
        label: how to call the file in the error.

    Returns:
        A picture of mode RGB, as large as it is stored; of an animation the first frame.

    Raises:
        UserError: it is empty, no picture of :data:`FORMATS`, damaged, or has more than :data:`MAX_PIXELS`.
    """
    with _opened(data, label) as picture:
        return _to_rgb(picture)


def picture_size(data: bytes, label: str) -> tuple[int, int]:
    """Return a picture's size (H, W) in pixels, as it is stored, from its first bytes; nothing is decoded.

    Raises:
        UserError: as :func:`decode`, for what shows before the pixels.
    """
    with _opened(data, label) as picture:
        return picture.height, picture.width


def exif_orientation(data: bytes) -> int:
    """Return how a viewer would turn a picture: 1 as stored, 3 upside down, 6 and 8 by a quarter; the others mirrored.

    Nothing here turns pictures. Boxes that were drawn in a program that does are those of another picture.

    Args:
        data: the file's bytes.

    Returns:
        1 to 8; 1 also where there is nothing that can be understood.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            return orientation_of(picture)
    except Exception:  # PIL raises nearly anything for damaged files, and here it is all the same
        return 1


def orientation_of(picture: Image.Image) -> int:
    """Return :func:`exif_orientation` of a picture that was opened or that :func:`decode` returned."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # as there
        return 1
    return value if value in range(1, 9) else 1


@contextmanager
def _opened(data: bytes, label: str) -> Iterator[Image.Image]:
    """Open a picture and turn everything that PIL may say about it, now or while it is decoded, into one sentence."""
    what = "picture"
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            what = picture.format or what
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _refusal(
            label,
            f"it has more than {MAX_PIXELS:,} pixels, the limit",
            "expected a picture that fits into memory, so make it smaller",
        ) from None
    except UnidentifiedImageError:
        reason = (
            f"it is not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, or not even its start" if data else "it is empty"
        )
        raise _refusal(label, reason) from None
    # What PIL raises for damaged data depends on where the damage lies.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise _refusal(label, f"a truncated or damaged {what}: {reason}") from None


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode[0] != "I":
        # A palette's transparency changes no pixel of the conversion, PIL only warns about it.
        picture.info.pop("transparency", None)
        return picture.convert("RGB")
    high = np.asarray(picture) >> 8  # PNG's 16 bits, in 32 before Pillow 11
    rgb = Image.fromarray(high.astype(np.uint8)).convert("RGB")
    rgb.info = dict(picture.info)
    return rgb


def _refusal(
    label: str, reason: str, advice: str = "expected a complete picture, so restore it or download it again"
) -> UserError:
    return UserError(f"cannot read {label} ({reason}); {advice}")
