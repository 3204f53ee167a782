"""A table and what its figures are drawn from."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from wsolbench.errors import UserError
from wsolbench.leaderboard.columns import columns
from wsolbench.leaderboard.model import Table
from wsolbench.leaderboard.rows import Key, Row
from wsolbench.leaderboard.sections import title
from wsolbench.record_schema import REFERENCE_ROW, Record
from wsolbench.report.figures.sources import Sources
from wsolbench.report.figures.style import Look, looks

T = TypeVar("T")


class Material:
    """A table and what its figures are drawn from.

    Args:
        table: with the rows to draw, at least one.
        sources: of the table.
        images: number of images that methods are compared on.
    """

    def __init__(self, table: Table, sources: Sources, images: int) -> None:
        self.table = table
        self.sources = sources
        self.images = images
        self.looks: Mapping[str, Look] = looks(table.rows)
        self.titles: Mapping[Key, str] = {column.key: column.title for column in columns(table)}

    @property
    def center(self) -> Row | None:
        """The null row that methods have to exceed."""
        return next((row for row in self.table.nulls if row.method == REFERENCE_ROW), None)

    @property
    def floors(self) -> dict[Key, float]:
        """What that row reaches, percent."""
        scores = {key: self.center.score(key) for key in self.titles} if self.center else {}
        return {key: score.mean for key, score in scores.items() if score is not None}

    def data(self, part: str = "", split: str = "test") -> str:
        """Return the heading's second line: table, images, seeds."""
        counts = sorted({row.n for row in self.table.rows})
        number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        images = self.table.section.images.get(split)
        if part:
            images = self.table.rows[0].images(part)
        shown = "" if images is None else f", {images:,} images"
        where = f"{split}, {part}" if part else split
        return f"{title(self.table.section)} · {where}{shown} · {number} seed{'s' if number != '1' else ''}"

    def caption(self, text: str, rows: Sequence[Row], seeds: slice = slice(None)) -> str:
        """Return a caption: what is drawn, and below it the records it is drawn from.

        Args:
            text: what is drawn.
            rows: that are drawn.
            seeds: which of each row's records.
        """
        section = self.table.section
        lines = [f"{text} Protocol version {section.protocol}; table: {title(section)}.", "", "Records:", ""]
        for row in rows:
            used = ", ".join(f"`{each.run_id}` (seed {each.identity['recipe']['seed']})" for each in row.records[seeds])
            lines.append(f"- {row.label}: {used}")
        return "\n".join(lines)

    def available(self, read: Callable[[Row], T], name: str) -> tuple[dict[str, T], list[str]]:
        """Read something of every row.

        Args:
            read: what; raises UserError where it cannot.
            name: of the figure, for the sentence.

        Returns:
            label -> what was read; a sentence on the rows without, if there are any.

        Raises:
            UserError: no row has it; that of the first row.
        """
        found: dict[str, T] = {}
        errors: dict[str, UserError] = {}
        for row in self.table.rows:
            try:
                found[row.label] = read(row)
            except UserError as error:
                errors[row.label] = error
        if not errors:
            return found, []
        if not found:
            raise next(iter(errors.values()))
        reason = next(iter(errors.values()))
        return found, [f"{name} of {title(self.table.section)} lacks {', '.join(errors)}: {reason}"]

    def reference(self, read: Callable[[Record], T], name: str) -> tuple[T | None, list[str]]:
        """Read something of the null row ``center``, as :meth:`available` does: None where it is not there."""
        if self.center is None:
            return None, []
        try:
            return read(self.center.records[0]), []
        except UserError as error:
            return None, [f"{name} of {title(self.table.section)} lacks {REFERENCE_ROW}: {error}"]

    def rows(self, labels: Mapping[str, object]) -> list[Row]:
        """Return the rows with these labels, in the table's order."""
        return [row for row in self.table.rows if row.label in labels]
