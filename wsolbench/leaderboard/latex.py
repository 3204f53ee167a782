r"""Grids as LaTeX tables for a paper: ``booktabs``, groups of columns under rules, footnotes below.

The document needs ``\usepackage{booktabs,graphicx}`` and nothing else; graphicx shrinks what is wider than the text.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import groupby

from wsolbench.leaderboard.grid import HEADINGS, Cell, Grid, Head, Line, Page

_COLUMN = 6  # columns of numbers that one of two columns of text may hold
_EMPHASIS = {0: "{}", 1: r"\textbf{{{}}}", 2: r"\textit{{{}}}"}
_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "−": r"$-$",
    "–": "--",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "→": r"$\to$",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    '"': "''",
    "`": r"\textasciigrave{}",
    "…": r"\dots{}",
    "\0": "{}",
}


def render(page: Page) -> str:
    """Write a ``table`` for each grid, and what is not shown as comments."""
    tables = [_table(grid, number) for number, grid in enumerate(page.grids, start=1)]
    head = "% needs \\usepackage{booktabs,graphicx}; generated from records by `wsolbench leaderboard --format latex`\n"
    ignored = "".join(f"% not shown: {' '.join(warning.split())}\n" for warning in page.warnings)
    return head + "\n".join(tables) + ignored


def escape(text: str) -> str:
    r"""Write plain text so that LaTeX prints it; a character that its fonts may lack as its code point.

    >>> escape("drop_rate ≥ 50 % --set")
    'drop\\_rate $\\geq$ 50 \\% -{}-set'
    """
    line = re.sub(r"[\s\x00-\x1f\x7f]", " ", text)
    return "".join(map(_character, re.sub("-(?=-)", "-\0", line)))  # two hyphens would be printed as a dash


def _character(character: str) -> str:
    known = _CHARACTERS.get(character)
    if known is not None:
        return known
    accented = "À" <= character <= "ÿ" and unicodedata.decomposition(character)
    return character if character.isascii() or accented else f"[U+{ord(character):04X}]"


def _table(grid: Grid, number: int) -> str:
    notes, width = grid.notes(), len(grid.heads)
    body = [r"\toprule", *_heads(grid), r"\midrule"]
    for index, (kind, lines) in enumerate(grid.blocks()):
        if index:
            body.append(r"\midrule")
        if HEADINGS[kind]:
            body.append(rf"\multicolumn{{{width + 1}}}{{@{{}}l}}{{\textit{{{escape(HEADINGS[kind])}}}}} \\")
        body += [_line(line, notes) for line in lines]
    body.append(r"\bottomrule")
    below = [rf"$^{{{index}}}$ {escape(note)}\\" for note, index in notes.items()]
    float_ = "table*" if width > _COLUMN else "table"
    return "\n".join(
        [
            rf"\begin{{{float_}}}[tb]",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}",
            rf"\caption[{{{escape(grid.title)}}}]{{{escape(grid.title)}. {escape(' '.join(grid.caption))}}}",
            rf"\label{{tab:{grid.layout}-{number}}}",
            rf"\sbox0{{\begin{{tabular}}{{@{{}}l{'r' * width}@{{}}}}",
            *body,
            r"\end{tabular}}",
            r"\ifdim\wd0>\linewidth \resizebox{\linewidth}{!}{\usebox0}\else \usebox0\fi",
            *([r"\par\smallskip\raggedright", *below] if below else []),
            rf"\end{{{float_}}}",
            "",
        ]
    )


def _heads(grid: Grid) -> list[str]:
    """Return one line of column titles, or two where columns share a group."""
    titles = " & ".join([escape(grid.stub), *(escape(head.title) for head in grid.heads)]) + r" \\"
    if not any(head.group for head in grid.heads):
        return [titles]
    cells, rules, at = [""], [], 2
    for group, span in _groups(grid.heads):
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    return [" & ".join(cells) + r" \\", "".join(rules), titles]


def _groups(heads: Sequence[Head]) -> list[tuple[str, int]]:
    return [(group, len(list(members))) for group, members in groupby(heads, key=lambda head: head.group)]


def _line(line: Line, notes: Mapping[str, int]) -> str:
    label = escape(line.label)
    guard = "{}" if label.startswith(("[", "*")) else ""  # either would be an option of the line break before it
    return " & ".join([guard + label + _marks(line.notes, notes), *(_cell(c, notes) for c in line.cells)]) + r" \\"


def _cell(cell: Cell, notes: Mapping[str, int]) -> str:
    return _EMPHASIS[cell.rank].format(escape(cell.text)) + escape(cell.rest) + _marks(cell.notes, notes)


def _marks(own: Sequence[str], notes: Mapping[str, int]) -> str:
    return f"$^{{{','.join(str(notes[note]) for note in own)}}}$" if own else ""
