"""The leaderboard as data: every metric of every row, one a line, with full precision."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wsolbench.leaderboard.grid import Page
from wsolbench.leaderboard.model import Leaderboard, Section
from wsolbench.leaderboard.rows import Row
from wsolbench.leaderboard.sections import title

if TYPE_CHECKING:
    import pandas as pd


def to_frame(board: Leaderboard) -> "pd.DataFrame":
    """Return every metric in tidy form: one line per (section, row, slice, metric).

    ``extractor`` is empty for a method's own maps; ``supervision`` is what was trained on, ``labels`` or ``masks``;
    ``config``, ``dataset_options`` and ``tuned`` (the hyperparameters that were chosen) are JSON; ``slice`` is empty
    for all test images; ``images`` is the number of test images in the slice; ``std`` is empty for one seed; an absent
    metric has n = 0, no mean, and a ``reason``.
    """
    import pandas as pd  # half a second, which markdown need not wait for

    lines = [
        line
        for table in board.tables
        for rows, null in ((table.rows, False), (table.nulls, True))
        for row in rows
        for line in _tidy(table.section, row, null)
    ]
    names = "section title dataset dataset_options backbone image_size map_height map_width protocol test_fingerprint"
    more = "method extractor supervision label config null trials tuned slice images metric mean std n reason"
    return pd.DataFrame(lines, columns=[*names.split(), *more.split()])


def _tidy(section: Section, row: Row, null: bool) -> Iterable[tuple[object, ...]]:
    where = (section.key, title(section), section.dataset, _json(section.options), section.backbone)
    how = (section.image_size, *row.records[0].map_size, section.protocol, section.fingerprints.get("test", ""))
    who = (row.method, row.extractor, row.supervision.get("kind", "labels"), row.label, _json(row.config), null)
    tuned = (section.trials, "" if row.tuned is None else _json(row.tuned.drawn))
    for key in row.keys():  # noqa: SIM118 (not a mapping)
        part, metric = key
        score = row.score(key)
        numbers = (score.mean, score.std, score.n) if score else (None, None, 0)
        yield (*where, *how, *who, *tuned, part, row.images(part), metric, *numbers, row.reason(key))


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def to_csv(board: Leaderboard) -> str:
    """Write :func:`to_frame` as CSV with full precision."""
    return to_frame(board).to_csv(index=False, lineterminator="\n")


def grids_to_csv(page: Page) -> str:
    """Write the cells of a page as CSV: one line per (table, row, column), as they stand in the other formats.

    ``value`` has full precision; ``std`` and ``n`` are empty where a cell was not measured over seeds; ``reason`` holds
    a cell's footnotes: why it is empty, or what its difference is from.
    """
    import pandas as pd

    lines = [
        (
            grid.title,
            line.kind,
            line.label,
            head.text,
            cell.text,
            cell.rest.strip(),
            cell.value,
            cell.std,
            cell.n,
            cell.rank,
        )
        + ("; ".join(cell.notes), "; ".join(line.notes))
        for grid in page.grids
        for line in grid.lines
        for head, cell in zip(grid.heads, line.cells, strict=True)
    ]
    names = ["table", "kind", "row", "column", "text", "rest", "value", "std", "n", "rank", "reason", "note"]
    return pd.DataFrame(lines, columns=names).to_csv(index=False, lineterminator="\n")
