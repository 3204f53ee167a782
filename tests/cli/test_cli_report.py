"""``wsolbench report`` from the outside."""

import shutil

import pytest
from page_examples import write_results

from wsolbench.data.registry import open_dataset


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "results"
    write_results(folder, open_dataset("parts", None, {"train": "8", "fullsup": "8", "test": "8"}), seeds=(0,))
    return folder


def test_the_report_says_what_it_wrote(cli, results, tmp_path):
    done = cli("report", results, "--images", 3)
    assert done.status == 0, done.err
    assert done.err == ""
    size = (tmp_path / "report.html").stat().st_size / 1e6
    assert done.out == f"report: report.html, {size:.1f} MB, 1 table, 3 pictures\n"


def test_pictures_can_be_left_out(cli, results):
    assert cli("report", results, "--images", 0, "--out", "small.html").out.endswith("1 table, 0 pictures\n")


def test_what_is_missing_is_said(cli, results, tmp_path):
    shutil.copytree(results / "parts", tmp_path / "copied" / "parts")
    done = cli("report", "copied")
    assert done.status == 0
    assert done.err.startswith("note: parts (fullsup=8, test=8, train=8): no pictures, because no run has its raw maps")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "report.pdf"], "unknown ending; expected .html"),
        (["--data-root", "nowhere"], "--data-root nowhere does not exist"),
        (["--out", "taken/report.html"], "cannot be written"),
    ],
)
def test_wrong_places_are_refused(refused, results, tmp_path, words, sentence):
    (tmp_path / "taken").write_text("a file")
    assert sentence in refused("report", results, *words)


def test_a_folder_without_records_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "there is no record" in refused("report", "empty")
