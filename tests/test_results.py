"""The tables under results/ are what their records say."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from wsolbench.leaderboard.pages import write_tables
from wsolbench.leaderboard.significance import standings
from wsolbench.records import load_records

RESULTS = Path(__file__).parents[1] / "results"
TABLES = sorted(RESULTS.rglob("leaderboard.*"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The tables made anew, as `make leaderboard` makes them, from the records and their hits alone."""
    copy = tmp_path_factory.mktemp("committed") / "results"
    shutil.copytree(RESULTS, copy, ignore=shutil.ignore_patterns("runs", "leaderboard.*"))
    write_tables(copy, partial(standings, baseline="cam", quiet=True))
    return copy


def test_committed_records_are_readable():
    _, warnings = load_records(RESULTS)
    assert warnings == []


def test_every_folder_of_records_has_its_tables():
    folders = {path.parent for path in RESULTS.rglob("records")}
    assert {path.parent for path in TABLES} == folders
    assert len(TABLES) == 4 * len(folders)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: f"{path.parent.name}{path.suffix}")
def test_committed_tables_equal_their_records(table, written):
    assert (written / table.relative_to(RESULTS)).read_bytes() == table.read_bytes()
