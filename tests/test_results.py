"""The tables under results/ are what their records say."""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from wsolbench.data.places import Places
from wsolbench.leaderboard.pages import write_tables
from wsolbench.leaderboard.significance import standings
from wsolbench.records import load_records
from wsolbench.report.page.data import gather
from wsolbench.report.page.writer import to_html

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


@pytest.mark.parametrize("report", sorted(RESULTS.rglob("report.html")), ids=lambda path: path.parent.name)
def test_committed_reports_print_the_tables_of_their_records(report):
    def tables(page):
        (found,) = re.findall(r'<section id="leaderboard".*?</section>', page, re.DOTALL)
        return found

    anew = to_html(gather(report.parent, Places(), 0))
    assert tables(report.read_text(encoding="utf-8")) == tables(anew)
    assert tables(anew).count("<tr") > 10
