"""The protocol: score maps, boxes, metrics. numpy, numba and scipy only; arrays in, numbers out.

A name is looked up where it is defined when it is first asked for: a table of records needs the statistics, not the
compiler of the box kernels.
"""

if __name__ != "wsolbench.protocols":  # a second import under a bare name would duplicate every class
    raise ImportError("import 'wsolbench.protocols', not the bare folder 'protocols'")

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsolbench.protocols.accumulators import BoxAccumulator, PixelAccumulator
    from wsolbench.protocols.box_metrics import (
        CRITERIA,
        THRESHOLDS,
        BoxHits,
        best_threshold,
        box_accuracy_counts,
        concatenate,
        levels,
    )
    from wsolbench.protocols.boxes import (
        boxes_at,
        iou,
        level_hits,
        level_hits_batch,
        level_hits_both,
        level_ious,
        scale_boxes,
    )
    from wsolbench.protocols.classification import label_ranks, listed_ranks
    from wsolbench.protocols.cover import between, box_cover
    from wsolbench.protocols.metrics import (
        TOP,
        BoxCounts,
        Hits,
        Scores,
        SplitScores,
        box_counts,
        box_hits,
        score,
        score_counts,
        score_pixels,
    )
    from wsolbench.protocols.normalization import (
        AS_GIVEN,
        MIN_MAX,
        NORMALIZATIONS,
        PERCENTILES,
        Normalization,
        UnitMaps,
        best_percentile,
        ivr,
        max_only,
        pas,
        prepare_normalized,
        unit_maps,
        unit_maps_by_percentile,
    )
    from wsolbench.protocols.null_rows import ceiling_map, center_map, full_image_map, mask_ceiling_map
    from wsolbench.protocols.pixels import (
        PixelCounts,
        PixelHits,
        average_precision,
        pixel_counts,
        pixel_hits,
        resize_nearest,
    )
    from wsolbench.protocols.resampling import (
        RESAMPLED,
        Replicates,
        Resampling,
        replicate,
        resample_images,
    )
    from wsolbench.protocols.scoremap import ScoreMaps, bicubic_taps, min_max, prepare, quantize, resize_bicubic
    from wsolbench.protocols.statistics import (
        SEEDS_FOR_A_CLAIM,
        Difference,
        basic_interval,
        compare_checkpoints,
        compare_methods,
        holm,
        rank_intervals,
        smallest_difference,
    )
    from wsolbench.protocols.version import NORMALIZATION, PROTOCOL_VERSION

__all__ = [
    "AS_GIVEN",
    "CRITERIA",
    "MIN_MAX",
    "NORMALIZATION",
    "NORMALIZATIONS",
    "PERCENTILES",
    "PROTOCOL_VERSION",
    "RESAMPLED",
    "SEEDS_FOR_A_CLAIM",
    "THRESHOLDS",
    "TOP",
    "BoxAccumulator",
    "BoxCounts",
    "BoxHits",
    "Difference",
    "Hits",
    "Normalization",
    "PixelAccumulator",
    "PixelCounts",
    "PixelHits",
    "Replicates",
    "Resampling",
    "ScoreMaps",
    "Scores",
    "SplitScores",
    "UnitMaps",
    "average_precision",
    "basic_interval",
    "best_percentile",
    "best_threshold",
    "between",
    "bicubic_taps",
    "box_accuracy_counts",
    "box_counts",
    "box_cover",
    "box_hits",
    "boxes_at",
    "ceiling_map",
    "center_map",
    "compare_checkpoints",
    "compare_methods",
    "concatenate",
    "full_image_map",
    "holm",
    "iou",
    "ivr",
    "label_ranks",
    "level_hits",
    "level_hits_batch",
    "level_hits_both",
    "level_ious",
    "levels",
    "listed_ranks",
    "mask_ceiling_map",
    "max_only",
    "min_max",
    "pas",
    "pixel_counts",
    "pixel_hits",
    "prepare",
    "prepare_normalized",
    "quantize",
    "rank_intervals",
    "replicate",
    "resample_images",
    "resize_bicubic",
    "resize_nearest",
    "scale_boxes",
    "score",
    "score_counts",
    "score_pixels",
    "smallest_difference",
    "unit_maps",
    "unit_maps_by_percentile",
]

_HOMES = {
    "accumulators": ("BoxAccumulator", "PixelAccumulator"),
    "box_metrics": (
        "CRITERIA",
        "THRESHOLDS",
        "BoxHits",
        "best_threshold",
        "box_accuracy_counts",
        "concatenate",
        "levels",
    ),
    "boxes": ("boxes_at", "iou", "level_hits", "level_hits_batch", "level_hits_both", "level_ious", "scale_boxes"),
    "classification": ("label_ranks", "listed_ranks"),
    "cover": ("between", "box_cover"),
    "metrics": (
        "TOP",
        "BoxCounts",
        "Hits",
        "Scores",
        "SplitScores",
        "box_counts",
        "box_hits",
        "score",
        "score_counts",
        "score_pixels",
    ),
    "normalization": (
        "AS_GIVEN",
        "MIN_MAX",
        "NORMALIZATIONS",
        "PERCENTILES",
        "Normalization",
        "UnitMaps",
        "best_percentile",
        "ivr",
        "max_only",
        "pas",
        "prepare_normalized",
        "unit_maps",
        "unit_maps_by_percentile",
    ),
    "null_rows": ("ceiling_map", "center_map", "full_image_map", "mask_ceiling_map"),
    "pixels": ("PixelCounts", "PixelHits", "average_precision", "pixel_counts", "pixel_hits", "resize_nearest"),
    "resampling": ("RESAMPLED", "Replicates", "Resampling", "replicate", "resample_images"),
    "scoremap": ("ScoreMaps", "bicubic_taps", "min_max", "prepare", "quantize", "resize_bicubic"),
    "statistics": (
        "SEEDS_FOR_A_CLAIM",
        "Difference",
        "basic_interval",
        "compare_checkpoints",
        "compare_methods",
        "holm",
        "rank_intervals",
        "smallest_difference",
    ),
    "version": ("NORMALIZATION", "PROTOCOL_VERSION"),
}
"""Module -> what it gives: the imports above, for the interpreter (a test holds them against each other)."""

_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what is asked for, and keep it."""
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found
