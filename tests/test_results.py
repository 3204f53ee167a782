"""The tables under results/ are what their records say."""

import shutil
from pathlib import Path

import pytest

from wsolbench.leaderboard.pages import write_tables
from wsolbench.records import load_records

RESULTS = Path(__file__).parents[1] / "results"


def test_committed_records_are_readable():
    _, warnings = load_records(RESULTS)
    assert warnings == []


@pytest.mark.parametrize(
    "table", sorted(RESULTS.rglob("leaderboard.*")), ids=lambda path: f"{path.parent.name}{path.suffix}"
)
def test_committed_tables_equal_their_records(table, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(RESULTS, copy, ignore=shutil.ignore_patterns("runs", "leaderboard.*"))
    write_tables(copy)
    assert (copy / table.relative_to(RESULTS)).read_bytes() == table.read_bytes()
