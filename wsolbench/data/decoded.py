"""The pictures of a split, decoded: from the cache, or, where that would be too large, as they are needed."""

import shutil
import sys
from pathlib import Path

from wsolbench.data.cache import cached_images, default_cache_dir, missing_bytes
from wsolbench.data.splits import ImageSplit
from wsolbench.data.streaming import Pixels, Stream, usable_cores
from wsolbench.files import nearest_existing

NO_CACHE = Path("none")
"""What ``--cache`` is where decoded images shall not be kept; a folder of this name is reached by its full path."""

_SHARE = 2  # a cache may take one part in so many of what is free: others need the disk, and results go somewhere too


def decoded_images(images: ImageSplit, side: int, cache: Path | None, quiet: bool = False) -> Pixels | Stream:
    """Return a split's pictures: those of its cache, which is made the first time, or a stream with the same pixels.

    It is a stream if ``cache`` is ``none``, or if what is missing of the cache would take more than half of what is
    free on its disk; a sentence on standard error says so. A cache that is complete is always used.

    Args:
        images: the split; at least one image.
        side: height and width in pixels to squash every picture to.
        cache: folder of the decoded images; None: the user's; :data:`NO_CACHE`: nowhere.
        quiet: plain progress lines even on a terminal.

    Returns:
        uint8 (N, side, side, 3), RGB, 0 to 255; image i is ``images.ids[i]``.

    Raises:
        UserError: a picture is missing or damaged (a stream says so when it comes to it), or the cache cannot be used.
    """
    folder = cache or default_cache_dir()
    if folder == NO_CACHE:
        return _stream(images, side, "--cache none keeps no decoded images")
    missing = missing_bytes(images, side, folder)
    free = shutil.disk_usage(nearest_existing(folder)).free
    if missing > free // _SHARE:
        reason = f"a cache needs {missing / 1e9:,.1f} GB, more than half of the {free / 1e9:,.1f} GB free in {folder}"
        return _stream(images, side, f"{reason} (--cache DIR takes another disk)")
    return cached_images(images, side, folder, quiet)


def _stream(images: ImageSplit, side: int, reason: str) -> Stream:
    """Return a stream and say why it is one."""
    threads = usable_cores()
    count = f"{len(images):,} images of {images.name}"
    workers = f"{threads} thread{'s' if threads > 1 else ''}"
    sys.stderr.write(f"decoding the {count} each time they are needed, on {workers}: {reason}\n")
    return Stream(images.read, len(images), side, threads)
