"""Made-up leaderboards, and what their pages say, read back."""

import re
from html.parser import HTMLParser

from record_examples import make_identity, make_null, make_record

from wsolbench.failures import Failure

V2 = "max_box_acc_v2"
CUB = {"train-weaksup": "59150ccaf23e20b8", "train-fullsup": "5ebf0c03f4e98676", "test": "70687f9ee0fc357a"}
INCA = {"attention": "residual", "mask": "dropped-foreground", "contrastive": "triplet", "fc": True, "points": []}
"""What the InCA paper's ablations change, at its defaults."""


def cub(method="cam", seed=0, v2=50.0, metrics=None, *, make=make_record, fields=None, **changes):
    """Return a record on the whole of CUB; InCA with its defaults unless a config is given."""
    changes = {"backbone": "resnet50", "dataset": "cub", "fingerprints": CUB, **changes}
    changes.setdefault("config", INCA if method == "inca" else {})
    if make is make_null:
        del changes["backbone"]
    found = {"metrics": {V2: v2, **(metrics or {})}, **(fields or {})}
    return make(method, seed, fields=found, **changes) if make is make_record else make(method, fields=found, **changes)


def failed(method="cam", seed=0, error="out of memory", *, smaller="", **changes):
    """Return the failure of a run that :func:`make_record` would have recorded."""
    return Failure(
        identity=make_identity(method, seed, **changes),
        error=error,
        command=f"wsolbench run {method} parts --seed {seed}",
        device="cpu",
        finished="2030-01-02T03:04:05+00:00",
        attempts=2,
        log="logs/a.txt",
        smaller=smaller,
    )


def lines_of(grid):
    """Return a grid as text: label -> what its cells say, notes aside."""
    return {line.label: [cell.text + cell.rest for cell in line.cells] for line in grid.lines}


def notes_of(grid, label):
    """Return the notes of a line and of each of its cells."""
    line = next(line for line in grid.lines if line.label == label)
    return list(line.notes), [list(cell.notes) for cell in line.cells]


# --- pages read back: a table is (title, heads, rows); a row is its cells as text, the label first -------------------


def read_markdown(text):
    """Read the tables of a markdown page; footnote marks and emphasis are dropped."""
    tables = []
    for line in text.splitlines():
        if line.startswith("## "):
            tables.append((line[3:], [], []))
        elif line.startswith("|") and not line.startswith("|:"):
            cells = [_bare(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            target = tables[-1][1] if not tables[-1][1] else None
            if target is None:
                tables[-1][2].append(cells)
            else:
                target += cells
    return tables


def _bare(text):
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]", "", text).strip()
    text = re.sub(r"(?<!\\)\*", "", text)
    return re.sub(r"\\(.)", r"\1", text)


def read_latex(text):
    """Read the rows of LaTeX tables: lists of cells; math becomes the characters it stands for."""
    tables = []
    for block in re.findall(r"\\toprule(.*?)\\bottomrule", text, re.DOTALL):
        body = block.split(r"\midrule", 1)[1]
        rows = [row for row in body.replace(r"\midrule", "").split(r"\\") if row.strip()]
        tables.append([[_read_tex(cell) for cell in re.split(r"(?<!\\)&", row)] for row in rows])
    return tables


def _read_tex(text):
    text = re.sub(r"\$\^\{[\d,]+\}\$", "", text.strip())
    text = re.sub(r"\\text(?:bf|it)\{([^{}]*)\}", r"\1", text)
    for tex, plain in ((r"$\pm$", "±"), ("$-$", "−"), (r"$\dagger$", "†"), (r"$\ddagger$", "‡"), ("--", "–")):
        text = text.replace(tex, plain)
    return re.sub(r"\\([&%$#_{}])", r"\1", text)


VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page: its tables, tags, attributes; raises where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.tables, self.text = [], [], [], [], ""
        self._cell = None
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            self._cell = None

    def handle_data(self, data):
        self.text += data
        if self._cell is not None and self.open[-1] != "sup":
            self._cell += data
