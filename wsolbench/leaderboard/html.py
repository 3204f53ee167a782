"""Grids as one HTML page that needs nothing else: readable on a phone, in the dark and on paper."""

from itertools import groupby

from wsolbench.leaderboard.grid import HEADINGS, Page


def render(page: Page) -> str:
    """Write the page; titles, labels and notes are text, never markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a tenth of a second that markdown need not wait

    environment = Environment(
        loader=PackageLoader("wsolbench.leaderboard", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    groups = [
        [(group, len(list(members))) for group, members in groupby(grid.heads, key=lambda head: head.group)]
        for grid in page.grids
    ]
    tables = [
        {"grid": grid, "groups": found if any(name for name, _ in found) else [], "notes": grid.notes()}
        for grid, found in zip(page.grids, groups, strict=True)
    ]
    return environment.get_template("page.html").render(tables=tables, headings=HEADINGS, warnings=page.warnings)
