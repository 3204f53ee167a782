"""The same numbers in markdown, LaTeX, HTML and CSV, whatever their labels hold."""

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboard_examples import V2, cub, failed, read_latex, read_markdown
from leaderboard_examples import Page as HtmlPage
from record_examples import make_null, make_record

from wsolbench.errors import UserError
from wsolbench.leaderboard.grid import Cell, Grid, Head, Line, Page, score_cell, signed, with_difference
from wsolbench.leaderboard.latex import escape
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import RENDERERS, make_page, render
from wsolbench.leaderboard.rows import Score
from wsolbench.leaderboard.sections import Beside

HOSTILE = "<script>alert('1')</script> a|b & 100% #1 $x$ _y_ {z} ~^\\ \"q\" `c` *s*"


def page_of(label="a", text="1.00", notes=(), title="T", caption="C", heads=("x",), warnings=()):
    cells = tuple(Cell(text=text, rest=" ± 0.50", rank=1, notes=tuple(notes), value=1.0, std=0.5, n=2) for _ in heads)
    grid = Grid(
        title=title,
        stub="Method",
        heads=tuple(Head(title=head) for head in heads),
        lines=(Line(label=label, cells=cells),),
        caption=(caption,),
        layout="main",
    )
    return Page(grids=(grid,), warnings=tuple(warnings))


# --- one table in four formats ----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["cam", "has_x", "adl 50%", "a|b", "c & d", "e<f"]),
        st.lists(st.floats(0, 100), min_size=1, max_size=3),
        min_size=1,
    )
)
def test_all_formats_have_the_numbers_of_the_rows(values):
    records = [
        make_record(method, seed, fields={"metrics": {V2: v2, "top1_cls": 100 - v2}})
        for method, seeds in values.items()
        for seed, v2 in enumerate(seeds)
    ]
    board = build([*records, make_null()])
    expected = []
    for row in (*board.tables[0].rows, *board.tables[0].nulls):
        cells = [row.label, str(row.n)]
        for key in (("", "top1_cls"), ("", V2)):
            score = row.score(key)
            spread = f" ± {score.std:.2f}" if score and score.std is not None else ""
            cells.append(f"{score.mean:.2f}{spread}" if score else "–")
        expected.append(cells)
    (markdown,) = read_markdown(render(board, "markdown"))
    assert markdown[1] == ["Method", "n", "Top-1 Cls", "V2"]
    assert [row for row in markdown[2] if row[0] != "null rows"] == expected
    (html,) = HtmlPage(render(board, "html")).tables
    assert [row for row in html[1:] if row[0] != "null rows"] == expected
    (latex,) = read_latex(render(board, "latex"))
    latex = [[cell.replace(r"\textbar{}", "|").replace(r"\textless{}", "<") for cell in row] for row in latex]
    assert [row for row in latex if "null rows" not in row[0]] == expected
    tidy = {(line["label"], line["metric"]): line for line in csv.DictReader(io.StringIO(render(board, "csv")))}
    for row in board.tables[0].rows:
        line, score = tidy[row.label, V2], row.score(("", V2))
        assert (float(line["mean"]), line["n"]) == (score.mean, str(score.n))
        assert (float(line["std"]) if line["std"] else None) == score.std


def test_csv_of_a_layout_is_its_cells():
    records = [cub("cam", 0, 60.0), cub("cam", 1, 61.5), cub("has", v2=40.0, backbone="vgg16")]
    found = list(csv.DictReader(io.StringIO(render(build(records), "csv", "table4"))))
    assert found[0] == {
        "table": "MaxBoxAccV2: cub",
        "kind": "measured",
        "row": "cam",
        "column": "cub resnet50",
        "text": "60.75",
        "rest": "± 1.06",
        "value": "60.75",
        "std": str((2 * 0.75**2) ** 0.5),
        "n": "2.0",
        "rank": "0",
        "reason": "",
        "note": "",
    }
    assert [(line["row"], line["value"], line["reason"]) for line in found[1:4]] == [
        ("cam", "", "not run"),
        ("cam", "", "not for every backbone"),
        ("has", "", "not run"),
    ]


def test_csv_of_main_is_its_cells_where_something_stands_beside_the_metrics():
    board = build([cub("cam", v2=60.0)])
    assert render(board, "csv").startswith("section,")
    beside = list(csv.DictReader(io.StringIO(render(board, "csv", "main", Beside(published=True)))))
    assert ("published", "CAM", "62.98") in {(line["kind"], line["row"], line["text"]) for line in beside}


# --- hostile text -----------------------------------------------------------------------------------------------------


