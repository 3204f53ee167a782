"""Pictures of what methods do: score maps with predicted and true boxes, side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.splits import Dataset
from wsolbench.errors import UserError
from wsolbench.protocols import boxes_at, iou, levels, prepare
from wsolbench.protocols.box_metrics import THRESHOLDS
from wsolbench.record_schema import Record
from wsolbench.scoring import scaled_boxes

Boxes = npt.NDArray[np.int64]

TRUE, PREDICTED = "#ffffff", "#ff2d55"


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
        UserError: a run's raw maps are missing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = int(next(iter(records.values())).identity["recipe"]["image_size"])
    chosen = first_of_each_class(dataset.images("test").labels, rows)
    annotations, images = dataset.annotations("test"), dataset.images("test")
    truth = np.split(scaled_boxes(annotations, side), annotations.offsets[1:-1])
    figure = Figure(figsize=(1.7 * (len(records) + 1), 1.8 * len(chosen) + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(chosen), len(records) + 1, squeeze=False)
    maps = {label: _score_maps(record, results, chosen, side) for label, record in records.items()}
    for line, index in zip(grid, chosen, strict=True):
        picture = np.asarray(images.read(index).resize((side, side)))
        _show(line[0], picture, truth[index])
        line[0].set_ylabel(dataset.class_names[int(images.labels[index])].replace(" on ", "\non "), fontsize=7)
        for axes, (label, record) in zip(line[1:], records.items(), strict=True):
            score_map = maps[label][index]
            t = record.thresholds["gt_known_fullsup"]
            level = levels(int(score_map.max()))[int(np.searchsorted(THRESHOLDS, t))]
            boxes = boxes_at(score_map, int(level))
            _show(axes, picture, truth[index], score_map, boxes)
            axes.set_xlabel(f"IoU {iou(boxes, truth[index]).max():.2f}", fontsize=7, labelpad=1)
    for axes, label in zip(grid[0], ("image", *records), strict=True):
        axes.set_title(label, fontsize=9)
    figure.suptitle("white: true box, red: boxes at the threshold frozen on train-fullsup", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def first_of_each_class(labels: npt.NDArray[np.int64], count: int) -> list[int]:
    """Return the index of the first image of each of the first ``count`` classes.

    >>> first_of_each_class(np.array([1, 0, 1, 2]), 2)
    [1, 0]
    """
    _, first = np.unique(labels, return_index=True)
    return [int(index) for index in first[:count]]


def _score_maps(record: Record, results: Path, chosen: list[int], side: int) -> dict[int, npt.NDArray[np.uint8]]:
    """Return the score maps of some test images from a run's kept raw maps."""
    path = results / "runs" / record.run_id / "test.npz"
    if not path.is_file():
        raise UserError(f"the raw maps of run {record.run_id} are not in '{path}'; run it again with --no-resume")
    with np.load(path) as kept:
        raw = kept["maps"][chosen]
    return dict(zip(chosen, prepare(raw, (side, side)).maps, strict=True))


def _show(
    axes: Any,  # noqa: ANN401
    picture: npt.NDArray[np.uint8],
    truth: Boxes,
    score_map: npt.NDArray[np.uint8] | None = None,
    boxes: Boxes | None = None,
) -> None:
    """Draw one cell."""
    axes.imshow(picture)
    if score_map is not None:
        axes.imshow(score_map, cmap="turbo", alpha=0.5, vmin=0, vmax=255)
    for each, colour in ((boxes, PREDICTED), (truth, TRUE)):
        for x0, y0, x1, y1 in () if each is None else each:
            xs, ys = [x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0]
            axes.plot(xs, ys, color="black", linewidth=2.2)
            axes.plot(xs, ys, color=colour, linewidth=1.2)
    height, width = picture.shape[:2]
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
