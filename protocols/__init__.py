"""The protocol: score maps, boxes, metrics. numpy, numba and scipy only; arrays in, numbers out."""

if __name__ != "wsolbench.protocols":  # a second import under a bare name would duplicate every class
    raise ImportError("import 'wsolbench.protocols', not the bare folder 'protocols'")

from wsolbench.protocols.box_metrics import (
    CRITERIA,
    THRESHOLDS,
    BoxHits,
    best_threshold,
    box_accuracy_counts,
    concatenate,
    levels,
)
from wsolbench.protocols.boxes import boxes_at, iou, level_hits, level_hits_batch, level_ious, scale_boxes
from wsolbench.protocols.classification import label_ranks
from wsolbench.protocols.metrics import Scores, SplitScores, between, box_cover, score
from wsolbench.protocols.null_rows import ceiling_map, center_map, full_image_map
from wsolbench.protocols.scoremap import ScoreMaps, bicubic_taps, min_max, prepare, quantize, resize_bicubic
from wsolbench.protocols.version import PROTOCOL_VERSION

__all__ = [
    "CRITERIA",
    "PROTOCOL_VERSION",
    "THRESHOLDS",
    "BoxHits",
    "ScoreMaps",
    "Scores",
    "SplitScores",
    "best_threshold",
    "between",
    "bicubic_taps",
    "box_accuracy_counts",
    "box_cover",
    "boxes_at",
    "ceiling_map",
    "center_map",
    "concatenate",
    "full_image_map",
    "iou",
    "label_ranks",
    "level_hits",
    "level_hits_batch",
    "level_ious",
    "levels",
    "min_max",
    "prepare",
    "quantize",
    "resize_bicubic",
    "scale_boxes",
    "score",
]
