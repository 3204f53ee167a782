"""The protocol's numbers for one split, oracle and with thresholds frozen on train-fullsup (PROTOCOL: metrics).

A localisation key without a suffix is the oracle: its threshold maximises it on the very split being scored. With
``_fullsup`` the threshold was chosen on train-fullsup. Keys: ``<metric>[_iouNN][_fullsup]``.

Every number is read off whole numbers that add up over images: :class:`BoxCounts` for boxes,
:class:`~wsolbench.protocols.pixels.PixelCounts` for masks. :func:`score` counts a whole split and reads; a split that
comes in batches, or in shards on several processes, is counted in parts, added, and read the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from wsolbench.protocols.box_metrics import CRITERIA, THRESHOLDS, BoxHits, best_threshold, box_accuracy_counts
from wsolbench.protocols.boxes import level_hits_both
from wsolbench.protocols.pixels import PixelCounts, PixelHits, average_precision

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

Hits = BoxHits | PixelHits
"""What is kept of a split's maps, image by image: of boxes, or of masks."""

TOP = (1, 5)
"""k of Top-k classification and localisation."""

_CLASSIC = 200  # index of t = 0.2, the rule of papers before MaxBoxAcc


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitScores:
    """What the images of one split contribute to the metrics.

    Attributes:
        hits: N images, at some IoU criteria (the protocol's are 0.3, 0.5 and 0.7); or, of a split with masks, pixels.
        ranks: int64 (N,), the label's rank among the logits (0 = top); None where nothing was classified.
        num_classes: K; given when ``ranks`` is.
    """

    hits: Hits
    ranks: Ints | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the parts do not fit."""
        if len(self.hits) == 0:
            raise ValueError("the split has no images; expected at least one")
        if isinstance(self.hits, BoxHits):
            _check_criteria(self.hits.criteria)
        if self.ranks is not None:
            if self.ranks.shape != (len(self.hits),):
                raise ValueError(f"ranks have shape {self.ranks.shape}; expected ({len(self.hits)},), one an image")
            if self.num_classes is None:
                raise ValueError("ranks came without the number of classes; expected both or neither")

    def select(self, images: Bools | npt.NDArray[np.integer]) -> "SplitScores":
        """Return the scores of some images (a slice of the split), given as a mask (N,) or as indices."""
        ranks = None if self.ranks is None else self.ranks[images]
        return SplitScores(hits=self.hits.select(images), ranks=ranks, num_classes=self.num_classes)

    @property
    def boxes(self) -> BoxHits:
        """The hits of boxes; ValueError where the split has masks."""
        if isinstance(self.hits, PixelHits):
            raise ValueError("these are scores of masks; expected those of boxes")
        return self.hits


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The metrics of one split.

    Attributes:
        metrics: key to value in percent.
        thresholds: localisation key to the operating threshold it used; ``max_box_acc_v2`` has three, which stand
            at its ``_iouNN`` keys.
        absent: key to the reason why it could not be computed.
        images: number of images scored.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    images: int


# --- counting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxCounts:
    """Images counted for the box metrics; counts of two parts of a split add up with ``+``.

    Counted in G groups: all images; and, where labels were classified, those whose label is in the top 1, and top 5.

    Attributes:
        images: int64 (G,), the images of each group; G is 1 or 3.
        found: int64 (R, G, D, 1000), those of them with a box that meets the criterion, at every threshold: by all
            contours, and (R = 2) by the largest contour alone.
        criteria: the D IoU criteria.
        num_classes: K; None where nothing was classified.
    """

    images: Ints
    found: Ints
    criteria: tuple[float, ...] = CRITERIA
    num_classes: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not fit."""
        _check_criteria(self.criteria)
        groups = 1 if self.num_classes is None else 1 + len(TOP)
        shapes = [(rules, groups, len(self.criteria), len(THRESHOLDS)) for rules in (1, 2)]
        if self.images.shape != (groups,) or self.found.shape not in shapes:
            raise ValueError(
                f"counts have shapes {self.images.shape} and {self.found.shape}; expected ({groups},) and {shapes[1]}, "
                "or 1 in front without the largest contour"
            )

    @classmethod
    def none(cls, criteria: Sequence[float] = CRITERIA, num_classes: int | None = None) -> Self:
        """Return the counts, by both rules, of no image."""
        groups = 1 if num_classes is None else 1 + len(TOP)
        return cls(
            images=np.zeros(groups, dtype=np.int64),
            found=np.zeros((2, groups, len(criteria), len(THRESHOLDS)), dtype=np.int64),
            criteria=tuple(criteria),
            num_classes=num_classes,
        )

    def __add__(self, other: "BoxCounts") -> "BoxCounts":
        """Add the counts of other images; ValueError where the two count different things."""
        kinds = [(counts.criteria, counts.num_classes, counts.found.shape) for counts in (self, other)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"counts of different kinds cannot be added: {kinds[0]} and {kinds[1]}")
        return self.with_counters(self.counters() + other.counters())

    def counters(self) -> Ints:
        """Return all counters in one row, int64 (L,), for a sum over processes."""
        return np.concatenate([self.images, self.found.ravel()])

    def with_counters(self, counters: Ints) -> "BoxCounts":
        """Return counts of the same kind from such a row, int64 (L,)."""
        groups = len(self.images)
        return replace(self, images=counters[:groups], found=counters[groups:].reshape(self.found.shape))

    def curve(self, criterion: float, *, top: int | None = None, largest: bool = False) -> Ints:
        """Return N * BoxAcc(t, d) for one criterion d, int64 (1000,): of all images, or those with a top-k label."""
        group = 0 if top is None else 1 + TOP.index(top)
        counts: Ints = self.found[int(largest), group, self.criteria.index(criterion)]
        return counts


