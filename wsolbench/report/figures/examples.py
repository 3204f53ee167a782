"""Pictures and answers for :mod:`~wsolbench.report.figures.qualitative`, from kept maps and the dataset."""

from collections.abc import Sequence

import numpy as np

from wsolbench.protocols import boxes_at, iou
from wsolbench.record_schema import Record
from wsolbench.report.figures.qualitative import Answer, Picture
from wsolbench.report.figures.sources import Sources, frozen_threshold, operating_level


def pictures(sources: Sources, images: Sequence[int]) -> list[Picture]:
    """Return test images as scoring sees them: squashed to the evaluation size, with their boxes.

    Raises:
        UserError: the dataset is not here, or a picture of it cannot be read.
    """
    test, names = sources.dataset.images("test"), sources.dataset.class_names
    return [
        Picture(
            pixels=np.asarray(test.read(index).resize((sources.side, sources.side))),
            truth=sources.truth[index],
            name=names[int(test.labels[index])],
        )
        for index in images
    ]


def answers(sources: Sources, record: Record, images: Sequence[int]) -> list[Answer]:
    """Return what a run makes of test images: score maps, and all boxes at the threshold frozen for GT-known.

    Raises:
        UserError: the run kept no maps, or has no such threshold.
    """
    t, found = frozen_threshold(record), []
    for index, score_map in zip(images, sources.score_maps(record, images), strict=True):
        boxes = boxes_at(score_map, operating_level(score_map, t))
        found.append(Answer(score_map=score_map, boxes=boxes, ious=iou(boxes, sources.truth[index]).max(axis=1)))
    return found
