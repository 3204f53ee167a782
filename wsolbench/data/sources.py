"""Where a dataset's files are read from: a folder, a ``.zip``, a ``.tar`` or a ``.tgz``, all by the same names.

A name is a file's posix path below the root, such as ``images/a.jpg``. What could reach outside the root is refused:
absolute names, ``..``, drive letters, symbolic links that leave it.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from wsolbench.errors import UserError

Stamp = tuple[str | int, ...]

ADVICE = "expected a file that can be read, so restore it or download it again"
_FORMS = "expected a folder, a .zip, a .tar or a .tgz"


class Source(ABC):
    """Files by name; readable from any thread, and from any process it is sent to.

    Args:
        root: the folder or archive.
        prefix: folder inside it that names are relative to, without a slash at the end; empty: the top.
        advice: the clause that ends the error for a file that cannot be read.
    """

    def __init__(self, root: Path, prefix: str, advice: str) -> None:
        self.root = root
        self.prefix = prefix
        self._advice = advice

    @abstractmethod
    def names(self, under: str = "") -> list[str]:
        """Return the names of all files below a folder, sorted; empty if there is no such folder."""

    @abstractmethod
    def children(self, folder: str = "") -> list[str]:
        """Return what is directly in a folder, files and folders by their last part, sorted; empty if it is none."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""

    @abstractmethod
    def stamp(self, name: str) -> Stamp:
        """Return values that change when the file's content does: its checksum, or its size and time."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            UserError: it is missing, damaged, or its name or its link leaves the root.
        """

    @abstractmethod
    def below(self, folder: str) -> "Source":
        """Return the same files by their names below one of the folders."""

    def label(self, name: str) -> str:
        """Return how to call a file in an error."""
        return f"{self.root}: {self._path(name)}"

    def _path(self, name: str) -> str:
        """Return the name below the root, whatever the prefix."""
        return f"{self.prefix}/{name}".strip("/")

    def _unreadable(self, file: str, reason: str) -> UserError:
        return UserError(f"cannot read {file} ({reason}); {self._advice}")

    def _refuse_unsafe(self, name: str) -> None:
        if is_unsafe(name):
            raise UserError(f"{self.root}: the name '{name}' leaves the folder; expected one below it, so correct it")


def open_source(root: Path, *, advice: str = ADVICE, cache: Path | None = None) -> Source:
    """Open a folder or an archive, which its content tells apart; of a folder nothing is read.

    Args:
        root: the folder, ``.zip``, ``.tar`` or ``.tgz``.
        advice: the clause that ends the error for a file that cannot be read: what was expected, what to do.
        cache: folder that gets the decompressed form of a ``.tgz``; None: the user's cache folder.

    Raises:
        UserError: there is nothing, it is no archive of these kinds or damaged, or a member's name leaves it.
    """
    from wsolbench.data.archives import TarSource, ZipSource, decompressed  # which know what a source is

    if root.is_dir():
        return FolderSource(root, advice=advice)
    try:
        with root.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f"cannot read {root} ({error.strerror}); {_FORMS}") from None
    if start[:2] == b"\x1f\x8b":
        return TarSource(root, advice=advice, plain=decompressed(root, advice, cache))
    if start[257:262] == b"ustar" or root.suffix.lower() == ".tar":  # the oldest kind of tar has no such mark
        return TarSource(root, advice=advice)
    return ZipSource(root, advice=advice)


def is_unsafe(name: str) -> bool:
    r"""Tell whether a name is not a plain path below a folder: absolute, with ``..``, a drive or no part at all.

    >>> [is_unsafe(name) for name in ("a/b.jpg", "../b.jpg", "/b.jpg", "C:/b.jpg", "a\\..\\b.jpg", "")]
    [False, True, True, True, True, True]
    """
    if name in ("", ".") or name[0] in "/\\" or (name[1:2] == ":" and name[0].isalpha()) or "\0" in name:
        return True
    return ".." in name and ".." in re.split(r"[/\\]", name)


# --- folders ----------------------------------------------------------------------------------------------------------


class FolderSource(Source):
    """Files in a folder."""

    def __init__(self, folder: Path, *, advice: str = ADVICE) -> None:
        super().__init__(folder, "", advice)
        self._real = os.path.realpath(folder)
        self._inside: set[str] = {""}  # folders below it that are known to lead nowhere else

    def names(self, under: str = "") -> list[str]:
        """Return the names of all files below a folder, sorted; links to folders outside are refused, not followed."""
        return sorted(self._walk(under)) if not under or not is_unsafe(under) else []

    def children(self, folder: str = "") -> list[str]:
        """Return what is directly in a folder, sorted; empty if it is none."""
        try:
            return sorted(os.listdir(self._checked(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unreadable(self.label(folder), str(error.strerror)) from None

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        return not is_unsafe(name) and os.path.isfile(self.root / name)

    def stamp(self, name: str) -> Stamp:
        """Return name, size in bytes and time of the last change in nanoseconds."""
        try:
            status = os.stat(self._checked(name))
        except OSError as error:
            raise self._unreadable(self.label(name), str(error.strerror)) from None
        return (name, status.st_size, status.st_mtime_ns)

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        try:
            with open(self._checked(name), "rb") as file:
                return file.read()
        except OSError as error:
            raise self._unreadable(self.label(name), str(error.strerror)) from None

    def below(self, folder: str) -> "FolderSource":
        """Return the same files by their names below one of the folders."""
        return FolderSource(Path(self._checked(folder)), advice=self._advice)

    def label(self, name: str) -> str:
        """Return the file's path."""
        return str(self.root / name)

    def _walk(self, folder: str) -> Iterator[str]:
        try:
            with os.scandir(self._checked(folder)) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._unreadable(self.label(folder), str(error.strerror)) from None
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                if not (entry.is_symlink() and self._is_above(entry.path)):
                    yield from self._walk(name)
            elif entry.is_file():
                yield name

    @staticmethod
    def _is_above(link: str) -> bool:
        """Tell whether a link leads to a folder that it lies in: a walk would never end."""
        return f"{os.path.realpath(os.path.dirname(link))}/".startswith(f"{os.path.realpath(link)}/")

    def _checked(self, name: str) -> str:
        """Return the path of a file or folder, or refuse one that a link leads out of the root.

        A folder is resolved once; of a file only what is a link itself.
        """
        if name:
            self._refuse_unsafe(name)
        parent, path = name.rpartition("/")[0], os.path.join(self.root, name)
        if parent not in self._inside:
            self._refuse_outside(parent)
            self._inside.add(parent)
        if os.path.islink(path):
            self._refuse_outside(name)
        return path

    def _refuse_outside(self, name: str) -> None:
        real = os.path.realpath(os.path.join(self.root, name))
        if os.path.commonpath([self._real, real]) != self._real:
            raise UserError(
                f"{self.label(name)} is a link that leaves {self.root}; expected files below it, so copy what the link "
                "leads to, or give the folder that it leads to"
            )
