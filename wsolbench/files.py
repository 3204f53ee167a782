"""Writing files so that a reader, or a crash, never meets half of one, and knowing early that it will not work."""

import os
import secrets
from pathlib import Path

from wsolbench.errors import UserError


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file that either is there whole or is not there; an older file of that name stays until then.

    The bytes go to a temporary file ``.<name>.<random>.tmp`` in the same folder (a rename is atomic only within a
    file system), which is flushed to the disk and renamed. Missing folders are made.

    Args:
        path: where the file shall be.
        data: its whole content.

    Raises:
        OSError: the folder or the file cannot be written; no temporary file is left behind.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     atomic_write(Path(folder) / "a" / "b.txt", b"text")
    ...     (Path(folder) / "a" / "b.txt").read_bytes()
    b'text'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened by hand: tempfile would make it readable by its owner only, which the rename would keep.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # an interrupt too must not leave litter beside the records
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself is on the disk only when the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def refuse_unwritable(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be written to or made: better now than after hours of work.

    Args:
        option: the option that named it, for the error.
        folder: where files shall be written; need not exist.

    Raises:
        UserError: it, or the nearest folder above it that exists, is a file or not writable.
    """
    nearest = nearest_existing(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"{option} {folder} cannot be written: '{nearest}' is a file or not yours; choose another folder"
        )


def nearest_existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists.

    >>> nearest_existing(Path("/no such folder/inside")).as_posix()
    '/'
    """
    # os.path.exists(): that of Path raises for a place inside a folder that one may not enter.
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))


def refuse_unwritable_file(option: str, path: Path) -> None:
    """Refuse a file that :func:`atomic_write` could not write.

    Args:
        option: the option that named it, for the error.
        path: the file; need not exist.

    Raises:
        UserError: it is a folder, or its folder cannot be written to or made.

    >>> refuse_unwritable_file("--json", Path("."))
    Traceback (most recent call last):
    wsolbench.errors.UserError: --json . is a folder; expected the name of a file to write
    """
    if os.path.isdir(path):
        raise UserError(f"{option} {path} is a folder; expected the name of a file to write")
    refuse_unwritable(option, path.parent)