def box_hits(
    score_maps: Bytes,
    boxes: npt.NDArray[np.integer],
    offsets: npt.NDArray[np.integer],
    criteria: Sequence[float] = CRITERIA,
    threads: int = 1,
) -> BoxHits:
    """Compare the boxes of score maps with the ground truth, at every level and by both rules.

    Args:
        score_maps: uint8 (N, H, W), as :func:`~wsolbench.protocols.scoremap.prepare` gives them.
        boxes: int (M, 4), the ground truth at the maps' size.
        offsets: int (N + 1,); image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.
        criteria: D IoU criteria, fractions.
        threads: number of threads that share the work.

    Returns:
        The hits of all contours and of the largest.

    Raises:
        ValueError: the input is malformed.
    """
    every, largest = level_hits_both(score_maps, boxes, offsets, criteria, threads)
    return BoxHits.from_levels(every, score_maps.max(axis=(1, 2)), criteria, largest=largest)


def box_counts(scores: SplitScores) -> BoxCounts:
    """Count the images of a split, or of a part of it.

    Args:
        scores: N images.

    Returns:
        The counts; without the largest contour where the hits lack it.

    Raises:
        ValueError: the scores are of masks.
    """
    hits = scores.boxes
    classified = [] if scores.ranks is None else [scores.ranks < k for k in TOP]
    groups = [np.ones(len(hits), dtype=bool), *classified]
    rules = [False] if hits.largest is None else [False, True]
    found = [[box_accuracy_counts(hits, among, largest) for among in groups] for largest in rules]
    return BoxCounts(
        images=np.array([among.sum() for among in groups], dtype=np.int64),
        found=np.array(found),
        criteria=hits.criteria,
        num_classes=scores.num_classes if classified else None,
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def score(test: SplitScores, fullsup: SplitScores | None) -> Scores:
    """Compute every metric of the protocol that the input allows.

    Ties go to the smallest threshold. ``gt_known`` equals ``max_box_acc_v2_iou50``. The threshold of
    ``top1_loc_fullsup`` and ``top5_loc_fullsup`` is the one that maximised ``gt_known`` on train-fullsup.

    Args:
        test: the split to score; one with masks has no threshold to freeze.
        fullsup: train-fullsup, scored by the same run; None leaves the ``_fullsup`` keys absent.

    Returns:
        The metrics; what cannot be computed is in ``absent``, never 0.

    Raises:
        ValueError: the two splits have different IoU criteria, no pixel belongs to an object, or only ``test`` has
            boxes.
    """
    if isinstance(test.hits, PixelHits):
        return score_pixels(test.hits.counts, len(test.hits), test.ranks, test.num_classes)
    return score_counts(box_counts(test), None if fullsup is None else box_counts(fullsup))


def score_counts(test: BoxCounts, fullsup: BoxCounts | None) -> Scores:
    """Do :func:`score` from counts.

    Args:
        test: of the split to score, all its images.
        fullsup: of train-fullsup.

    Returns:
        The metrics.

    Raises:
        ValueError: no image was counted, or the two splits have different IoU criteria.
    """
    if test.images[0] < 1 or (fullsup is not None and fullsup.images[0] < 1):
        raise ValueError("no image was counted; expected at least one")
    if fullsup is not None and fullsup.criteria != test.criteria:
        raise ValueError(f"the splits have the IoU criteria {test.criteria} and {fullsup.criteria}; expected the same")
    out = Scores(images=int(test.images[0]))
    for metric in localisation(test.criteria):
        _localize(out, metric, test, fullsup)
    for suffix in ("", "_fullsup"):
        _mean(out, suffix)
    _classify(out, None if test.num_classes is None else test.images[1:], test.num_classes)
    out.absent["pxap"] = "the split has boxes, no masks"
    return out


def score_pixels(counts: PixelCounts, images: int, ranks: Ints | None = None, num_classes: int | None = None) -> Scores:
    """Compute the metrics of a split with masks: PxAP and, where labels were classified, Top-k Cls.

    Args:
        counts: of all its pixels.
        images: N, the number of its images.
        ranks: int64 (N,), as in :class:`SplitScores`.
        num_classes: K; given when ``ranks`` is.

    Returns:
        The metrics; those of boxes are absent.

    Raises:
        ValueError: no pixel of the split belongs to an object.
    """
    out = Scores(images=images)
    out.metrics["pxap"] = 100 * average_precision(counts)
    correct = None if ranks is None else np.array([(ranks < k).sum() for k in TOP])
    _classify(out, correct, num_classes)
    keys = [key for metric in localisation(CRITERIA) for key in metric.names()]
    keys += ["max_box_acc_v2", "max_box_acc_v2_fullsup"]
    out.absent.update(dict.fromkeys(keys, "the split has masks, no boxes"))
    return out


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """A metric that is one curve read at one threshold.

    Attributes:
        key: its name; the oracle's, unless ``at`` fixes the threshold.
        criterion: the IoU that a box must reach.
        top: the label must be among this many; None: classes do not matter.
        largest: only the largest contour's box counts.
        at: index of a threshold that is neither searched nor frozen.
    """

    key: str
    criterion: float = 0.5
    top: int | None = None
    largest: bool = False
    at: int | None = None

    def names(self) -> tuple[str, ...]:
        """Return the metric's keys."""
        return (self.key,) if self.at is not None else (self.key, f"{self.key}_fullsup")

    def lacks(self, counts: BoxCounts) -> str | None:
        """Return why these counts cannot give it; None: they can."""
        if self.top is not None and counts.num_classes is None:
            return "no logits: only score maps were given"
        if self.top is not None and counts.num_classes is not None and counts.num_classes < self.top:
            return f"top {self.top} of {counts.num_classes} classes says nothing"
        if self.criterion not in counts.criteria:
            return f"the IoU criterion {self.criterion} was not asked for"
        return "the largest contour was not extracted" if self.largest and len(counts.found) < 2 else None


def localisation(criteria: Sequence[float]) -> list[Localisation]:
    """Return the localisation metrics, in the order in which they are shown."""
    per_criterion = [Localisation(key=f"max_box_acc_v2_iou{_percent(d)}", criterion=d) for d in criteria]
    return [
        *per_criterion,
        Localisation(key="max_box_acc", largest=True),
        Localisation(key="gt_known"),
        Localisation(key="gt_known_at_0.2", largest=True, at=_CLASSIC),
        *(Localisation(key=f"top{k}_loc", top=k) for k in TOP),
        Localisation(key="top1_loc_at_0.2", top=1, largest=True, at=_CLASSIC),
    ]


_NO_FULLSUP = "no score maps of train-fullsup to choose the threshold on"


def _localize(out: Scores, metric: Localisation, test: BoxCounts, fullsup: BoxCounts | None) -> None:
    """Add a localisation metric: oracle and at the frozen threshold, or at its fixed one; else why not."""
    reason = metric.lacks(test)
    if reason is not None:
        out.absent.update(dict.fromkeys(metric.names(), reason))
        return
    curve = test.curve(metric.criterion, top=metric.top, largest=metric.largest)
    if metric.at is not None:
        _read(out, metric.key, curve, metric.at)
        return
    _read(out, metric.key, curve, best_threshold(curve))
    # The threshold is that of the boxes alone, whatever the class.
    boxes = Localisation(key=metric.key, criterion=metric.criterion, largest=metric.largest)
    reason = _NO_FULLSUP if fullsup is None else boxes.lacks(fullsup)
    if fullsup is None or reason is not None:
        out.absent[f"{metric.key}_fullsup"] = reason or _NO_FULLSUP
    else:
        chosen = best_threshold(fullsup.curve(metric.criterion, largest=metric.largest))
        _read(out, f"{metric.key}_fullsup", curve, chosen)


def _read(out: Scores, key: str, curve: Ints, t: int) -> None:
    out.metrics[key] = 100 * int(curve[t]) / out.images
    out.thresholds[key] = float(THRESHOLDS[t])


def _mean(out: Scores, suffix: str) -> None:
    """Add MaxBoxAccV2, the mean over the protocol's criteria, whatever else was asked for; or why it is absent."""
    keys = [f"max_box_acc_v2_iou{_percent(d)}{suffix}" for d in CRITERIA]
    if all(key in out.metrics for key in keys):
        out.metrics[f"max_box_acc_v2{suffix}"] = sum(out.metrics[key] for key in keys) / len(keys)
    else:
        reasons = [out.absent[key] for key in keys if key in out.absent]
        out.absent[f"max_box_acc_v2{suffix}"] = (reasons or ["not all of the IoU criteria 0.3, 0.5, 0.7 are there"])[0]


def _classify(out: Scores, correct: Ints | None, num_classes: int | None) -> None:
    """Add Top-k classification from the number of images with a top-k label, or the reason why it is absent."""
    for position, k in enumerate(TOP):
        if correct is None or num_classes is None:
            out.absent[f"top{k}_cls"] = "no logits: only score maps were given"
        elif num_classes < k:
            out.absent[f"top{k}_cls"] = f"top {k} of {num_classes} classes says nothing"
        else:
            out.metrics[f"top{k}_cls"] = 100 * int(correct[position]) / out.images


def _percent(criterion: float) -> int:
    return round(100 * criterion)


def _check_criteria(criteria: Sequence[float]) -> None:
    """Raise ValueError unless every criterion has a key of its own."""
    whole = all(0 < d <= 1 and abs(100 * d - _percent(d)) < 1e-9 for d in criteria)
    if not criteria or not whole or len({_percent(d) for d in criteria}) < len(criteria):
        raise ValueError(f"IoU criteria are {criteria}; expected different whole percents above 0, such as {CRITERIA}")
