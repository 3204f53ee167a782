"""Failures of runs: what their files hold, and which of them are named and skipped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from record_examples import make_identity

from wsolbench.failures import (
    Failure,
    failure_path,
    forget_failure,
    load_failures,
    read_failure,
    write_failure,
)
from wsolbench.record_schema import identity_hash


def failed(**changes):
    values = {
        "identity": make_identity(),
        "error": "loss term 'cls' was not finite at step 6",
        "command": "wsolbench run cam parts",
        "device": "cpu, 2 threads",
        "finished": "2026-11-20T20:00:00+00:00",
        "attempts": 2,
        "log": "runs/a/bench.log",
    }
    return Failure(**{**values, **changes})


def test_a_failure_is_read_as_it_was_written(tmp_path):
    failure = failed(smaller="0" * 16)
    path = write_failure(failure, tmp_path)
    assert path == tmp_path / "parts" / "failures" / f"{failure.run_id}.json"
    assert read_failure(path) == failure
    assert failure.run_id == identity_hash(make_identity())


def test_a_later_failure_of_the_run_takes_its_place(tmp_path):
    write_failure(failed(), tmp_path)
    write_failure(failed(attempts=3, error="other"), tmp_path)
    (found,), warnings = load_failures(tmp_path)
    assert (found.attempts, found.error, warnings) == (3, "other", [])


def test_a_run_that_succeeds_is_forgotten_and_only_that_one(tmp_path):
    for seed in (0, 1):
        write_failure(failed(identity=make_identity(seed=seed)), tmp_path)
    forget_failure(make_identity(seed=0), tmp_path)
    forget_failure(make_identity(seed=7), tmp_path)  # that never failed
    (left,), _ = load_failures(tmp_path)
    assert left.identity["recipe"]["seed"] == 1


def test_no_folder_has_no_failures(tmp_path):
    assert load_failures(tmp_path / "nowhere") == ([], [])


def damaged(change):
    data = json.loads(failed().to_json())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is not valid JSON"),
        ("[]", "it is no failure of schema version 1"),
        (damaged(lambda data: data.update(failure_schema=2)), "it is no failure of schema version 1"),
        (damaged(lambda data: data.pop("error")), "the field 'error' is missing"),
        (damaged(lambda data: data.update(more=1)), "unknown field 'more'"),
        (damaged(lambda data: data.update(attempts=0)), "'attempts' is 0, expected a whole number, at least 1"),
        (damaged(lambda data: data["identity"].update(method="has")), "was it edited?"),
        (damaged(lambda data: data["identity"].pop("dataset")), "its identity names no dataset"),
        ("\xff", "not text in UTF-8"),
    ],
)
def test_a_damaged_file_is_named_and_skipped(tmp_path, text, says):
    path = failure_path(make_identity(), tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    found, (warning,) = load_failures(tmp_path)
    assert found == []
    assert warning.startswith(f"parts/failures/{path.name} was skipped: ")
    assert says in warning


def test_a_renamed_file_is_skipped(tmp_path):
    path = write_failure(failed(), tmp_path)
    path.rename(path.with_name("a.json"))
    assert "was it renamed?" in load_failures(tmp_path)[1][0]


def test_an_identity_of_a_dataset_with_slashes_lies_in_nested_folders():
    identity = make_identity(dataset="parts/context")
    assert failure_path(identity, Path("r")).parent == Path("r/parts/context/failures")
    assert replace(failed(), identity=identity).run_id == failure_path(identity, Path("r")).stem
