"""What the runs of one dataset and backbone cost."""

from collections.abc import Callable
from dataclasses import replace

from wsolbench.leaderboard.grid import Cell, Grid, Head, Line, score_cell, text_cell
from wsolbench.leaderboard.missing import failure_notes, placed_failures
from wsolbench.leaderboard.model import Table
from wsolbench.leaderboard.rows import Row, mean_score
from wsolbench.leaderboard.sections import Beside, failed_lines, section_grid
from wsolbench.record_schema import Record


def cost_layout(table: Table, beside: Beside) -> list[Grid]:
    """Lay out what the runs cost: size of the network, speed of training, time, memory, and the search before it."""
    if not table.rows:
        return []
    kind = table.rows[0].records[0].identity.get("device_type")
    minutes = {"cuda": "GPU minutes", "cpu": "CPU minutes"}.get(str(kind), "minutes")
    tuned = any(row.tuned for row in table.rows)
    titles = ["parameters, M", "training images/s", minutes, "peak memory, MiB", *([f"search, {minutes}"] * tuned)]
    failed = placed_failures(table, beside.failures)
    lines = [
        Line(label=row.label, cells=_cells(row, tuned), notes=failure_notes(failed.get(row.label, ())))
        for row in table.rows
    ]
    devices = sorted({record.provenance.device for row in table.rows for record in row.records})
    said = (
        "Mean ± sample standard deviation over n seeds; minutes are those of the whole run, scoring included, times the"
        f" number of devices. Measured on: {'; '.join(devices)}.",
        *(["search: what the trials of the study trained for, before the n runs."] if tuned else []),
    )
    heads = [Head(title=text) for text in ("n", *titles)]
    lines += failed_lines(table, failed, 0, len(titles))
    return [section_grid(table, heads, lines, said, layout="cost", what="cost")]


def _cells(row: Row, tuned: bool) -> tuple[Cell, ...]:
    trained = "post-hoc maps of other runs: nothing was trained" if row.extractor else "not recorded"

    def cell(read: Callable[[Record], float | None], digits: int, reason: str = "not recorded") -> Cell:
        values = [value for record in row.records if (value := read(record)) is not None]
        return score_cell(mean_score(values), reason="" if values else reason, digits=digits, seeds=row.n)

    def same(read: Callable[[Record], float | None], digits: int, reason: str) -> Cell:
        """What all seeds share has no spread."""
        return replace(cell(read, digits, reason), rest="", std=None)

    cells = [
        text_cell(str(row.n)),
        same(lambda record: None if record.parameters is None else record.parameters / 1e6, 2, trained),
        cell(lambda record: record.provenance.train_images_per_s, 0, trained),
        cell(lambda record: record.provenance.wall_s / 60 * record.identity["recipe"].get("world_size", 1), 1),
        cell(lambda record: record.provenance.peak_memory_mb, 0),
    ]
    if tuned:
        cells.append(
            same(lambda record: None if record.tuned is None else record.tuned.training_s / 60, 1, "not tuned")
        )
    return tuple(cells)
