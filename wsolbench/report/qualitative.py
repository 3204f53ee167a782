"""The picture that ``demo`` ends with: score maps with predicted and true boxes, side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsolbench.data.places import Places
from wsolbench.data.splits import Dataset
from wsolbench.files import atomic_write
from wsolbench.record_schema import Record

TRUE, PREDICTED = "#ff1f1f", "#19e65a"
"""Colours of the boxes: red and green, as in the papers; the second is dashed, for who cannot tell them apart."""

SCORE_MAP, OPACITY = "inferno", 0.6
"""matplotlib's name of a score map's colours: dark to bright in even steps, and both boxes stay visible on them."""


def draw_comparison(dataset: Dataset, records: Mapping[str, Record], results: Path, path: Path, rows: int = 6) -> Path:
    """Draw test images, one a class, with each method's score map and boxes.

    The images are the first of each of the first classes, whatever the methods make of them. Predicted boxes are all
    boxes at the threshold frozen on train-fullsup for GT-known.

    Args:
        dataset: the records' dataset.
        records: label -> record; their raw maps must be in ``<results>/runs``.
        results: folder of records and runs.
        path: the PNG to write.
        rows: number of images.

    Returns:
        ``path``.

    Raises:
        UserError: a run's raw maps are missing, or it has no frozen threshold.
    """
    from wsolbench.report.figures.examples import answers, pictures  # matplotlib waits until it is needed
    from wsolbench.report.figures.qualitative import draw_side_by_side
    from wsolbench.report.figures.saving import encoded
    from wsolbench.report.figures.sources import Shelf, Sources

    sources = Sources(Shelf(results), Places(), next(iter(records.values())), dataset)
    chosen = first_of_each_class(dataset.images("test").labels, rows)
    found = {label: answers(sources, record, chosen) for label, record in records.items()}
    what = "Score maps and boxes: the first test image of each class"
    figure = draw_side_by_side(pictures(sources, chosen), found, what, "")
    atomic_write(path, encoded(figure, "png", what))
    return path


def first_of_each_class(labels: npt.NDArray[np.int64], count: int) -> list[int]:
    """Return the index of the first image of each of the first ``count`` classes.

    >>> first_of_each_class(np.array([1, 0, 1, 2]), 2)
    [1, 0]
    """
    _, first = np.unique(labels, return_index=True)
    return [int(index) for index in first[:count]]
