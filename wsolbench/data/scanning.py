"""Reading every picture of a split once, to know what it is: its size, its content, its rotation, or why it fails."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.data.masks import read_masks
from wsolbench.data.splits import Annotations, ImageSplit, Ints
from wsolbench.data.streaming import ahead, usable_cores
from wsolbench.errors import UserError
from wsolbench.progress import progress

Look = Callable[[int, Image.Image], None]
"""Is shown picture i of a split, mode RGB; called from several threads."""

MadeT = TypeVar("MadeT")

READABLE, MISSING, DAMAGED = 0, 1, 2

KEPT_REASONS = 1_000
"""Failures whose reason is kept; of further ones only that they failed, so that 1.28 M of them stay small."""

_DIGEST = 8  # bytes: that any two of 1.28 M different pictures share one has a chance of 4e-8
_CHUNK = 32  # pictures that one thread reads in a row; each is let go before the next
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright, 2 to 8 are mirrored or rotated


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What the N pictures of a split are; 26 bytes a picture.

    Attributes:
        state: uint8 (N,), READABLE, MISSING or DAMAGED.
        sizes: int64 (N, 2), height and width in pixels; 0 for a picture that is not readable.
        digests: uint64 (N,), a hash of size and decoded pixels; 0 for a picture that is not readable.
        orientations: uint8 (N,), EXIF's: 1 is upright or unknown, 2 to 8 mirrored or rotated.
        reasons: why a picture is not readable, one sentence by its index; of the first failures only.
    """

    state: npt.NDArray[np.uint8]
    sizes: Ints
    digests: npt.NDArray[np.uint64]
    orientations: npt.NDArray[np.uint8]
    reasons: Mapping[int, str]


class _Seen(NamedTuple):
    """One picture."""

    state: int
    size: tuple[int, int] = (0, 0)
    digest: int = 0
    orientation: int = 1
    reason: str = ""


def scan(images: ImageSplit, look: Look | None = None, quiet: bool = False) -> Scan:
    """Read every picture of a split once, on all cores; whatever is wrong with one, the others are read all the same.

    Args:
        images: the split.
        look: is shown every picture that can be read.
        quiet: plain progress lines even on a terminal.
    """
    count = len(images)
    state, orientations = np.zeros(count, dtype=np.uint8), np.ones(count, dtype=np.uint8)
    sizes, digests = np.zeros((count, 2), dtype=np.int64), np.zeros(count, dtype=np.uint64)
    reasons: dict[int, str] = {}
    for index, seen in enumerate(_each(lambda each: _see(images, each, look), count, f"reading {images.name}", quiet)):
        state[index], sizes[index], digests[index] = seen.state, seen.size, seen.digest
        orientations[index] = seen.orientation
        if seen.reason and len(reasons) < KEPT_REASONS:
            reasons[index] = seen.reason
    return Scan(state=state, sizes=sizes, digests=digests, orientations=orientations, reasons=reasons)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskScan:
    """What the masks of N images are.

    Attributes:
        cover: float64 (N,), the share of the image that its object masks cover; NaN where a mask cannot be read.
        reasons: why, one sentence by the image's index; of the first failures only.
    """

    cover: npt.NDArray[np.float64]
    reasons: Mapping[int, str]


def scan_masks(annotations: Annotations, side: int, quiet: bool = False) -> MaskScan:
    """Read every mask of a split once, on all cores.

    Args:
        annotations: of a split with masks.
        side: side of the evaluation size in pixels.
        quiet: plain progress lines even on a terminal.
    """
    masks, count = annotations.masks, len(annotations)
    assert masks is not None

    def covered(index: int) -> tuple[float, str]:
        try:
            return float(read_masks(masks, index, (side, side))[0].mean()), ""
        except UserError as error:
            return np.nan, str(error)

    cover, reasons = np.full(count, np.nan), dict[int, str]()
    for index, (share, reason) in enumerate(_each(covered, count, f"reading the masks of {annotations.split}", quiet)):
        cover[index] = share
        if reason and len(reasons) < KEPT_REASONS:
            reasons[index] = reason
    return MaskScan(cover=cover, reasons=reasons)


def pixel_digest(picture: Image.Image) -> int:
    """Return the hash of a picture's size and pixels, 0 to 2**64 - 1: equal pictures may be differently written files.

    >>> grey, white = (Image.new("RGB", (4, 2), colour) for colour in ("grey", "white"))
    >>> pixel_digest(grey) == pixel_digest(grey.copy()), pixel_digest(grey) == pixel_digest(white)
    (True, False)
    """
    digest = hashlib.blake2b(f"{picture.width}x{picture.height}:".encode(), digest_size=_DIGEST)
    digest.update(picture.tobytes())
    return int.from_bytes(digest.digest(), "little")


def _each(make: Callable[[int], MadeT], count: int, label: str, quiet: bool) -> Iterator[MadeT]:
    """Yield ``make(i)`` for all i below ``count``, in order, made on all cores; shows progress."""

    def made(start: int) -> list[MadeT]:
        return [make(index) for index in range(start, min(start + _CHUNK, count))]

    threads = usable_cores()
    parts = ahead(made, range(0, count, _CHUNK), threads, 2 * threads)
    with progress(label, count, quiet=quiet) as bar, closing(parts):
        for part in parts:
            yield from part
            bar.advance(len(part))


def _see(images: ImageSplit, index: int, look: Look | None) -> _Seen:
    try:
        picture = images.read(index)
    except UserError as error:
        return _Seen(MISSING if _is_missing(error) else DAMAGED, reason=str(error))
    except Exception as error:  # a decoder's surprise, which would end a run: to be reported with the others
        return _Seen(DAMAGED, reason=f"{images.ids[index]}: unexpected {type(error).__name__}: {error}")
    if look is not None:
        look(index, picture)
    return _Seen(READABLE, (picture.height, picture.width), pixel_digest(picture), _orientation(picture))


def _is_missing(error: UserError) -> bool:
    """Tell whether a picture's file is not there: sources turn what the system or an archive said into a sentence."""
    cause: BaseException | None = error
    while isinstance(cause, UserError):
        cause = cause.__context__
    return isinstance(cause, (FileNotFoundError, KeyError))


def _orientation(picture: Image.Image) -> int:
    """Return EXIF's orientation, which survives ``convert("RGB")``; 1 where it says nothing that can be understood."""
    if "exif" not in picture.info:
        return 1
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # what PIL raises for damaged EXIF depends on where the damage lies; nobody else reads it
        return 1
    return value if value in range(1, 9) else 1
