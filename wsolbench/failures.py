"""Runs of a grid that failed: one small file each, beside the records, until the run succeeds.

A table's cell without a record says from these why it is empty. One failure is one file,
``<results>/<dataset>/failures/<run-id>.json``; ``wsolbench bench`` writes it, a finished run removes it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wsolbench.files import atomic_write
from wsolbench.json_checks import Check, checked, of_kind, whole
from wsolbench.record_schema import canonical, identity_hash
from wsolbench.records import record_path

FAILURE_SCHEMA = 1
"""Version of the format of a failure's file."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that did not come to a record.

    Attributes:
        identity: everything that would have decided its numbers, as in a record.
        error: why, one sentence.
        command: the command line that tries it again.
        device: what it ran on, in words.
        finished: when it failed the last time, ISO 8601, UTC.
        attempts: how often it was tried.
        log: path of what it printed, relative to the results folder; empty if there is none.
        smaller: run id of the same run with a smaller batch, which took its place when memory ran out; empty: none did.
    """

    identity: Mapping[str, Any]
    error: str
    command: str
    device: str
    finished: str
    attempts: int
    log: str = ""
    smaller: str = ""

    @property
    def run_id(self) -> str:
        """The hash of the identity, 16 hex digits."""
        return identity_hash(self.identity)

    def to_json(self) -> str:
        """Return the failure as JSON, which :meth:`from_json` reads."""
        body = {"failure_schema": FAILURE_SCHEMA, "run_id": self.run_id, **asdict(self)}
        body["identity"] = json.loads(canonical(self.identity))  # plain values only
        return json.dumps(body, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> "Failure":
        """Read a failure.

        Raises:
            ValueError: it is none of this schema version, or was damaged or edited; a clause that says how.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("it is not valid JSON") from None
        if not isinstance(data, dict) or data.pop("failure_schema", None) != FAILURE_SCHEMA:
            raise ValueError(f"it is no failure of schema version {FAILURE_SCHEMA}")
        stated = data.pop("run_id", None)
        failure = Failure(**checked(data, _FAILURE))
        if not isinstance(failure.identity.get("dataset"), str):
            raise ValueError("its identity names no dataset")
        if stated != failure.run_id:
            raise ValueError(f"its run_id is not {failure.run_id}, the hash of its identity; was it edited?")
        return failure


_FAILURE: Mapping[str, Check] = {
    **{field.name: of_kind(str) for field in fields(Failure)},
    "identity": of_kind(dict),
    "attempts": whole(1, "a whole number, at least 1"),
}


def failure_path(identity: Mapping[str, Any], results: Path) -> Path:
    """Return where the failure of a run lies: ``<results>/<dataset>/failures/<run-id>.json``.

    >>> failure_path({"dataset": "cub"}, Path("results")).parent.as_posix()
    'results/cub/failures'
    """
    record = record_path(identity, results)
    return record.parent.with_name("failures") / record.name


def write_failure(failure: Failure, results: Path) -> Path:
    """Write a failure atomically and return its path; an older one of the same run is replaced."""
    path = failure_path(failure.identity, results)
    atomic_write(path, failure.to_json().encode())
    return path


def read_failure(path: Path) -> Failure:
    """Read a failure and check that its file is named by its run id.

    Raises:
        ValueError: it is not readable; a clause that says why.
    """
    try:
        failure = Failure.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    if path.stem != failure.run_id:
        raise ValueError(f"its name should be its run id, {failure.run_id}.json; was it renamed?")
    return failure


def load_failures(results: Path) -> tuple[list[Failure], list[str]]:
    """Read all failures below a folder.

    Args:
        results: a results folder, or the folder of one dataset; need not exist.

    Returns:
        The failures in the order of their paths, and one sentence for each file that was skipped (with its path
        relative to ``results``).
    """
    found, warnings = [], []
    own = results.glob("*.json") if results.name == "failures" else ()
    for path in sorted({*own, *results.rglob("failures/*.json")}):
        try:
            found.append(read_failure(path))
        except ValueError as error:
            warnings.append(f"{path.relative_to(results).as_posix()} was skipped: {error}")
    return found, warnings


def forget_failure(identity: Mapping[str, Any], results: Path) -> None:
    """Remove the failure of a run that succeeded, if there is one."""
    failure_path(identity, results).unlink(missing_ok=True)
