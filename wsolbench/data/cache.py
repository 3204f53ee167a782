"""The decoded-image cache: every picture of a split decoded and resized once, kept as one uint8 array on disk.

The pixels are PIL's (bilinear, aspect not kept), as the published numbers' were. A cache file is complete or absent: it
is written under a temporary name, flushed to the disk and renamed. Plain writes, not a writable memory map, make it: a
full disk is then an error that can be reported instead of a bus error that kills the process.

While it is made, a file holds behind its pixels a table with a digest of each chunk:

    | .npy header | chunk 0 | chunk 1 | ... | chunk n-1 | digest 0 | digest 1 | ... | digest n-1 |

A build that was interrupted is taken up behind the last leading chunk that has its digest: what a power cut left
unwritten, or half written, does not have it. The table is cut off before the file gets its name.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from errno import ENOSPC
from functools import partial
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
import PIL

from wsolbench.data.hashing import plain_hash
from wsolbench.data.splits import ImageSplit
from wsolbench.data.streaming import Pixels, ahead, decode, usable_cores
from wsolbench.errors import UserError
from wsolbench.progress import progress

CACHE_VERSION = 1
"""Part of the key; raised when this module would make other pixels from the same picture."""

_CHUNK = 32  # images that one thread decodes between two writes: 6 MB at 256x256, and often enough for the progress bar
_DIGEST = 8  # bytes
_TEMPORARY = ".tmp"
_KEPT_S = 7 * 86400  # how long an interrupted build is kept: it may be as large as the cache itself
_POLL_S = 0.5


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

    Several processes may ask for the same split at once: one decodes, the others wait for it, and one of them goes on
    where it was killed. A build that was interrupted goes on where it stopped.

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
    file = _cache_file(images, side, cache_dir)
    if not _is_complete(file):
        _build(images, file, quiet)
    array: Pixels = np.load(file.path, mmap_mode="r", allow_pickle=False)
    return array


def missing_bytes(images: ImageSplit, side: int, cache_dir: Path) -> int:
    """Return how much of a split's cache is not on the disk yet; 0: it is complete.

    Args:
        images: the split; at least one image.
        side: height and width in pixels.
        cache_dir: folder of the cache; need not exist.

    Raises:
        UserError: the folder cannot be used.
    """
    file = _cache_file(images, side, cache_dir)
    if _is_complete(file):
        return 0
    with _explained(file), suppress(FileNotFoundError):
        # What is behind the end of what was written, up to the table, takes no blocks.
        return max(file.size - file.partial.stat().st_blocks * 512, 1)
    return file.size


@dataclass(frozen=True, kw_only=True)
class _File:
    """A cache file, there or not."""

    path: Path
    shape: tuple[int, int, int, int]
    header: bytes

    @property
    def partial(self) -> Path:
        """Where it is made; the same for every builder, so that one can go on where another stopped."""
        return self.path.with_name(f".{self.path.stem}{_TEMPORARY}")

    @property
    def chunks(self) -> range:
        """The first image of each chunk."""
        return range(0, self.shape[0], _CHUNK)

    @property
    def size(self) -> int:
        """Bytes of the complete file."""
        return self.place(self.shape[0])

    def place(self, image: int) -> int:
        """Where an image begins, in bytes."""
        return len(self.header) + image * self.shape[1] * self.shape[2] * self.shape[3]

    def end(self, start: int) -> int:
        """Return the image behind the last one of a chunk."""
        return min(start + _CHUNK, self.shape[0])

    def table(self, start: int) -> int:
        """Where the digest of a chunk is, in bytes."""
        return self.size + start // _CHUNK * _DIGEST


def _cache_file(images: ImageSplit, side: int, cache_dir: Path) -> _File:
    assert len(images) > 0
    assert side > 0
    decoder = f"PIL {PIL.__version__}, wsolbench {CACHE_VERSION}"
    key = plain_hash((images.content_key, images.ids, side, decoder))
    shape = (len(images), side, side, 3)
    return _File(path=cache_dir / f"{images.name}-{side}-{key[:32]}.npy", shape=shape, header=_header(shape))


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the start of a .npy file of uint8 values with this shape."""
    buffer = BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _is_complete(file: _File) -> bool:
    """Tell whether a file is there, has exactly its size and starts with its header."""
    with _explained(file), suppress(FileNotFoundError), file.path.open("rb") as opened:
        return os.fstat(opened.fileno()).st_size == file.size and opened.read(len(file.header)) == file.header
    return False


# --- building ---------------------------------------------------------------------------------------------------------


def _build(images: ImageSplit, file: _File, quiet: bool) -> None:
    """Decode every picture that is not there yet into the temporary file and give it its name."""
    with _explained(file):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(file.path.parent)
        opened = _take_over(file)
    if opened is None:
        return
    temporary, handle = opened
    with handle:
        try:
            kept = _count_kept(handle, file, quiet)
            _refuse_full_disk(handle, file)
            _fill(handle, images, file, kept, quiet)
            with _explained(file):
                os.ftruncate(handle.fileno(), file.size)
                os.fsync(handle.fileno())
                os.replace(temporary, file.path)
        except BaseException as error:
            # After a UserError nobody goes on: the disk is full, and needs the space, or a picture must be replaced,
            # and then the key is another. A file of one builder alone is of use to no other.
            if isinstance(error, UserError) or temporary != file.partial:
                temporary.unlink(missing_ok=True)
            raise


