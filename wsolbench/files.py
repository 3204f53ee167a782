"""Writing files so that a reader, or a crash, never meets half of one."""

import os
import secrets
from pathlib import Path


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
