"""The figure of box accuracy over the threshold: its curves are the metric's, its marks are where they were chosen."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from wsolbench.errors import UserError
from wsolbench.protocols import THRESHOLDS, BoxHits, SplitScores, box_accuracy_counts, score
from wsolbench.report.curves import check_format, draw_curves


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draw two splits of random hits; return the scores, the hits, the axes, and the path."""
    rng = np.random.default_rng(0)
    test, fullsup = (
        SplitScores(hits=BoxHits.from_levels(rng.random((n, 3, 256)) < 0.5, rng.integers(100, 256, n).astype(np.uint8)))
        for n in (40, 20)
    )
    figures, plain = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda *args, **kw: (figures.append(args[0]), plain(*args, **kw)))
    scores = score(test, fullsup)
    path = draw_curves(test.hits, scores.thresholds, "a title", tmp_path / "new" / "curves.svg")
    return scores, test.hits, figures[0].axes[0], path


def test_curves_and_marks(drawn):
    scores, hits, axes, path = drawn
    lines = [line for line in axes.lines if len(line.get_xdata()) == 1000]
    assert len(lines) == 3
    for line, counts in zip(lines, box_accuracy_counts(hits), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), THRESHOLDS)
        np.testing.assert_allclose(line.get_ydata(), 100 * counts / 40)
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    keys = [f"max_box_acc_v2_iou{d}{suffix}" for d in (30, 50, 70) for suffix in ("", "_fullsup")]
    np.testing.assert_allclose(marks, [(scores.thresholds[key], scores.metrics[key]) for key in keys])
    assert axes.get_title("left") == "a title"
    assert path.read_bytes().startswith(b"<?xml")


def test_the_legend_gives_the_best_values_and_speaks_of_frozen_thresholds_where_there_are_any(drawn):
    scores, _, axes, _ = drawn
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    best = {d: scores.metrics[f"max_box_acc_v2_iou{round(100 * d)}"] for d in (0.3, 0.5, 0.7)}
    assert texts[:3] == [f"IoU ≥ {d}: up to {value:.1f} %" for d, value in best.items()]
    assert texts[3:] == ["best on these images (oracle)", "frozen on train-fullsup"]


def test_places_that_cannot_be_written(tmp_path):
    for name in ("curves.gif", "curves"):
        with pytest.raises(UserError, match=r"has an unknown ending; expected one of \.png, \.svg, \.pdf"):
            check_format("--curves", tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="is a folder; expected the name of a file"):
        check_format("--curves", tmp_path / "folder.png")
