"""The page as a file: nothing in it but its own, nothing from its data that could be markup, small, always the same."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from page_examples import noise_dataset, write_results
from record_examples import make_provenance

from wsolbench.data.places import Places
from wsolbench.report.page import sets
from wsolbench.report.page.data import gather
from wsolbench.report.page.writer import SCRIPTS, SOURCES, STYLES, embedded, to_html, write_page

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u2028"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects elements, attributes, and the texts of scripts; complains about an element that is not closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.texts[tag][-1] += data

    def found(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def served(monkeypatch):
    """Return a function that lets the page find a dataset of the test's own."""

    def serve(dataset):
        monkeypatch.setattr(sets, "recorded_division", lambda record, places: SimpleNamespace(dataset=dataset))

    return serve


@pytest.fixture
def written(tmp_path, served):
    """Return a function that makes a page of a noisy dataset."""

    def make(images=4, class_names=("cat", "dog"), methods=("cam", "has"), side=32, **fields):
        dataset = noise_dataset(side, max(images, 4), class_names)
        served(dataset)
        write_results(tmp_path, dataset, methods=methods, seeds=(0, 1), fields=fields)
        return gather(tmp_path, Places(), images)

    return make


def test_the_page_asks_nothing_of_any_network(written):
    reader = Reader(to_html(written()))
    for tag, attributes in reader.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            target = attributes.get(name, "")
            assert target.startswith(("#", "data:")) or not target, (tag, target)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", "".join(reader.texts["script"]))
    assert not re.search(r"@import|url\(", "".join(reader.texts["style"]))


def test_the_policy_allows_the_one_script_and_the_one_style_by_their_hashes(written):
    text = to_html(written())
    reader = Reader(text)
    (policy,) = [
        each["content"] for each in reader.found("meta") if each.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]
    for tag in ("script", "style"):
        inside = reader.texts[tag][-1]
        assert rules[f"{tag}-src"] == [
            f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
        ]


def test_every_source_is_in_the_page(written):
    text = to_html(written())
    assert {path.name for path in SOURCES.iterdir()} == {"page.html", *STYLES, *SCRIPTS}
    for name in (*STYLES, *SCRIPTS):
        assert (SOURCES / name).read_text(encoding="utf-8") in text
        assert len((SOURCES / name).read_text(encoding="utf-8").splitlines()) < 400


def test_names_from_the_data_are_never_markup(written):
    provenance = make_provenance(command=f"wsolbench run {EVIL}", device=EVIL)
    page = written(
        class_names=(EVIL, "dog"), methods=("cam",), provenance=provenance, history=[{EVIL: 1.0}, {EVIL: 0.5}]
    )
    plain, text = Reader(to_html(written(methods=("cam",)))), to_html(page)
    reader = Reader(text)
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in plain.elements]
    assert "<img src=x" not in text
    data = json.loads(reader.texts["script"][0])
    assert data["sets"][0]["classes"][0] == EVIL
    assert data["tables"][0]["rows"][0]["runs"][0]["command"].endswith(EVIL)
    assert list(data["tables"][0]["rows"][0]["history"]) == [EVIL]


def test_reasons_and_labels_are_escaped_in_the_tables(written):
    page = written(methods=("cam", EVIL), absent={"max_box_acc_v2": EVIL}, metrics={"gt_known": 50.0})
    text = to_html(page)
    reader = Reader(text)
    assert EVIL in [attributes.get("title") for attributes in reader.found("td")]
    assert EVIL in reader.texts["button"]
    assert "<img src=x" not in text


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "&lt;", "\u2028\u2029", "'\"\\"])
def test_embedded_data_is_json_without_markup(text):
    out = str(embedded({text: [text]}))
    assert json.loads(out) == {text: [text]}
    assert not set(out) & set("<>&\u2028\u2029")


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        embedded([float("nan")])


def test_the_tables_are_there_without_a_script(written):
    page = written()
    reader = Reader(to_html(page))
    (ranked,) = [text for text in reader.texts["table"] if "Method" in text]
    for line in (*page.tables[0].lines, *page.tables[0].nulls):
        assert line.label in ranked
        assert line.cells[0].text in ranked
    scopes = {attributes.get("scope") for attributes in reader.found("th")}
    assert scopes == {"col", "colgroup", "row", "rowgroup"}
    assert len(reader.found("noscript")) == 1


def test_every_row_has_a_cell_for_every_column(written):
    page = written()
    text = to_html(page)
    table = text[text.index('<table class="ranked"') : text.index("</table>", text.index('<table class="ranked"'))]
    for row in re.findall(r"<tr data-row.*?</tr>", table, re.DOTALL):
        assert len(re.findall(r"<t[dh]\b", row)) == 2 + len(page.tables[0].columns)
    places = [int(place) for place in re.findall(r'data-cell="(\d+)"', table)]
    assert sorted(places) == list(range(2, 2 + len(page.tables[0].columns)))


def test_the_same_records_give_the_same_bytes(written, tmp_path):
    page = written()
    again = gather(tmp_path, Places(), 4)
    assert to_html(page) == to_html(again)


def test_the_date_is_that_of_the_newest_record(written):
    assert written(methods=("cam",)).header["Newest record"] >= "2030-01-02"


def test_ten_methods_and_fifty_large_pictures_stay_below_five_megabytes(tmp_path, served):
    dataset = noise_dataset(224, 50, tuple(f"class {index}" for index in range(10)))
    served(dataset)
    methods = [f"method-{index}" for index in range(10)]
    write_results(tmp_path, dataset, methods=methods, seeds=(0,), map_side=28, noise=0.2)
    page = gather(tmp_path, Places(), 50)
    size = write_page(page, tmp_path / "page.html")
    assert page.pictures == 50
    assert len(page.data["tables"][0]["maps"]) == 13
    assert size == (tmp_path / "page.html").stat().st_size < 5_000_000


def contrast(one, other):
    """Return the contrast ratio of two colours, ``#rrggbb``, as WCAG 2 defines it."""

    def luminance(colour):
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
        return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_texts_and_curves_can_be_told_from_their_ground(scheme):
    style = (SOURCES / "base.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: pair[scheme] for name, *pair in pairs}
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for name in ("ink", "muted", "accent", "hit", "miss", *(f"c{place}" for place in range(10))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for ground in ("raised", "hover", "warm"):
        assert contrast(colours["ink"], colours[ground]) >= 7
        assert contrast(colours["muted"], colours[ground]) >= 4.5
    assert contrast(colours["field"], colours["paper"]) >= 3  # borders of what is filled in


def test_without_pictures_the_page_is_small(written):
    page = written(images=0)
    assert page.pictures == 0
    assert len(to_html(page)) < 200_000
