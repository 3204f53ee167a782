"""A figure of box accuracy over the operating threshold, with the thresholds that were chosen."""

import io
from collections.abc import Mapping
from pathlib import Path

from wsolbench.errors import UserError
from wsolbench.files import atomic_write, refuse_unwritable_file
from wsolbench.protocols import THRESHOLDS, BoxHits, box_accuracy_counts

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for d, found in zip(hits.criteria, box_accuracy_counts(hits), strict=True):
        percent = 100 * found / len(hits)
        (line,) = axes.plot(THRESHOLDS, percent, linewidth=1.2, label=f"IoU ≥ {d:g}: up to {percent.max():.1f} %")
        for suffix, face in (("", line.get_color()), ("_fullsup", "white")):
            t = thresholds.get(f"max_box_acc_v2_iou{round(100 * d)}{suffix}")
            if t is not None:
                height = percent[round(t * len(THRESHOLDS))]
                axes.plot(t, height, "o", color=line.get_color(), markerfacecolor=face, markersize=6, zorder=3)
    axes.plot([], [], "o", color="grey", label="best on these images (oracle)")
    if any(key.endswith("_fullsup") for key in thresholds):
        axes.plot([], [], "o", color="grey", markerfacecolor="white", label="frozen on train-fullsup")
    axes.set(xlabel="operating threshold t", ylabel="BoxAcc, %", xlim=(0, 1), ylim=(0, None), title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # beside them: it may hide no curve
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.lower()[1:])
    atomic_write(path, drawn.getvalue())
    return path
