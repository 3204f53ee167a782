"""The protocol's numbers for one split, oracle and with thresholds frozen on train-fullsup (PROTOCOL: metrics).

A localisation key without a suffix is the oracle: its threshold maximises it on the very split being scored. With
``_fullsup`` the threshold was chosen on train-fullsup. Keys: ``<metric>[_iouNN][_fullsup]``.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wsolbench.protocols.box_metrics import CRITERIA, THRESHOLDS, BoxHits, best_threshold, box_accuracy_counts

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_HALF = CRITERIA.index(0.5)  # GT-known and Top-k Loc
_TOP = (1, 5)


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitScores:
    """What the images of one split contribute to the metrics.

    Attributes:
        hits: N images at the protocol's three IoU criteria.
        ranks: int64 (N,), the label's rank among the logits (0 = top); None where nothing was classified.
        num_classes: K; given when ``ranks`` is.
    """

    hits: BoxHits
    ranks: Ints | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the parts do not fit."""
        if len(self.hits) == 0:
            raise ValueError("the split has no images; expected at least one")
        if self.hits.criteria != CRITERIA:
            raise ValueError(f"hits are for the IoU criteria {self.hits.criteria}; expected {CRITERIA}")
        if self.ranks is not None:
            if self.ranks.shape != (len(self.hits),):
                raise ValueError(f"ranks have shape {self.ranks.shape}; expected ({len(self.hits)},), one an image")
            if self.num_classes is None:
                raise ValueError("ranks came without the number of classes; expected both or neither")

    def select(self, images: Bools | npt.NDArray[np.integer]) -> "SplitScores":
        """Return the scores of some images (a slice of the split), given as a mask (N,) or as indices."""
        ranks = None if self.ranks is None else self.ranks[images]
        return SplitScores(hits=self.hits.select(images), ranks=ranks, num_classes=self.num_classes)


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


def score(test: SplitScores, fullsup: SplitScores | None) -> Scores:
    """Compute every metric of the protocol that the input allows.

    Ties go to the smallest threshold. ``gt_known`` equals ``max_box_acc_v2_iou50``. The threshold of
    ``top1_loc_fullsup`` and ``top5_loc_fullsup`` is the one that maximised ``gt_known`` on train-fullsup.

    Args:
        test: the split to score.
        fullsup: train-fullsup, scored by the same run; None leaves the ``_fullsup`` keys absent.

    Returns:
        The metrics; what cannot be computed is in ``absent``, never 0.
    """
    out = Scores(images=len(test.hits))
    curves = box_accuracy_counts(test.hits)
    frozen: list[int | None] = [None] * len(CRITERIA)
    if fullsup is not None:
        frozen = [best_threshold(curve) for curve in box_accuracy_counts(fullsup.hits)]
    _localize(out, "gt_known", curves[_HALF], frozen[_HALF])
    keys = [f"max_box_acc_v2_iou{round(100 * d)}" for d in CRITERIA]
    for key, curve, t in zip(keys, curves, frozen, strict=True):
        _localize(out, key, curve, t)
    out.metrics["max_box_acc_v2"] = sum(out.metrics[key] for key in keys) / len(keys)
    if fullsup is None:
        out.absent["max_box_acc_v2_fullsup"] = _NO_FULLSUP
    else:
        out.metrics["max_box_acc_v2_fullsup"] = sum(out.metrics[key + "_fullsup"] for key in keys) / len(keys)
    for k in _TOP:
        _top(out, test, k, frozen[_HALF])
    return out


_NO_FULLSUP = "no score maps of train-fullsup to choose the threshold on"


def _localize(out: Scores, key: str, curve: Ints, frozen: int | None) -> None:
    """Add a localisation metric from its curve of counts: oracle, and at the frozen threshold."""
    for name, t in ((key, best_threshold(curve)), (key + "_fullsup", frozen)):
        if t is None:
            out.absent[name] = _NO_FULLSUP
        else:
            out.metrics[name] = 100 * int(curve[t]) / out.images
            out.thresholds[name] = float(THRESHOLDS[t])


def _top(out: Scores, test: SplitScores, k: int, frozen: int | None) -> None:
    """Add Top-k classification and localisation, or the reason why they are absent."""
    keys = (f"top{k}_cls", f"top{k}_loc", f"top{k}_loc_fullsup")
    if test.ranks is None or test.num_classes is None:
        out.absent.update(dict.fromkeys(keys, "no logits: only score maps were given"))
        return
    if test.num_classes < k:
        out.absent.update(dict.fromkeys(keys, f"top {k} of {test.num_classes} classes says nothing"))
        return
    correct = test.ranks < k
    out.metrics[f"top{k}_cls"] = 100 * int(correct.sum()) / out.images
    _localize(out, f"top{k}_loc", box_accuracy_counts(test.hits, correct)[_HALF], frozen)


def box_cover(boxes: Ints, offsets: Ints, size: tuple[int, int]) -> Floats:
    """Return the share of each image that its largest box covers, for slices by box size.

    Args:
        boxes: int64 (M, 4), at the evaluation size, inclusive pixels; what lies outside the image does not count.
        offsets: int64 (N + 1,); image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.
        size: the evaluation size (H, W).

    Returns:
        float64 (N,) in [0, 1].

    Raises:
        ValueError: an image has no box.

    >>> box_cover(np.array([[0, 0, 4, 9], [0, 0, 0, 0], [5, 0, 14, 9]]), np.array([0, 2, 3]), (10, 10)).tolist()
    [0.5, 0.5]
    """
    boxless = np.flatnonzero(np.diff(offsets) < 1)
    if boxless.size:
        raise ValueError(f"image {boxless[0]} has no ground-truth box; expected at least one for each image")
    height, width = size
    sides = np.minimum(boxes[:, 2:], [width - 1, height - 1]) - np.maximum(boxes[:, :2], 0) + 1
    areas = np.maximum(sides, 0).prod(axis=1)
    return np.maximum.reduceat(areas, offsets[:-1]) / (height * width)


def between(cover: Floats, low: float, high: float) -> Bools:
    """Return which images' largest box covers ``low`` to ``high`` of the image, both included: bool (N,)."""
    return (cover >= low) & (cover <= high)
