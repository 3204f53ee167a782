"""Pictures decoded by worker threads: what fills the cache, and what stands in for a cache that would be too large.

Threads, not processes: PIL decodes and resizes outside the interpreter lock (of a 500x375 JPEG made 256x256, 3 ms, nine
tenths), nothing needs to be pickled, an archive is opened once, and no pixel is copied from one process to another
(docs/decisions/0008).
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Read = Callable[[int], Image.Image]

ItemT = TypeVar("ItemT")
MadeT = TypeVar("MadeT")


def usable_cores() -> int:
    """Return how many processor cores this process may use: a scheduler may grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode(read: Read, indices: Iterable[int], out: Pixels) -> None:
    """Decode pictures and squash them to a square (bilinear, aspect not kept), as the published numbers' were.

    Args:
        read: returns picture i in mode RGB.
        indices: which pictures.
        out: uint8 (n, side, side, 3), filled.
    """
    side = out.shape[1]
    for place, index in enumerate(indices):
        picture = read(index)
        assert picture.mode == "RGB"
        if picture.size != (side, side):
            picture = picture.resize((side, side), Image.Resampling.BILINEAR)
        out[place] = np.asarray(picture)


def ahead(
    make: Callable[[ItemT], MadeT], items: Iterable[ItemT], threads: int, waiting: int
) -> Generator[MadeT, None, None]:
    """Make things on threads, in order and a bounded number before they are asked for.

    Args:
        make: makes one; several may be in the making at once.
        items: what to make them of.
        threads: number of worker threads, at least 1.
        waiting: how many may be made or in the making beyond the one that was yielded last, at least 1.

    Yields:
        ``make(item)``, in the order of the items. An error is raised where its result would have been. Closing the
        generator waits for what is in the making and drops the rest.

    >>> list(ahead(abs, [-3, -1, -2], threads=2, waiting=2))
    [3, 1, 2]
    """
    queue: deque[Future[MadeT]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                queue.append(pool.submit(make, item))
                if len(queue) > waiting:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            for future in queue:
                future.cancel()


class Stream:
    """The pictures of one split, decoded each time they are gathered; looks like an array as far as a bank needs.

    The same indices give the same pixels as a cache of the split would, for any number of threads.

    Args:
        read: returns picture i in mode RGB; called from several threads.
        count: number of pictures, N.
        side: height and width in pixels to squash every picture to, R.
        threads: how many decode beside the caller; 0: the caller decodes.

    Attributes:
        shape: (N, R, R, 3).
        nbytes: bytes of all pictures once decoded.
    """

    def __init__(self, read: Read, count: int, side: int, threads: int) -> None:
        self.shape = (count, side, side, 3)
        self.nbytes = count * side * side * 3
        self._read = read
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads else None

    def __len__(self) -> int:
        return self.shape[0]

    def gather(self, indices: Ints, out: Pixels) -> None:
        """Decode pictures.

        Args:
            indices: int64 (n,).
            out: uint8 (n, R, R, 3), filled.

        Raises:
            UserError: a picture is missing or damaged (from ``read``).
        """

        def part(start: int) -> None:
            decode(self._read, wanted[start : start + size], out[start : start + size])

        wanted: Sequence[int] = indices.tolist()
        if self._pool is None:
            size = max(len(wanted), 1)
            part(0)
            return
        # Two parts a thread: pictures differ in size, and the thread with the largest ones should not be waited for.
        size = max(len(wanted) // (2 * self._threads), 1)
        for _ in self._pool.map(part, range(0, len(wanted), size)):
            pass  # raises what a part raised

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Decode all pictures into memory, uint8 (N, R, R, 3): what ``numpy.asarray`` calls."""
        assert dtype is None
        assert copy is not False
        pictures = np.empty(self.shape, dtype=np.uint8)
        self.gather(np.arange(len(self)), pictures)
        return pictures
