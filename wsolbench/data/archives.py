"""Files in a ``.zip``, a ``.tar`` or a ``.tgz``, read where they are.

Archives are never unpacked into files, so an archive can at worst name a member wrongly, and then it is refused, as are
encrypted members, links and zip bombs.

A ``.tgz`` has no random access, and unpacking it once is faster than reading it twice. So its *stream* is decompressed
once, as one ``.tar`` in the cache folder, and read from there: one file instead of ten thousand, complete or absent (it
gets its name when it is whole), no name of the archive ever becomes a path on the disk, and an interrupted
decompression, some seconds for a gigabyte, is simply repeated.
"""

import gzip
import hashlib
import os
import re
import secrets
import stat
import tarfile
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wsolbench.data.cache import default_cache_dir
from wsolbench.data.decoded import NO_CACHE
from wsolbench.data.sources import ADVICE, Source, Stamp
from wsolbench.errors import UserError

LARGEST_MEMBER = 2**30
"""Bytes that one file of an archive may have when it is unpacked: 1 GiB, five times the largest annotation file."""

LARGEST_RATIO = 200
"""How many times larger than its compressed form a file may be, from :data:`SMALL` bytes on; pictures reach 1.1."""

SMALL = 2**24
"""Bytes below which no compression is absurd: 16 MiB do no harm."""

_BLOCK = 2**20


class _Archive(Source):
    """Files in an archive, by the names of its members."""

    _folders: Mapping[str, set[str]]

    @abstractmethod
    def _members(self) -> Iterator[str]:
        """Yield the names of all files of the archive."""

    def names(self, under: str = "") -> list[str]:
        """Return the names of all files below a folder, sorted."""
        start, own = self._path(under), len(self.prefix) + 1 if self.prefix else 0
        inside = f"{start}/" if start else ""
        return sorted(name[own:] for name in self._members() if name.startswith(inside))

    def children(self, folder: str = "") -> list[str]:
        """Return what is directly in a folder, sorted; empty if it is none."""
        return sorted(self._folders.get(self._path(folder), ()))


def _folders_of(names: Iterator[str]) -> dict[str, set[str]]:
    """Return what is directly in each folder."""
    folders: dict[str, set[str]] = {}
    for name in names:
        child = name
        while child:
            folder, _, last = child.rpartition("/")
            inside = folders.setdefault(folder, set())
            if last in inside:
                break  # then so are all the folders above
            inside.add(last)
            child = folder
    return folders


class ZipSource(_Archive):
    """Files in a ``.zip``."""

    def __init__(self, archive: Path, *, prefix: str = "", advice: str = ADVICE) -> None:
        super().__init__(archive, prefix, advice)
        self._open: dict[int, zipfile.ZipFile] = {}
        for name in self._members():
            self._refuse_unsafe(name)
        self._folders = _folders_of(self._members())

    def __reduce__(self) -> tuple[object, ...]:
        return _open_zip, (self.root, self.prefix, self._advice)

    def _zip(self) -> zipfile.ZipFile:
        """Open the archive once a process: threads share a ZipFile's lock, a forked child only its file position."""
        process = os.getpid()
        if process not in self._open:
            try:
                self._open[process] = zipfile.ZipFile(self.root)
            # A damaged directory of the archive shows as one or another, depending on where the damage lies.
            except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
                raise self._unreadable(str(self.root), f"not a complete zip archive: {error}") from None
        return self._open[process]

    def _members(self) -> Iterator[str]:
        return (name for name in self._zip().namelist() if not name.endswith("/"))

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        return self._path(name) in self._zip().NameToInfo and not name.endswith("/")

    def stamp(self, name: str) -> Stamp:
        """Return name, size in bytes and CRC-32."""
        entry = self._entry(name)
        return (name, entry.file_size, entry.CRC)

    def read(self, name: str) -> bytes:
        """Return a file's bytes, checked by their CRC-32."""
        entry = self._entry(name)
        if entry.flag_bits & 1:
            raise self._unreadable(self.label(name), "it is encrypted")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise self._unreadable(self.label(name), "it is a symbolic link")
        self._refuse_bomb(name, entry)
        try:
            return self._zip().read(entry)
        # NotImplementedError, RuntimeError: an unsupported entry.
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise self._unreadable(self.label(name), str(error)) from None

    def below(self, folder: str) -> "ZipSource":
        """Return the same files by their names below one of the folders."""
        source = object.__new__(ZipSource)
        source.__dict__.update(self.__dict__, prefix=self._path(folder))
        return source

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._zip().getinfo(self._path(name))
        except KeyError:
            raise self._unreadable(self.label(name), "it is not in the archive") from None

    def _refuse_bomb(self, name: str, entry: zipfile.ZipInfo) -> None:
        """Refuse a member by its stated size, beyond which zipfile does not read."""
        size = entry.file_size
        if size > LARGEST_MEMBER or (size > SMALL and size > LARGEST_RATIO * entry.compress_size):
            raise self._unreadable(
                self.label(name),
                f"unpacked it would have {size:,} bytes, from {entry.compress_size:,}; the limits are "
                f"{LARGEST_MEMBER:,} and {LARGEST_RATIO} times",
            )


