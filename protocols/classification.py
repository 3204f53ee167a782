"""Where an image's label stands among its logits, or in a list of predicted labels, for Top-k."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def label_ranks(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return each label's rank among the logits, 0 for the top; of equal logits the lower class comes first.

    Args:
        logits: float (N, K).
        labels: int (N,), 0 to K - 1.

    Returns:
        int64 (N,); the label is in the top k where the rank is < k.

    Raises:
        ValueError: the shapes do not fit, a label is out of range, or a logit is NaN; the image is named.

    >>> label_ranks(np.array([[0.1, 0.9, 0.5], [2.0, 2.0, 2.0]]), np.array([2, 1])).tolist()
    [1, 1]
    """
    if logits.ndim != 2 or labels.shape != (len(logits),):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not fit; expected (N, K) and (N,)")
    classes = logits.shape[1]
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        i = outside[0]
        raise ValueError(f"label {labels[i]} of image {i} is out of range; expected 0 to {classes - 1}")
    unknown = np.flatnonzero(np.isnan(logits).any(axis=1))
    if unknown.size:
        raise ValueError(f"logits of image {unknown[0]} contain NaN; expected numbers")
    own = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)
    before = np.arange(classes) < labels[:, None]
    ranks: npt.NDArray[np.int64] = ((logits > own) | ((logits == own) & before)).sum(axis=1, dtype=np.int64)
    return ranks


def listed_ranks(listed: Sequence[Sequence[int]], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return each label's place in its image's list of predicted labels, 0 for the first.

    Args:
        listed: for each of N images its predicted labels, best first, at least one. Only the first L of each count, L
            the length of the shortest list.
        labels: int (N,).

    Returns:
        int64 (N,), L where the label is not among the L; so the ranks decide Top-k for k <= L.

    Raises:
        ValueError: the lengths do not fit, or a list is empty or names a label twice; the image is named.

    >>> listed_ranks([[3, 1], [2, 0, 5]], np.array([1, 5])).tolist()
    [1, 2]
    """
    if labels.shape != (len(listed),):
        raise ValueError(f"{len(listed)} lists of labels and labels {labels.shape} do not fit; expected as many")
    wrong = [i for i, names in enumerate(listed) if not names or len(set(names)) < len(names)]
    if wrong:
        raise ValueError(f"image {wrong[0]} has the list {list(listed[wrong[0]])}; expected different labels")
    shortest = min(map(len, listed), default=0)
    pairs = [(list(names[:shortest]), int(label)) for names, label in zip(listed, labels, strict=True)]
    return np.array([names.index(label) if label in names else shortest for names, label in pairs], dtype=np.int64)
