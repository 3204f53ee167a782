"""The one look of all figures: sizes, letters, and what each method looks like.

Letters are at least 7 points at the width that a figure is printed at: :data:`ONE_COLUMN` or :data:`TWO_COLUMNS`.
Backgrounds are white, because figures are printed; nothing is told by colour alone.
"""

import hashlib
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wsolbench.leaderboard.rows import Row
from wsolbench.plugins import find_methods

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
"""Widths in inches, of a column and of a page's text in the usual two-column templates."""

INK, FAINT, GRID = "#1a1a1a", "#6b6b6b", "#e3e3e3"
NULL_LINE: Mapping[str, Any] = {"color": FAINT, "linewidth": 0.8, "linestyle": (0, (2, 2))}
"""Keywords of the line at what the null row ``center`` reaches."""

PALETTE = (
    "#56a8dc",  # sky
    "#117733",  # green
    "#111111",  # black
    "#8a8a1f",  # olive
    "#aa4499",  # purple
    "#c99700",  # amber
    "#332288",  # indigo
    "#d1490b",  # vermilion
    "#3fa596",  # teal
    "#9c1b4d",  # wine
)
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
"""Line styles of rows that share a method: plain, and its variants (another config, post-hoc maps)."""

SMALL = 7.0
"""Points; no letter is smaller."""

HEADING: Mapping[str, Any] = {"fontsize": 7.5, "linespacing": 1.35}
"""Keywords of the text above a figure."""

_PER_INCH = 17.5
"""Characters of the heading in an inch, about."""

_SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": SMALL,
    "axes.titlesize": 7.5,
    "axes.labelsize": SMALL,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is no formula
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "lines.markeredgewidth": 0.7,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.borderpad": 0.1,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "savefig.dpi": 200,
    "path.simplify_threshold": 0.25,  # of a pixel: a quarter of the bytes, and no eye can tell
    # Letters as outlines: an SVG's text would be set in whatever letters the reader has, and its labels would collide.
    "svg.fonttype": "path",
    "svg.hashsalt": "wsolbench",  # the names inside an SVG are drawn from it, so equal figures are equal bytes
    "pdf.fonttype": 42,  # embedded TrueType, which publishers ask for; its text can be searched
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this, or decorate what does: the look above, whatever the user's own settings are."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A class named in letters that the font lacks: they become empty boxes, as the reader will see.
        warnings.filterwarnings("ignore", message="Glyph")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float, *, pad: float = 0.03, space: float = 0.02) -> Figure:
    """Return an empty figure that lays itself out.

    Args:
        width: inches.
        height: inches.
        pad: around each panel, inches.
        space: between panels, a fraction of their size.
    """
    engine = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=space, hspace=space)
    figure = Figure(figsize=(width, height), layout=engine)
    FigureCanvasAgg(figure)
    return figure


def round_ticks(axes: Any, most: int = 6) -> None:  # noqa: ANN401
    """Let both axes of a panel have few and round numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10]))


def head(figure: Figure, what: str, data: str) -> None:
    """Write above a figure what it shows, and below that of which data.

    Args:
        figure: of :func:`new_figure`.
        what: the first line.
        data: the second.
    """
    figure.suptitle(heading(figure.get_figwidth(), what, data), x=0.008, ha="left", **HEADING)


def heading(width: float, what: str, data: str) -> str:
    """Return both lines, broken where they are too long for a figure of a width in inches.

    >>> heading(2.0, "What is drawn", "the data, which have a long name, 1,000 images").splitlines()
    ['What is drawn', 'the data, which have a long name,', '1,000 images']
    """
    lines = [textwrap.wrap(text, int(width * _PER_INCH), break_on_hyphens=False) for text in (what, data)]
    return "\n".join(line for part in lines for line in part)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a row looks like in every figure.

    Attributes:
        colour: of its method.
        marker: of its method.
        dashes: solid; dashed and so on for a further row of the same method.
        filled: whether its markers are, which they are not for such a further row.
    """

    colour: str
    marker: str
    dashes: Any
    filled: bool

    @property
    def line(self) -> dict[str, Any]:
        """Keywords for a line without markers."""
        return {"color": self.colour, "linestyle": self.dashes}

    @property
    def points(self) -> dict[str, Any]:
        """Keywords for markers without a line."""
        face = self.colour if self.filled else "white"
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": face, "linestyle": "none"}

    def handle(self, label: str) -> Line2D:
        """Return the entry of a legend."""
        return Line2D([], [], **{**self.points, **self.line}, label=label)


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """Return label -> look, the same for a method wherever it stands.

    Args:
        rows: those of one table; further rows of a method are told apart by their line, in the order of their labels.
    """
    chosen: dict[str, Look] = {}
    seen: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: (len(row.label), row.label)):
        variant = seen[row.method] = seen.get(row.method, -1) + 1
        colour, marker = colour_and_marker(row.method)
        chosen[row.label] = Look(colour=colour, marker=marker, dashes=DASHES[variant % len(DASHES)], filled=not variant)
    return chosen


def colour_and_marker(method: str) -> tuple[str, str]:
    """Return a method's colour and marker: a built-in one's by its place, any other's by the hash of its name.

    >>> colour_and_marker("cam")
    ('#111111', '^')
    """
    places = _built_ins()
    if method in places:
        place = places.index(method)
        return PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
    drawn = hashlib.sha256(method.encode()).digest()
    return PALETTE[drawn[0] % len(PALETTE)], MARKERS[drawn[1] % len(MARKERS)]


@cache
def _built_ins() -> tuple[str, ...]:
    """Return the names of the methods that come with the project, sorted."""
    return tuple(sorted(name for name, entry in find_methods().items() if entry.module.startswith("wsolbench.")))
