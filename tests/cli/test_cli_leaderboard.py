"""``wsolbench leaderboard`` and ``explain`` as commands, on made-up records."""

import gc
import shlex
from pathlib import Path

import pytest
from leaderboard_examples import cub, failed
from record_examples import make_record

from wsolbench.failures import write_failure
from wsolbench.records import write_record


@pytest.fixture
def results(tmp_path):
    """Write two seeds of cam and one of has."""
    for record in (make_record("cam", 0), make_record("cam", 1, v2=52.0), make_record("has", v2=40.0)):
        write_record(record, tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize(
    ("format", "start"), [("markdown", "## parts"), ("latex", "% needs"), ("html", "<!doctype"), ("csv", "section,")]
)
def test_formats(cli, results, format, start):
    done = cli("leaderboard", "--format", format)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(start)
    assert done.out.endswith("\n")
    assert gc.isenabled()


def test_layouts_and_published(cli, results):
    write_record(cub(v2=60.0), results)
    done = cli("leaderboard", "results", "--layout", "table4", "--published")
    assert "60.00 (−2.98)" in done.out
    assert "*published, not measured here*" in done.out


def test_published_tables_need_no_results(cli, refused, tmp_path):
    done = cli("leaderboard", "--layout", "table2", "--published")
    assert done.status == 0
    assert "The elements of InCA, as printed" in done.out
    assert "- 'results' is no folder" in done.out
    (tmp_path / "results").mkdir()
    assert "there is no record below 'results'" in cli("leaderboard", "--layout", "table2", "--published").out
    assert "there is no record below 'results'" in refused("leaderboard", "--published")
    assert "there is no record below 'results'" in refused("leaderboard", "--layout", "table2")


def test_failures_alone_are_shown(cli, tmp_path):
    write_failure(failed("has"), tmp_path / "results")
    done = cli("leaderboard")
    assert done.status == 0
    assert "- has on parts, resnet-tiny, failed (seed 0; run " in done.out


def test_write_writes_every_format(cli, results):
    write_record(cub(v2=60.0), results)
    done = cli("leaderboard", "--write", "--published")
    names = [f"leaderboard.{kind}" for kind in ("csv", "html", "md", "tex")]
    assert sorted(line.rpartition("/")[2] for line in done.out.splitlines()) == sorted(names * 2)
    for kind in ("html", "md", "tex"):
        assert "not measured here" in (results / "cub" / f"leaderboard.{kind}").read_text()


def test_refusals_are_one_sentence(refused, results):
    assert "unknown layout 'tabel2'; did you mean 'table2'?" in refused("leaderboard", "--layout", "tabel2")
    assert "unknown format 'tex'" in refused("leaderboard", "--format", "tex")
    assert "--baseline has no place in the layout table4" in refused(
        "leaderboard", "--layout", "table4", "--baseline", "cam"
    )
    assert "--baseline inca names no row" in refused("leaderboard", "--baseline", "inca")
    assert "'nowhere' is no folder" in refused("leaderboard", "nowhere")
    (results / "parts" / "records" / "torn.json").write_text("{")
    for path in (results / "parts" / "records").glob("[0-9a-f]*.json"):
        path.unlink()
    assert "torn.json was skipped: it is not valid JSON" in refused("leaderboard")
    assert gc.isenabled()


def test_explain(cli, refused, results):
    record = make_record("cam", 0)
    done = cli("explain", record.run_id)
    assert f"run {record.run_id}: cam on parts" in done.out
    assert "row: cam, n = 2, of the table parts, resnet-tiny" in done.out
    write_failure(failed("adl"), results)
    assert "out of memory" in cli("explain", failed("adl").run_id).out
    assert "has a run id that begins with 'zz'" in refused("explain", "zz")


def test_the_commands_of_the_page_are_true(cli, results):
    page = (Path(__file__).parents[2] / "docs" / "leaderboards.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in page.split("```")[1].strip().splitlines()]
    assert len(commands) == 6
    for program, *words in commands:
        done = cli(*words)
        assert (program, done.status) == ("wsolbench", 0), done.err
        assert len(done.out) > 100
