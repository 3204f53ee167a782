"""Run records, the truth that every table is generated from: writing, finding and loading them.

One run is one file, ``<results>/<dataset>/records/<run-id>.json``; :mod:`wsolbench.record_schema` says what it holds.
"""

import gc
import io
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.errors import UserError
from wsolbench.files import atomic_write
from wsolbench.record_schema import SCHEMA_VERSION, Provenance, Record, Slice, canonical, identity_hash

__all__ = [
    "SCHEMA_VERSION",
    "Provenance",
    "Record",
    "Slice",
    "canonical",
    "find_record",
    "git_state",
    "identity_hash",
    "load_records",
    "read_record",
    "record_files",
    "record_path",
    "write_hits",
    "write_record",
]


def record_path(identity: Mapping[str, Any], results: Path) -> Path:
    """Return where the record of a run lies: ``<results>/<dataset>/records/<run-id>.json``.

    The hits lie beside it with the suffix ``.npz``. A dataset name with slashes, ``parts/context``, is a nested folder.

    Raises:
        ValueError: the dataset's name is no relative folder.
    """
    name: str = identity["dataset"]
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"the dataset name '{name}' cannot be a folder of results; use names separated by '/'")
    return results / name / "records" / f"{identity_hash(identity)}.json"


def write_record(record: Record, results: Path) -> Path:
    """Write a record atomically and return its path; the same run recorded before is replaced.

    Raises:
        ValueError: the record breaks the schema (see :meth:`Record.to_json`); nothing is written.
    """
    path = record_path(record.identity, results)
    atomic_write(path, record.to_json().encode())
    return path


def write_hits(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write named arrays (bit-packed hits, maxima, ...) as one compressed ``.npz``, atomically."""
    assert not any(array.dtype.hasobject for array in arrays.values()), "objects would be pickled"
    buffer = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed  # its stub takes the name of every array for an option
    save(buffer, **arrays)
    atomic_write(path, buffer.getvalue())


def record_files(results: Path) -> list[Path]:
    """Return the sorted paths that should be records: ``records/*.json`` at any depth.

    Args:
        results: a results folder, the folder of one dataset, or a ``records`` folder.

    Raises:
        UserError: the folder does not exist.
    """
    if not results.is_dir():
        raise UserError(f"'{results}' is no folder; expected results written by `wsolbench run`")
    own = results.glob("*.json") if results.resolve().name == "records" else ()
    return sorted({*own, *results.rglob("records/*.json")}, key=str)  # comparing paths part by part takes longer


def load_records(results: Path) -> tuple[list[Record], list[str]]:
    """Read all records below a folder.

    Args:
        results: as for :func:`record_files`.

    Returns:
        The records in the order of their paths, and one sentence for each file that was skipped (with its path
        relative to ``results``), or one that says that there is nothing.

    Raises:
        UserError: the folder does not exist; nothing else, whatever the files hold.
    """
    found: dict[str, tuple[Path, Record]] = {}
    warnings: list[str] = []

    def name(path: Path) -> str:
        return path.relative_to(results).as_posix()

    with _collector_paused():
        for path in record_files(results):
            try:
                record = read_record(path)
            except ValueError as error:
                warnings.append(f"{name(path)} was skipped: {error}")
                continue
            if record.run_id in found:
                warnings.append(f"{name(path)} was skipped: it repeats {name(found[record.run_id][0])}")
            else:
                found[record.run_id] = (path, record)
    if not found and not warnings:
        warnings.append(f"there is no record below '{results}'; `wsolbench run` writes them to DATASET/records")
    return [record for _, record in found.values()], warnings


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector: walking ever more live records costs a fifth of the loading and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_record(path: Path) -> Record:
    """Read one record and check that its file is named by its run id.

    Raises:
        ValueError: it is not a readable record; a clause that says why.
    """
    try:
        record = Record.from_json(path.read_bytes().decode())
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    if path.stem != record.run_id:
        raise ValueError(f"its name should be its run id, {record.run_id}.json; was it renamed?")
    return record


def find_record(results: Path, run: str) -> Record:
    """Find one record.

    Args:
        results: where to look, as for :func:`record_files`; not used when ``run`` is a path.
        run: the path of a record, or the first characters of its run id.

    Raises:
        UserError: there is none, several begin so, or it cannot be read.
    """
    if run.endswith(".json"):
        path = Path(run)
    else:
        matches = {path.stem: path for path in record_files(results) if path.stem.startswith(run)}
        if not matches:
            raise UserError(
                f"no record below '{results}' has a run id that begins with '{run}'; give a run id or a path"
            )
        if len(matches) > 1:
            shown = ", ".join(list(matches)[:8]) + (", ..." if len(matches) > 8 else "")
            raise UserError(f"{len(matches)} run ids begin with '{run}': {shown}; write more of the one you mean")
        path = matches.popitem()[1]
    try:
        return read_record(path)
    except ValueError as error:
        raise UserError(f"'{path}' is no usable record: {error}") from None


def git_state(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the code and whether its tree has changes (untracked files count, ``results/`` does not).

    Args:
        root: the top folder of the repository.

    Returns:
        (None, None) without git, a repository or a commit, and where ``root`` only lies inside some other repository
        (a package installed there), whose commit would say nothing about this code.
    """
    head = _git(root, "rev-parse", "HEAD", "--show-prefix")
    # No optional locks: looking must not make somebody's `git commit` fail.
    changes = _git(root, "--no-optional-locks", "status", "--porcelain", "--", ":/", ":(top,exclude)results")
    if head is None or changes is None:
        return None, None
    commit, prefix = head.split("\n")[:2]
    return (None, None) if prefix else (commit, bool(changes))


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, None where git or a repository is missing."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "-C", str(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout if done.returncode == 0 else None
