"""The page in a real browser: it sorts, filters, opens, shows pictures, and asks nothing of anyone.

Chromium is that of the machine: $CHROMIUM, or what is called so on the path. Where there is none the tests are skipped,
unless $WSOLBENCH_CHROMIUM_REQUIRED says that there has to be one.
"""

import os
import re
import shutil
from contextlib import contextmanager

import pytest
from page_examples import write_results

from wsolbench.data.places import Places
from wsolbench.data.registry import open_dataset
from wsolbench.report.page.data import gather
from wsolbench.report.page.writer import write_page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        path = None
    if path is None:
        if os.environ.get("WSOLBENCH_CHROMIUM_REQUIRED"):
            pytest.fail("a browser is required, and there is no Chromium or no playwright", pytrace=False)
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path and $CHROMIUM is not set; or no playwright")
    with sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            if os.environ.get("WSOLBENCH_CHROMIUM_REQUIRED"):
                raise
            pytest.skip(f"{path} does not start: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two tables: four methods on ``parts``, of which one is not ranked, and two on a smaller one."""
    folder = tmp_path_factory.mktemp("chromium") / "results"
    dataset = open_dataset("parts", None, {"train": "16", "fullsup": "16", "test": "40"})
    write_results(folder, dataset, methods=("cam", "has", "adl", "inca"), seeds=(0, 1))
    small = open_dataset("parts", None, {"train": "8", "fullsup": "8", "test": "8"})
    write_results(folder, small, methods=("cam", "spg"), seeds=(0,))
    return folder


@pytest.fixture(scope="module")
def report(results):
    """The model of the page, and where it lies."""
    page, path = gather(results, Places(), 12), results.parent / "report.html"
    write_page(page, path)
    return page, path


@pytest.fixture
def visit(browser, report):
    """Return a context manager that opens the page; at its end nothing may have been complained of or asked for."""

    @contextmanager
    def opened(**options):
        context = browser.new_context(**options)
        asked, said = [], []
        context.on("request", lambda request: asked.append(request.url))
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        url = report[1].as_uri()
        tab.goto(url)
        try:
            yield tab
        finally:
            context.close()
        assert said == []
        assert {each for each in asked if not each.startswith("data:")} == {url}

    return opened


def labels(tab, table, group=0):
    rows = tab.locator(f"#{table} tbody.rows").nth(group).locator("tr:visible button.behind")
    return rows.all_inner_texts()


def larger(page):
    """The table with four methods."""
    return max(page.tables, key=lambda table: len(table.lines))


def test_a_column_sorts_by_its_numbers_and_null_rows_stay_apart(visit, report):
    table = larger(report[0])
    place, column = next((at, each) for at, (each, _) in enumerate(table.columns) if each.name == "Top-1 Cls")
    falling = sorted(table.lines, key=lambda line: -float(line.cells[place].value))
    with visit() as tab:
        header = tab.locator(f"#{table.id} thead th").filter(has_text=column.title).first
        assert labels(tab, table.id) == [line.label for line in table.lines]
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == "descending"
        assert labels(tab, table.id) == [line.label for line in falling]
        header.get_by_role("button").press("Enter")
        assert header.get_attribute("aria-sort") == "ascending"
        assert labels(tab, table.id) == [line.label for line in reversed(falling)]
        assert sorted(labels(tab, table.id, 1)) == ["ceiling", "center", "full-image"]
        assert tab.locator(f"#{table.id} [aria-sort]").count() == 1


def test_names_sort_too(visit, report):
    table = larger(report[0])
    with visit() as tab:
        tab.locator(f"#{table.id} thead").get_by_role("button", name="Method").click()
        assert labels(tab, table.id) == sorted(line.label for line in table.lines)


def test_the_filter_keeps_matching_rows_and_the_select_one_table(visit, report):
    table = larger(report[0])
    other = next(each for each in report[0].tables if each is not table)
    with visit() as tab:
        tab.get_by_label("Method", exact=True).fill("CA")
        assert labels(tab, table.id) == [line.label for line in table.lines if "ca" in line.label]
        assert "of" in tab.locator("#matches").inner_text()
        tab.get_by_label("Method", exact=True).fill("")
        tab.locator("#which").select_option(other.id)
        assert not tab.locator(f"#{table.id}").is_visible()
        assert labels(tab, other.id) == [line.label for line in other.lines]
        tab.get_by_label("Method", exact=True).fill("no such method")
        assert not tab.locator(f"#{other.id}").is_visible()


def test_groups_of_columns_fold(visit, report):
    table = larger(report[0])
    with visit() as tab:
        shown = tab.locator(f"#{table.id} thead th:visible")
        before = shown.count()
        cost = tab.get_by_role("button", name="Cost", exact=True)
        assert cost.get_attribute("aria-pressed") == "false"
        cost.click()
        assert cost.get_attribute("aria-pressed") == "true"
        assert shown.count() == before + 4  # its title and three columns
        assert "images/s" in tab.locator(f"#{table.id} thead").inner_text()


def test_a_cell_opens_what_is_behind_it(visit, report):
    page, _ = report
    table = larger(page)
    told = next(each for each in page.data["tables"] if each["id"] == table.id)["rows"][0]
    dialog = "dialog[open]"
    with visit() as tab:
        tab.locator(f"#{table.id} tbody.rows tr").first.locator("td").nth(1).click()
        text = tab.locator(dialog).inner_text()
        for run in told["runs"]:
            assert f"seed {run['seed']}" in text
        assert told["runs"][0]["command"] in text
        assert told["runs"][0]["id"] in text
        assert table.lines[0].cells[0].text in text
        tab.get_by_role("button", name="Copy").first.click()
        assert re.search("Copied|Selected", tab.locator(dialog).get_by_role("button").nth(1).inner_text())
        tab.keyboard.press("Escape")
        assert tab.locator(dialog).count() == 0


def test_the_keyboard_reaches_an_empty_cell_and_reads_why(visit, report):
    table = larger(report[0])
    empty = next(index for index, cell in enumerate(table.nulls[0].cells) if cell.reason)
    with visit() as tab:
        tab.locator(f'tr[data-row="{table.nulls[0].id}"] button.behind').focus()
        for _ in range(60):
            tab.keyboard.press("ArrowRight")
            if tab.evaluate("document.activeElement.cellIndex") == empty + 2:
                break
        assert tab.evaluate("document.activeElement.classList.contains('none')")
        tab.keyboard.press("Enter")
        assert table.nulls[0].cells[empty].reason in tab.locator("dialog[open] .note").inner_text()


def test_a_picture_shows_every_row(visit, report):
    page, _ = report
    index, table = next((at, each) for at, each in enumerate(page.data["tables"]) if len(each["rows"]) == 7)
    place = 3
    with visit() as tab:
        area = tab.locator("#pictures")
        area.get_by_label("Table").select_option(str(index))
        area.locator(".thumbs button").nth(place).click()
        names = area.locator(".maps figcaption b").all_inner_texts()
        assert names == ["picture", *(row["label"] for row in table["rows"])]
        captions = area.locator(".maps figcaption").all_inner_texts()[1:]
        for row, caption in zip(table["maps"].values(), captions, strict=True):
            assert ("hit" in caption) == row["hit"][place]
            assert f"IoU {row['iou'][place]:.2f}" in caption
        assert area.locator("img").first.evaluate("each => each.naturalWidth") == 64
        drawn = "each => each.getContext('2d').getImageData(0, 0, 64, 64).data.some((value) => value > 100)"
        assert area.locator("canvas").first.evaluate(drawn)


def test_pictures_can_be_filtered_by_hit_and_miss(visit, report):
    page, _ = report
    index, table = next((at, each) for at, each in enumerate(page.data["tables"]) if len(each["rows"]) == 7)
    hits = table["maps"][0]["hit"]
    with visit() as tab:
        area = tab.locator("#pictures")
        area.get_by_label("Table").select_option(str(index))
        for word, count in (("hit", sum(hits)), ("miss", len(hits) - sum(hits))):
            area.get_by_label("is a").select_option(word)
            assert area.locator(".thumbs button").count() == count


def test_the_score_map_is_the_protocols(visit, report, results):
    """The browser's enlarged map equals numpy's to a level or two: raw maps are stored in 8 bits."""
    import numpy as np

    from wsolbench.protocols import prepare
    from wsolbench.stored_hits import read_arrays

    page, _ = report
    index, table = next((at, each) for at, each in enumerate(page.data["tables"]) if len(each["rows"]) == 7)
    arrays = read_arrays(results / "runs" / table["maps"][0]["run"] / "test.npz")
    picture = page.data["sets"][table["set"]]["pictures"][0]
    expected = prepare(arrays["maps"][arrays["ids"].tolist().index(picture["id"])][None], (64, 64)).maps[0]
    levels = """each => {
        const { data } = each.getContext('2d').getImageData(0, 0, 64, 64);
        return Array.from({length: 4096}, (_, at) => data[4 * at] * 65536 + data[4 * at + 1] * 256 + data[4 * at + 2]);
    }"""
    with visit() as tab:
        tab.locator("#pictures").get_by_label("Table").select_option(str(index))
        found = np.array(tab.locator("#pictures canvas").first.evaluate(levels))
    palette = {colour: np.median(expected.ravel()[found == colour]) for colour in np.unique(found)}
    drawn = np.array([palette[colour] for colour in found])
    assert np.abs(drawn - expected.ravel()).max() <= 3
    assert len(palette) > 100


def test_curves_follow_the_slider(visit, report):
    page, _ = report
    with visit() as tab:
        area = tab.locator("#curves")
        assert area.locator("svg").count() == 3
        area.locator("#threshold").fill("0")
        first = page.data["tables"][0]["curves"]["rows"]
        row = area.locator(".readout tbody tr").first.inner_text()
        assert f"{next(iter(first.values()))[0][0] / 100:.1f}" in row
        lines = area.locator("svg").first.locator("path").count()
        area.locator(".chip[aria-pressed=false]").first.click()
        assert area.locator("svg").first.locator("path").count() == lines + 1


def test_classes_sort(visit):
    with visit() as tab:
        area = tab.locator("#classes")
        area.locator("thead button").nth(2).click()
        shown = [float(text) for text in area.locator("tbody tr td:nth-child(3)").all_inner_texts() if text != "–"]
        assert shown == sorted(shown, reverse=True)
        assert len(shown) == 8


def test_dark_follows_the_system_and_the_switch(visit):
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    with visit(color_scheme="dark") as tab:
        dark = tab.evaluate(paper)
    with visit(color_scheme="light") as tab:
        light = tab.evaluate(paper)
        tab.get_by_role("button", name="Theme").click()
        assert tab.evaluate(paper) == dark != light
        tab.get_by_role("button", name="Theme").click()
        assert tab.evaluate(paper) == light


@pytest.mark.parametrize("width", [360, 390, 768, 1400])
def test_only_tables_scroll_sideways(visit, width):
    with visit(viewport={"width": width, "height": 800}) as tab:
        tab.get_by_role("button", name="Cost", exact=True).click()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.locator("tr[data-row] button.behind").first.click()
        assert tab.evaluate(
            "document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth"
        )
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_tables_are_there_without_javascript(visit, report):
    with visit(java_script_enabled=False) as tab:
        for table in report[0].tables:
            text = tab.locator(f"#{table.id}").inner_text()
            for line in (*table.lines, *table.nulls):
                assert line.label in text
                assert line.cells[0].text in text
        assert "JavaScript is off" in tab.locator("noscript").inner_text()
        assert not tab.locator("#pictures").is_visible()
