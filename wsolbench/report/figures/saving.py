"""A figure becomes files: the same figure, the same bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from wsolbench.errors import UserError
from wsolbench.files import atomic_write
from wsolbench.report.figures.style import house_style

FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """A figure and what is to be said of it.

    Attributes:
        name: of its files, without ending.
        title: one line.
        figure: the picture.
        caption: exactly what is drawn, and from which records; markdown.
    """

    name: str
    title: str
    figure: Figure
    caption: str


def check_formats(option: str, formats: Sequence[str]) -> None:
    """Refuse formats that cannot be written.

    Args:
        option: that named them, for the error.
        formats: endings without the dot.

    Raises:
        UserError: one is not of :data:`FORMATS`, or there is none.

    >>> check_formats("--formats", ["svg", "gif"])
    Traceback (most recent call last):
    wsolbench.errors.UserError: --formats gif is not known; expected some of svg, png, pdf
    """
    for kind in formats or [""]:
        if kind not in FORMATS:
            raise UserError(f"{option} {kind} is not known; expected some of {', '.join(FORMATS)}")


@house_style()
def encoded(figure: Figure, kind: str, title: str) -> bytes:
    """Return a figure as the bytes of a file, without a date or a version in it.

    Args:
        figure: the picture.
        kind: one of :data:`FORMATS`.
        title: written into the file, for whoever cannot see it.
    """
    metadata = {
        "svg": {"Title": title, "Creator": "wsolbench", "Date": None},
        "png": {"Title": title, "Software": None},
        "pdf": {"Title": title, "Creator": "wsolbench", "Producer": None, "CreationDate": None},
    }
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, metadata=metadata[kind])
    return drawn.getvalue()


@house_style()
def lay_out(figure: Figure) -> None:
    """Lay a figure out now and for good: each format would do it again, which takes as long as drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(drawing: Drawing, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a drawing: a file a format, and ``<name>.md`` with the picture and its caption.

    Returns:
        The paths, the caption's last.
    """
    lay_out(drawing.figure)
    paths = [folder / f"{drawing.name}.{kind}" for kind in formats]
    for path, kind in zip(paths, formats, strict=True):
        atomic_write(path, encoded(drawing.figure, kind, drawing.title))
    shown = next((path.name for path, kind in zip(paths, formats, strict=True) if kind in ("svg", "png")), None)
    picture = "" if shown is None else f"![{drawing.title}]({shown})\n\n"
    text = f"# {drawing.title}\n\n{picture}{drawing.caption}\n"
    atomic_write(folder / f"{drawing.name}.md", text.encode())
    return [*paths, folder / f"{drawing.name}.md"]
