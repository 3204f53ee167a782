"""Grids as GitHub's markdown."""

from collections.abc import Mapping

from tabulate import tabulate

from wsolbench.leaderboard.grid import HEADINGS, Cell, Grid, Line, Page

_MARKUP = str.maketrans({character: "\\" + character for character in "\\|*`<"} | {"\n": " "})
_EMPHASIS = {0: "{}", 1: "**{}**", 2: "*{}*"}


def render(page: Page) -> str:
    """Write the tables: title, table, footnotes, caption; then what is not shown."""
    blocks = [_table(grid) for grid in page.grids]
    if page.warnings:
        blocks.append("Not shown:\n\n" + "\n".join(f"- {_plain(warning)}" for warning in page.warnings))
    return "\n\n".join(blocks) + "\n"


def _table(grid: Grid) -> str:
    notes = grid.notes()
    rows = []
    for kind, lines in grid.blocks():
        if HEADINGS[kind]:
            rows.append([f"*{HEADINGS[kind]}*", *[""] * len(grid.heads)])
        rows += [_line(line, notes) for line in lines]
    heads = [grid.stub, *(head.text.translate(_MARKUP) for head in grid.heads)]
    align = ["left", *["right"] * len(grid.heads)]
    body = tabulate(rows, headers=heads, tablefmt="pipe", disable_numparse=True, colalign=align)
    footnotes = "\n".join(f"{superscript(number)} {_plain(note)}  " for note, number in notes.items())
    parts = (f"## {_plain(grid.title)}", body, footnotes, _plain(" ".join(grid.caption)))
    return "\n\n".join(part for part in parts if part)


def _line(line: Line, notes: Mapping[str, int]) -> list[str]:
    label = line.label.translate(_MARKUP) + "".join(" " + superscript(notes[note]) for note in line.notes)
    return [label, *(_cell(cell, notes) for cell in line.cells)]


def _cell(cell: Cell, notes: Mapping[str, int]) -> str:
    text = _EMPHASIS[cell.rank].format(cell.text.translate(_MARKUP)) + cell.rest.translate(_MARKUP)
    return text + "".join(superscript(notes[note]) for note in cell.notes)


def _plain(text: str) -> str:
    """Write text on one line in which no tag begins."""
    return " ".join(text.split()).replace("<", "\\<")


def superscript(number: int) -> str:
    """Write a number in superscript digits.

    >>> superscript(12)
    '¹²'
    """
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