def test_html_is_well_formed_inert_and_says_everything():
    page = page_of(
        HOSTILE, "<b>1</b>", [HOSTILE + "note"], HOSTILE + "t", HOSTILE + "c", [HOSTILE + "h"], [HOSTILE + "w"]
    )
    text = RENDERERS["html"](page)
    found = HtmlPage(text)
    assert found.tags.count("script") == 0
    assert not {"script", "iframe", "object", "embed", "link", "img", "a", "form"} & {*found.tags}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href")]
    assert "url(" not in text
    assert "@import" not in text
    policy = dict(found.attributes)["content"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert [found.text.count(HOSTILE + end) for end in ("note", "t", "c", "h", "w")] == [1, 1, 1, 1, 1]
    assert found.tables == [[["Method", HOSTILE + "h"], [HOSTILE, "<b>1</b> ± 0.50"]]]


def test_html_groups_its_columns():
    heads = (Head(title="n"), Head(title="a", group="G"), Head(title="b", group="G"), Head(title="c", group="H"))
    line = Line(label="x", cells=(Cell(text="1"),) * 4)
    grid = Grid(title="T", stub="Method", heads=heads, lines=(line,), caption=(), layout="main")
    page = Page(grids=(grid,))
    found = HtmlPage(RENDERERS["html"](page))
    assert found.tables[0][:2] == [["", "", "G", "H"], ["Method", "n", "a", "b", "c"]]
    assert [value for name, value in found.attributes if name == "colspan"] == ["1", "2", "1"]
    latex = RENDERERS["latex"](page)
    assert r" & \multicolumn{1}{c}{} & \multicolumn{2}{c}{G} & \multicolumn{1}{c}{H} \\" in latex
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-5}" in latex
    assert "| Method   |   n |   G a |   G b |   H c |" in RENDERERS["markdown"](page)


def test_latex_escapes_every_special_character():
    assert escape("a & b % $ # _ { }") == r"a \& b \% \$ \# \_ \{ \}"
    assert escape("~ ^ \\") == r"\textasciitilde{} \textasciicircum{} \textbackslash{}"
    assert escape("1 ± 2 × 3 ≥ 4 − 5 – 6") == r"1 $\pm$ 2 $\times$ 3 $\geq$ 4 $-$ 5 -- 6"
    assert escape("--set x---y") == "-{}-set x-{}-{}-y"
    assert escape("a\n\n\tb\x07c") == "a   b c"
    assert escape("é 中 \U0001f600") == "é [U+4E2D] [U+1F600]"
    assert escape('"q" `c`') == r"''q'' \textasciigrave{}c\textasciigrave{}"


def test_latex_marks_groups_and_notes():
    text = RENDERERS["latex"](page_of("[x] a_b", notes=["why & how"], warnings=["one\ntwo"]))
    assert "\n{}[x] a\\_b & \\textbf{1.00} $\\pm$ 0.50$^{1}$ \\\\\n" in text  # [x] would be the line break's option
    assert "$^{1}$ why \\& how\\\\\n" in text
    assert text.endswith("% not shown: one two\n")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert r"\begin{table*}" in RENDERERS["latex"](page_of(heads="abcdefg"))


@pytest.mark.parametrize("format", ["latex"])
def test_latex_of_hostile_text_has_balanced_braces_and_no_stray_command(format):
    page = page_of(HOSTILE, HOSTILE, [HOSTILE], HOSTILE, HOSTILE, [HOSTILE], [HOSTILE])
    text = "".join(line for line in RENDERERS[format](page).splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[%#~]", bare)
    assert "script" not in re.findall(r"\\([a-z]+)", text)


def test_markdown_of_hostile_text_is_still_one_table():
    text = RENDERERS["markdown"](page_of(HOSTILE, heads=[HOSTILE], notes=[HOSTILE], title=HOSTILE + "\nx"))
    ((title, heads, rows),) = read_markdown(text)
    assert heads == ["Method", HOSTILE.replace("*s*", "*s*")]
    assert rows == [[HOSTILE, "1.00 ± 0.50"]]
    assert title.endswith(" x")
    assert "<script>" not in text.replace("\\<", "")


# --- cells ------------------------------------------------------------------------------------------------------------


def test_cells():
    score = Score(mean=1234.567, std=0.049, n=2)
    assert (score_cell(score, seeds=3).text, score_cell(score, seeds=3).rest) == ("1,234.57", " ± 0.05 (n=2)")
    assert score_cell(score, digits=0).text == "1,235"
    assert score_cell(None, reason="why").notes == ("why",)
    cell = score_cell(Score(mean=50.0, std=None, n=1))
    assert with_difference(cell, 51.25, "note").rest == " (−1.25)"
    assert with_difference(cell, None) is cell
    assert with_difference(score_cell(None), 1.0).rest == ""
    assert signed(0.0) == "+0.00"


def test_notes_are_numbered_in_the_order_of_reading():
    null = Line(label="n", kind="null", cells=(Cell(text="1", notes=("c",)),))
    first = Line(label="a", cells=(Cell(text="1", notes=("b", "a")),), notes=("z",))
    grid = Grid(title="T", stub="M", heads=(Head(title="x"),), lines=(null, first), caption=(), layout="main")
    assert grid.notes() == {"z": 1, "b": 2, "a": 3, "c": 4}
    assert [kind for kind, _ in grid.blocks()] == ["measured", "null"]


def test_a_failure_reads_the_same_everywhere():
    board, beside = build([make_record("cam")]), Beside(failures=[failed("has", error="no space | left & <b>")])
    (note,) = make_page(board, "main", beside).grids[0].notes()
    assert note.endswith("no space | left & <b>")
    assert note in HtmlPage(render(board, "html", "main", beside)).text
    assert escape(note) in render(board, "latex", "main", beside)
    assert note.replace("<", "\\<") in render(board, "markdown", "main", beside)


def test_an_unknown_format_is_named():
    with pytest.raises(UserError, match="unknown format 'htm'; did you mean 'html'"):
        render(build([]), "htm")
