"""One process at a time: a lock file whose lock the kernel frees with its holder, however that one ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsolbench.errors import UserError


class HeldError(UserError):
    """Another live process holds a lock."""


def run_lock(run_id: str, results: Path) -> Path:
    """Return the file that a process holds while it is at a run."""
    return results / "runs" / f"{run_id}.lock"


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, which says who holds it; where the file system has no locks nobody is kept out.

    Args:
        path: of the lock file; made, and removed at the end, with its folder if that is empty. What a killed process
            leaves of it locks nothing.
        what: what is kept for one process, for the error.

    Raises:
        HeldError: another process, here or on a machine that shares the folder, holds it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, hold(Path(folder) / "a.lock", "the folder"):
    ...     holder(Path(folder) / "a.lock") == f"process {os.getpid()} on {socket.gethostname()}"
    True
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # an earlier holder removed the empty folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise HeldError(
                f"{what} is held by another process ({holder(path) or 'which ends just now'}); wait for it"
            ) from None
        except OSError:  # no locks here
            break
        if _has_name(file, path):
            break
        os.close(file)  # of an earlier holder, who removed the file while it was opened here
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is free: what is opened afterwards is another file
        os.close(file)
        with suppress(OSError):
            path.parent.rmdir()


def holder(path: Path) -> str:
    """Say who holds a lock file; empty if nobody does.

    Args:
        path: of the lock file; need not exist.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look do not take each other for holders
    except BlockingIOError:
        return os.pread(file, 200, 0).decode(errors="replace").strip() or "a process"
    except OSError:
        return ""
    finally:
        os.close(file)
    return ""


def _has_name(file: int, path: Path) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
