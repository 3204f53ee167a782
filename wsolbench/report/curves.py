"""The figure that ``evaluate --curves`` writes: box accuracy over the operating threshold of one set of maps."""

from collections.abc import Mapping
from pathlib import Path

from wsolbench.errors import UserError
from wsolbench.files import atomic_write, refuse_unwritable_file
from wsolbench.protocols import BoxHits

FORMATS = (".png", ".svg", ".pdf")


def check_format(option: str, path: Path) -> None:
    """Refuse a figure that could not be written.

    Args:
        option: the option that named it, for the error.
        path: the figure.

    Raises:
        UserError: the ending is none of :data:`FORMATS`, or the place cannot be written to.

    >>> check_format("--curves", Path("curves.gif"))
    Traceback (most recent call last):
    wsolbench.errors.UserError: --curves curves.gif has an unknown ending; expected one of .png, .svg, .pdf
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{option} {path} has an unknown ending; expected one of {', '.join(FORMATS)}")
    refuse_unwritable_file(option, path)


def draw_curves(hits: BoxHits, thresholds: Mapping[str, float], title: str, path: Path) -> Path:
    """Draw BoxAcc(t, d) of all contours, one curve per IoU criterion d.

    A dot is the oracle, the best threshold on these very images; a ring is the threshold frozen on train-fullsup.

    Args:
        hits: of the split's images.
        thresholds: metric key to threshold, as in :class:`~wsolbench.protocols.metrics.Scores`; without a ``_fullsup``
            key of a criterion there is no ring.
        title: what was scored.
        path: the figure, its ending one of :data:`FORMATS`.

    Returns:
        ``path``.
    """
    from wsolbench.report.figures.curves import draw_one  # matplotlib takes half a second, and few ask for a figure
    from wsolbench.report.figures.saving import encoded

    atomic_write(path, encoded(draw_one(hits, thresholds, title), path.suffix.lower()[1:], title))
    return path