def _fill(handle: FileIO, images: ImageSplit, file: _File, kept: int, quiet: bool) -> None:
    """Decode the pictures behind the first ``kept`` ones, several chunks at once, and write them in order."""

    def decoded(start: int) -> tuple[int, Pixels, bytes]:
        pixels = np.empty((file.end(start) - start, *file.shape[1:]), dtype=np.uint8)
        decode(images.read, range(start, file.end(start)), pixels)
        return start, pixels, _digest(pixels.data)

    count, side = file.shape[:2]
    label = f"decoding {images.name} at {side}x{side}" + (f", {kept} of {count} kept" if kept else "")
    threads = usable_cores()
    with _explained(file):
        _write(handle, file.header, 0)
    # An error is raised soon after it happens, and memory stays bounded however slow the disk is.
    chunks = ahead(decoded, range(kept, count, _CHUNK), threads, 2 * threads)
    with progress(label, count - kept, quiet=quiet) as bar, closing(chunks):
        for start, pixels, digest in chunks:
            with _explained(file):
                _write(handle, pixels.data.cast("B"), file.place(start))
                _write(handle, digest, file.table(start))
            bar.advance(len(pixels))


def _count_kept(handle: FileIO, file: _File, quiet: bool) -> int:
    """Return how many images an interrupted build has left: those of the leading chunks that have their digest."""
    if os.fstat(handle.fileno()).st_size == 0:
        return 0
    matches = ahead(partial(_is_kept, handle.fileno(), file), file.chunks, usable_cores(), 2 * usable_cores())
    label = f"checking what an interrupted build of {file.path.stem.rpartition('-')[0]} left"
    with _explained(file), progress(label, file.shape[0], quiet=quiet) as bar, closing(matches):
        for start, matching in zip(file.chunks, matches, strict=True):
            if not matching:
                return start
            bar.advance(file.end(start) - start)
    return file.shape[0]


def _is_kept(descriptor: int, file: _File, start: int) -> bool:
    """Tell whether a chunk has its digest."""
    size = file.place(file.end(start)) - file.place(start)
    pixels = os.pread(descriptor, size, file.place(start))
    return len(pixels) == size and os.pread(descriptor, _DIGEST, file.table(start)) == _digest(pixels)


def _digest(pixels: bytes | memoryview) -> bytes:
    return hashlib.blake2b(pixels, digest_size=_DIGEST).digest()


def _write(handle: FileIO, data: bytes | memoryview, place: int) -> None:
    """Write all of ``data`` at a place; one call may take only a part of it."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(handle.fileno(), rest, place)
        rest, place = rest[written:], place + written


def _refuse_full_disk(handle: FileIO, file: _File) -> None:
    """Refuse at once what would fail after hours."""
    with _explained(file):
        missing = file.size - os.fstat(handle.fileno()).st_blocks * 512
        if missing > shutil.disk_usage(file.path.parent).free:
            raise OSError(ENOSPC, os.strerror(ENOSPC))


# --- several builders -------------------------------------------------------------------------------------------------


def _take_over(file: _File) -> tuple[Path, FileIO] | None:
    """Open the temporary file and hold its lock, so that others see that its builder lives.

    Waits while another process holds it. On a file system without locks every builder has a file of its own.

    Returns:
        The file and its name; None if another process has completed the cache meanwhile.
    """
    told = False
    while True:
        handle = FileIO(os.open(file.partial, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            if not told:
                sys.stderr.write(f"waiting for another process that decodes the same images into {file.path.parent}\n")
                told = True
            time.sleep(_POLL_S)
            continue
        except OSError:
            handle.close()
            own = file.partial.with_name(f"{file.partial.stem}-{secrets.token_hex(8)}{_TEMPORARY}")
            return own, FileIO(own, "x+")
        if _has_name(handle, file.partial):
            if not _is_complete(file):
                return file.partial, handle
            file.partial.unlink()
        # Else its builder gave it the cache's name, or removed it, before the lock was free.
        handle.close()
        if _is_complete(file):
            return None


def _has_name(handle: FileIO, path: Path) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_stale(folder: Path) -> None:
    """Remove temporary files whose builder died long ago: nobody holds their lock, and nobody came back."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_S:
                with path.open("rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


@contextmanager
def _explained(file: _File) -> Iterator[None]:
    """Turn what the operating system refuses (a full disk, a folder that is not ours) into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot use the image cache {file.path.parent} ({error.strerror}); expected a folder that can be written, "
            f"with {file.size / 1e6:,.0f} MB free, so free some space, choose another one with --cache, or use --cache "
            "none, which keeps no decoded images"
        ) from None
