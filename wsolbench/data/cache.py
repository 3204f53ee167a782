"""The decoded-image cache: every picture of a split decoded and resized once, kept as one uint8 array on disk.

The pixels are PIL's (bilinear, aspect not kept), as the published numbers' were. A cache file is complete or absent:
it is written under a temporary name, flushed to the disk and renamed. Plain writes, not a writable memory map, make it:
a full disk is then an error that can be reported instead of a bus error that kills the process.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from wsolbench.data.hashing import plain_hash
from wsolbench.data.splits import ImageSplit
from wsolbench.errors import UserError
from wsolbench.progress import progress

Pixels = npt.NDArray[np.uint8]

CACHE_VERSION = 1
"""Part of the key; raised when this module would make other pixels from the same picture."""

_CHUNK = 256  # images decoded between two writes: 50 MB at 256x256, and often enough for the progress bar
_TEMPORARY = ".tmp"


def default_cache_dir() -> Path:
    """Return where the cache is unless the user says otherwise.

    ``$WSOLBENCH_CACHE``, else ``$XDG_CACHE_HOME/wsolbench``, else ``~/.cache/wsolbench``.
    """
    if own := os.environ.get("WSOLBENCH_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "wsolbench"


def cached_images(images: ImageSplit, side: int, cache_dir: Path, quiet: bool = False) -> Pixels:
    """Return a split's pictures as one array, decoding them the first time.

    Several processes may ask for the same split at once: each that finds no file builds its own, and the last
    rename wins.

    Args:
        images: the split; at least one image.
        side: height and width in pixels to squash every picture to.
        cache_dir: folder of the cache; created if it does not exist.
        quiet: plain progress lines even on a terminal.

    Returns:
        uint8 (N, side, side, 3), RGB, 0 to 255, a read-only memory map; image i is ``images.ids[i]``.

    Raises:
        UserError: if a picture is missing or damaged (from ``images.read``), or if the cache cannot be written.
    """
    assert len(images) > 0
    assert side > 0
    path = cache_dir / f"{images.name}-{side}-{_key(images, side)[:32]}.npy"
    header = _header((len(images), side, side, 3))
    size = len(header) + len(images) * side * side * 3
    if not _is_complete(path, header, size):
        _build(images, side, path, header, size, quiet)
    array: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _key(images: ImageSplit, side: int) -> str:
    decoder = f"PIL {PIL.__version__}, wsolbench {CACHE_VERSION}"
    return plain_hash((images.content_key, images.ids, side, decoder))


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the start of a .npy file of uint8 values with this shape."""
    buffer = BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _is_complete(path: Path, header: bytes, size: int) -> bool:
    """Tell whether a file is there, has exactly ``size`` bytes and starts with ``header``."""
    with _explained(path.parent, size), suppress(FileNotFoundError), path.open("rb") as file:
        return os.fstat(file.fileno()).st_size == size and file.read(len(header)) == header
    return False


def _build(images: ImageSplit, side: int, path: Path, header: bytes, size: int, quiet: bool) -> None:
    """Decode every picture into a temporary file and rename it to ``path``, or leave nothing behind."""
    with _explained(path.parent, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        temporary = path.parent / f".{path.stem}-{secrets.token_hex(8)}{_TEMPORARY}"
        file = _open_locked(temporary)
    try:
        with progress(f"decoding {images.name} at {side}x{side}", len(images), quiet=quiet) as bar:
            with _explained(path.parent, size):
                _write(file, header)
            for block in _decoded(images, side):
                with _explained(path.parent, size):
                    _write(file, block.tobytes())
                bar.advance(len(block))
        with _explained(path.parent, size):
            os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        file.close()


def _decoded(images: ImageSplit, side: int) -> Iterator[Pixels]:
    """Yield the pictures in order, uint8 (n, side, side, 3) at a time."""

    def decode(index: int) -> Pixels:
        picture = images.read(index)
        assert picture.mode == "RGB"
        if picture.size != (side, side):
            picture = picture.resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(picture)

    # PIL decodes and resizes outside the interpreter lock. One chunk is in flight, so an error is raised soon after it
    # happens and memory stays bounded however slow the disk is.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(images), _CHUNK):
            indices = range(start, min(start + _CHUNK, len(images)))
            yield np.stack(list(pool.map(decode, indices)))


def _open_locked(path: Path) -> FileIO:
    """Create a file and hold its lock as long as it is open, so that others see that its builder lives."""
    while True:
        file = path.open("xb", buffering=0)
        # A file system without locks loses only the cleaning: there _remove_stale gets no lock either.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # Another process may have taken it for stale, and removed it, before the lock was there.
        if os.fstat(file.fileno()).st_nlink > 0:
            return file
        file.close()


def _write(file: FileIO, data: bytes) -> None:
    """Write all of ``data``; the file has no buffer, so one call may take only a part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _remove_stale(folder: Path) -> None:
    """Remove the temporary files whose builder died: nobody holds their lock."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        with suppress(OSError), path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextmanager
def _explained(folder: Path, size: int) -> Iterator[None]:
    """Turn what the operating system refuses (a full disk, a folder that is not ours) into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot use the image cache {folder} ({error.strerror}); expected a folder that can be written, with "
            f"{size / 1e6:,.0f} MB free, so free some space or choose another one with --cache"
        ) from None
