"""Listing folders with a million files once: names, sizes and times, kept in the cache until a folder changes.

A folder's own time changes when a file in it comes, goes or gets another name; that is what is looked at, one question
a folder instead of one a file. A file that is overwritten in place is not noticed: nobody does that to ImageNet, and
``touch`` on its folder makes it seen.
"""

import hashlib
import io
import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsolbench.data.cache import default_cache_dir
from wsolbench.data.decoded import NO_CACHE
from wsolbench.data.hashing import plain_hash
from wsolbench.data.listed import keep
from wsolbench.data.sources import Source
from wsolbench.progress import progress

Ints = npt.NDArray[np.int64]

VERSION = 1
"""Of what the file holds."""

_SETTLED = 2_000_000_000  # nanoseconds: a folder listed sooner after its last change may have changed again unseen


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """The files that lie directly in some folders.

    Attributes:
        names: of each folder, the names of its files, sorted.
        content_key: hash of all names, sizes and times.
    """

    names: tuple[tuple[str, ...], ...]
    content_key: str


def list_folders(
    source: Source, folders: Sequence[str], suffixes: Sequence[str], cache: Path | None, quiet: bool = False
) -> Listing:
    """List the files of folders, from the cache where nothing has changed.

    Args:
        source: where they are; of an archive the index is at hand, and nothing is kept.
        folders: their names.
        suffixes: endings, in small letters, of the files to list; hidden files are left out.
        cache: folder of the cache; None: the user's; ``none``: nowhere.
        quiet: plain progress lines.

    Raises:
        UserError: a folder cannot be read, a link leaves the source, or the cache cannot be written.
    """
    times = _times(source, folders)
    key = plain_hash([VERSION, os.path.realpath(source.root), list(folders), list(suffixes)])[:32]
    path = (cache or default_cache_dir()) / f"listing-{key}.npz"
    if times is not None and (known := _read(path, times)) is not None:
        return known
    now = time.time_ns()
    digest = hashlib.sha256()
    names = []
    with progress(f"listing {source.label(os.path.commonpath(folders))}", len(folders), "folders", quiet) as bar:
        for folder in folders:
            own = [
                name for name in source.children(folder) if name.lower().endswith(tuple(suffixes)) and name[0] != "."
            ]
            stamps = [list(source.stamp(f"{folder}/{name}")) for name in own]
            digest.update(plain_hash(stamps).encode())
            names.append(tuple(own))
            bar.advance(1)
    made = Listing(names=tuple(names), content_key=digest.hexdigest())
    if times is not None and cache != NO_CACHE and now - int(times.max(initial=0)) > _SETTLED:
        _write(path, made, times)
    return made


def _times(source: Source, folders: Sequence[str]) -> Ints | None:
    """Return when each folder changed, int64 nanoseconds; None for an archive."""
    if not source.root.is_dir():
        return None
    return np.array([_time(source.root / folder) for folder in folders], dtype=np.int64)


def _time(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0  # not there, and so empty


def _read(path: Path, times: Ints) -> Listing | None:
    """Return what was kept; None if it is not there, damaged, or a folder has changed."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if not np.array_equal(kept["times"], times):
                return None
            counts = kept["counts"].tolist()
            names = kept["names"].tobytes().decode().split("\n")
            key = str(kept["key"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    if len(names) != max(sum(counts), 1):
        return None
    ends = np.cumsum(counts).tolist()
    parts = tuple(tuple(names[end - count : end]) for count, end in zip(counts, ends, strict=True))
    return Listing(names=parts, content_key=key)


def _write(path: Path, listing: Listing, times: Ints) -> None:
    text = "\n".join(name for names in listing.names for name in names)
    if text.count("\n") + 1 != max(sum(map(len, listing.names)), 1):
        return  # a name with a line break: not kept
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        times=times,
        counts=np.array([len(names) for names in listing.names], dtype=np.int64),
        names=np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8),
        key=np.array(listing.content_key),
    )
    keep(path, buffer.getvalue())
