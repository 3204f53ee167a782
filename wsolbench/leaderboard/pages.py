"""The leaderboard put together: layouts by name, renderers by format, and the generated files."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from wsolbench.errors import UserError, unknown_name
from wsolbench.failures import Failure, load_failures
from wsolbench.files import atomic_write
from wsolbench.leaderboard import html, latex, markdown
from wsolbench.leaderboard.ablations import ABLATIONS, ablation_layout, pair_layout
from wsolbench.leaderboard.costs import cost_layout
from wsolbench.leaderboard.grid import Grid, Page
from wsolbench.leaderboard.missing import unplaced_failures
from wsolbench.leaderboard.model import V2, Leaderboard, Table, build
from wsolbench.leaderboard.sections import Beside, Standing, criteria_layout, main_layout
from wsolbench.leaderboard.tidy import grids_to_csv, to_csv
from wsolbench.leaderboard.wide import wide_layout
from wsolbench.records import load_records, record_files

HEADER = "<!-- generated from records by `wsolbench leaderboard --write`; do not edit -->\n"

Standings = Callable[[Leaderboard, Path], Mapping[str, Standing]]
Layout = Callable[[Leaderboard, Beside], list[Grid]]


def _of_tables(*layouts: Callable[[Table, Beside], list[Grid]]) -> Layout:
    """Return the layout that shows every table in several ways, one after the other."""

    def lay_out(board: Leaderboard, beside: Beside) -> list[Grid]:
        return [grid for table in board.tables for layout in layouts for grid in layout(table, beside)]

    return lay_out


LAYOUTS: Mapping[str, Layout] = {
    "main": _of_tables(main_layout),
    "criteria": _of_tables(criteria_layout),
    "cost": _of_tables(cost_layout),
    "all": _of_tables(main_layout, criteria_layout, cost_layout),
    **{name: ablation_layout(name) for name in ABLATIONS},
    "table4": wide_layout("table4", "MaxBoxAccV2", V2, mean=True),
    "table5": pair_layout,
    "table6": wide_layout("table6", "Top-1 Loc at t = 0.2", "top1_loc_at_0.2", mean=False),
    "table7": wide_layout("table7", "Top-1 Cls", "top1_cls", mean=True),
}
"""Every layout: of one dataset and backbone (main, criteria, cost, all), and those of the InCA paper."""

RENDERERS: Mapping[str, Callable[[Page], str]] = {
    "markdown": markdown.render,
    "latex": latex.render,
    "html": html.render,
    "csv": grids_to_csv,
}


def make_page(board: Leaderboard, layout: str = "main", beside: Beside | None = None) -> Page:
    """Lay the leaderboard out.

    Raises:
        UserError: no such layout.
    """
    check_choices("markdown", layout)
    beside = beside or Beside()
    grids = LAYOUTS[layout](board, beside)
    shown = "\n".join(note for grid in grids for note in grid.notes())
    empty = [] if grids or not board.records else [f"no record belongs into a table of the layout {layout}"]
    return Page(grids=tuple(grids), warnings=(*board.warnings, *empty, *unplaced_failures(beside.failures, shown)))


def render(board: Leaderboard, format: str, layout: str = "main", beside: Beside | None = None) -> str:
    """Write the leaderboard in a format: markdown, latex, html, or csv.

    CSV of the layout ``main`` holds every metric of every record; of any other layout, and of ``main`` with published
    numbers or a baseline beside it, the cells.

    Raises:
        UserError: no such format or layout.
    """
    check_choices(format, layout)
    if format == "csv" and layout == "main" and not (beside and (beside.published or beside.standings)):
        return to_csv(board)
    return RENDERERS[format](make_page(board, layout, beside))


def check_choices(format: str, layout: str) -> None:
    """Raise UserError for a format or a layout that does not exist."""
    for kind, name, choices in (("format", format, RENDERERS), ("layout", layout, LAYOUTS)):
        if name not in choices:
            raise unknown_name(kind, name, choices)


def to_markdown(board: Leaderboard) -> str:
    """Write the layout ``main`` in markdown."""
    return render(board, "markdown")


def write_tables(results: Path, standings: Standings | None = None, *, published: bool = False) -> list[Path]:
    """Write ``leaderboard.md``, ``.tex``, ``.html`` and ``.csv`` into the folder of each dataset, from its records.

    The same records give the same bytes. CSV has no header comment: readers would take it for data.

    Args:
        results: as for :func:`~wsolbench.records.record_files`.
        standings: how the rows of a leaderboard stand to a baseline; None: no baseline.
        published: show what papers print.

    Returns:
        The files written.

    Raises:
        UserError: there is no such folder, or nothing in it that could be used.
    """
    folders = sorted({path.parent for path in record_files(results)})
    if not folders:
        raise UserError(f"there is no record below '{results}'; `wsolbench run` writes them to DATASET/records")
    boards = {folder: _read(folder) for folder in folders}
    if not any(board.records or failures for board, failures in boards.values()):
        raise nothing_to_show([warning for board, _ in boards.values() for warning in board.warnings])
    written = []
    for folder, (board, failures) in boards.items():
        known = standings(board, folder) if standings else {}
        beside = Beside(published=published, failures=failures, standings=known)
        made = partial(render, board, layout="all", beside=beside)
        texts = {
            "leaderboard.md": HEADER + "\n" + made("markdown"),
            "leaderboard.tex": made("latex"),
            "leaderboard.html": made("html"),
            "leaderboard.csv": to_csv(board),
        }
        for name, text in texts.items():
            atomic_write(folder.parent / name, text.encode())
            written.append(folder.parent / name)
    return written


def _read(folder: Path) -> tuple[Leaderboard, list[Failure]]:
    """Read a folder of records, and the failures beside it."""
    records, warnings = load_records(folder)
    failures, skipped = load_failures(folder.with_name("failures"))
    return build(records, [*warnings, *skipped]), failures


def nothing_to_show(warnings: Sequence[str]) -> UserError:
    """Build the error for results of which nothing can be used, from what was said of each file."""
    more = f"; and {len(warnings) - 5} more" if len(warnings) > 5 else ""
    return UserError("; ".join(warnings[:5]) + more)
