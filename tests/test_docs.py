"""The commands that the documents show are run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsolbench.cli.main import app

ROOT = Path(__file__).parents[1]
MARKER = "<!-- the commands of this block are executed by tests/test_docs.py -->"


def commands(page):
    """Return the commands of a page's marked block."""
    block = (ROOT / page).read_text(encoding="utf-8").split(MARKER)[1].split("```")[1]
    return [shlex.split(line) for line in block.strip().splitlines()]


@pytest.mark.parametrize(
    ("page", "count", "rows"),
    [("README.md", 5, ("| cam", "| has")), ("docs/add-a-method.md", 5, ("| cam", "| hide-cells"))],
)
def test_a_pages_commands_end_in_a_leaderboard(page, count, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOLBENCH_CACHE", str(tmp_path / "cache"))
    tour = commands(page)
    assert len(tour) == count
    for program, *arguments in tour:
        assert program == "wsolbench"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    for row in rows:
        assert row in result.output


PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "results/README.md",
    *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in targets if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_the_parities_that_the_page_ticks_are_those_that_are_tested():
    text = (ROOT / "docs/fidelity.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    ticked = {row[0] for row in rows if row[1:4] == ["\u2713"] * 3}
    files = (ROOT / "tests/fidelity").glob("test_*.py")
    named = [re.search(r'^PARITY = \("(.+?)"', path.read_text(encoding="utf-8"), re.MULTILINE) for path in files]
    assert ticked == {found[1] for found in named if found}
    assert len(ticked) == len(named) == 7
