"""Why a number is not there: runs that failed, and runs under another version of the protocol only."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsolbench.differences import varying
from wsolbench.failures import Failure
from wsolbench.leaderboard.model import Table, own_fields, row_label, shared_of_all, system_of
from wsolbench.record_schema import Record, canonical


def settings_text(identity: Mapping[str, Any]) -> str:
    """Return all of an identity but the seed, as text."""
    return canonical({**identity, "recipe": {**identity["recipe"], "seed": None}})


def failure_notes(failures: Iterable[Failure]) -> tuple[str, ...]:
    """Say which seeds failed and why, one footnote for each error; every run is named by its id."""
    alike: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        alike[failure.error].append(failure)
    return tuple(_note(error, found) for error, found in alike.items())


def _note(error: str, failures: Sequence[Failure]) -> str:
    seeds = ", ".join(str(seed) for seed in sorted({failure.identity["recipe"]["seed"] for failure in failures}))
    runs = ", ".join(
        failure.run_id + (f", run anew with a smaller batch as {failure.smaller}" if failure.smaller else "")
        for failure in failures
    )
    return f"failed (seed {seeds}; run {runs}): {error}"


def placed_failures(table: Table, failures: Iterable[Failure]) -> dict[str, list[Failure]]:
    """Sort the failures that belong into a table by the label of their row.

    Runs of one configuration that all failed have a label that is no row's. Of a tuned table only the seeds of its own
    rows can be told: a failure does not know what it was tuned by.
    """
    rows = {settings_text(row.records[0].identity): row for row in table.rows}
    known = table.rows and table.section.map_size is not None
    alike = shared_of_all(table.rows[0].records[0].identity) if known else None
    placed: defaultdict[str, list[Failure]] = defaultdict(list)
    fresh: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        text = settings_text(failure.identity)
        if text in rows:
            placed[rows[text].label].append(failure)
        elif alike is not None and shared_of_all(failure.identity) == alike:
            fresh[text].append(failure)
    identities = {text: row.records[0].identity for text, row in rows.items()}
    identities |= {text: found[0].identity for text, found in fresh.items()}
    for text, found in fresh.items():
        system = system_of(found[0].identity)
        fields = {key: own_fields(each) for key, each in identities.items() if system_of(each) == system}
        placed[row_label(system, varying(fields)[text])] += found
    return dict(placed)


def recorded_elsewhere(records: Iterable[Record], protocol: str) -> str:
    """Say under which other versions of the protocol a number was recorded, or that it was not run."""
    versions = sorted({record.identity["protocol"] for record in records} - {protocol})
    return f"recorded under protocol version {', '.join(versions)} only" if versions else "not run"


def unplaced_failures(failures: Iterable[Failure], shown: str) -> list[str]:
    """Say of the failures that no table shows where they belong.

    Args:
        failures: all of them.
        shown: the footnotes of all tables.
    """
    return [
        "{method} on {dataset}, {backbone}, ".format(**failure.identity) + failure_notes([failure])[0]
        for failure in failures
        if failure.run_id not in shown
    ]