def _open_zip(root: Path, prefix: str, advice: str) -> ZipSource:
    return ZipSource(root, prefix=prefix, advice=advice)


class TarSource(_Archive):
    """Files in a ``.tar``, by an index of their places that is made once; ``plain`` is it if the archive is packed."""

    def __init__(self, archive: Path, *, advice: str = ADVICE, plain: Path | None = None) -> None:
        super().__init__(archive, "", advice)
        self._plain = archive if plain is None else plain
        self._open: dict[int, int] = {}
        status = archive.stat()
        self._version = (status.st_size, status.st_mtime_ns)
        self._places: dict[str, tuple[int, int]] = {}  # name -> first byte, size; size -1: a link
        self._index()
        self._folders = _folders_of(self._members())

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    def __del__(self) -> None:
        own = self.__dict__.get("_open", {}).pop(os.getpid(), None)
        if own is not None:
            os.close(own)

    def _index(self) -> None:
        """Note where each file is; what is neither a file nor a link is nothing to read."""
        try:
            with tarfile.open(self._plain, "r:") as archive:
                for member in archive:
                    name = re.sub(r"^(\./)+", "", member.name)
                    if member.name in (".", "./"):
                        continue
                    self._refuse_unsafe(name)
                    if member.isreg() and member.sparse is None:
                        self._places[name] = (member.offset_data, member.size)
                    elif member.issym() or member.islnk() or member.isreg():
                        self._places[name] = (0, -1)
        except (OSError, EOFError, ValueError, tarfile.TarError) as error:
            raise self._unreadable(str(self.root), f"not a complete tar archive: {error}") from None

    def _members(self) -> Iterator[str]:
        return iter(self._places)

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        return self._path(name) in self._places

    def stamp(self, name: str) -> Stamp:
        """Return name and place of the file, size and time of the archive: a tar has no checksum of its files."""
        return (name, *self._place(name), *self._version)

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        start, size = self._place(name)
        if size < 0:
            raise self._unreadable(self.label(name), "it is a link or a sparse file")
        if size > LARGEST_MEMBER:
            raise self._unreadable(self.label(name), f"it has {size:,} bytes; the limit is {LARGEST_MEMBER:,}")
        try:
            data = os.pread(self._file(), size, start)  # no file position, so threads need no lock
        except OSError as error:
            raise self._unreadable(self.label(name), str(error.strerror)) from None
        if len(data) != size:
            raise self._unreadable(self.label(name), "the archive ends before it")
        return data

    def below(self, folder: str) -> "TarSource":
        """Return the same files by their names below one of the folders."""
        source = object.__new__(TarSource)
        source.__dict__.update(self.__dict__, prefix=self._path(folder), _open={})
        return source

    def _place(self, name: str) -> tuple[int, int]:
        try:
            return self._places[self._path(name)]
        except KeyError:
            raise self._unreadable(self.label(name), "it is not in the archive") from None

    def _file(self) -> int:
        process = os.getpid()
        if process not in self._open:
            self._open[process] = os.open(self._plain, os.O_RDONLY)
        return self._open[process]


# --- .tgz -------------------------------------------------------------------------------------------------------------


def decompressed(archive: Path, advice: str, cache: Path | None) -> Path:
    """Return the decompressed form of a ``.tgz``, made the first time.

    Args:
        archive: the ``.tgz``.
        advice: the clause that ends the error for a damaged one.
        cache: folder that gets it; None: the user's cache folder.

    Raises:
        UserError: the archive is damaged or a bomb, the cache cannot be written, or there shall be none.
    """
    if cache == NO_CACHE:
        raise UserError(
            f"{archive} has to be decompressed once, and --cache none keeps nothing; unpack it and give the folder"
        )
    folder, status = cache or default_cache_dir(), archive.stat()
    key = f"{os.path.realpath(archive)}\n{status.st_size}\n{status.st_mtime_ns}"
    path = folder / f"{archive.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.tar"
    if not path.is_file():
        with _explained(folder, archive):
            folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{path.stem}-{secrets.token_hex(8)}.tmp"
        try:
            _decompress(archive, temporary, status.st_size, advice)
            with _explained(folder, archive):
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _decompress(archive: Path, path: Path, packed: int, advice: str) -> None:
    written = 0
    with _explained(path.parent, archive), gzip.open(archive, "rb") as source, path.open("xb") as file:
        while block := _next_block(source, archive, advice):
            written += len(block)
            if written > max(SMALL, LARGEST_RATIO * packed):
                raise UserError(
                    f"cannot read {archive} (unpacked it would have more than {LARGEST_RATIO} times its "
                    f"{packed:,} bytes, as no pictures have); {advice}"
                )
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _next_block(source: gzip.GzipFile, archive: Path, advice: str) -> bytes:
    try:
        return source.read(_BLOCK)
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise UserError(f"cannot read {archive} (not a complete .tgz: {error}); {advice}") from None


@contextmanager
def _explained(folder: Path, archive: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot decompress {archive} into {folder} ({error.strerror}); expected room for its content there, so "
            "free some space, choose another folder with --cache, or unpack it yourself and give the folder"
        ) from None
