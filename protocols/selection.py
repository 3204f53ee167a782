"""Choosing hyperparameters on train-fullsup: which configurations are tried, which one wins, and how sure that is.

Configuration i is a pure function of (search-space version, dataset, backbone, method, i, hyperparameter name): each
hyperparameter has its own hash, so stopping, resuming and adding workers never changes or repeats a configuration, and
a new hyperparameter moves no other (PROTOCOL: tuning on train-fullsup; after DomainBed's draws by hashing).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from wsolbench.protocols.metrics import Hits, SplitScores
from wsolbench.protocols.resampling import replicate, resample_images
from wsolbench.protocols.statistics import basic_interval

Floats = npt.NDArray[np.float64]

SEARCH_VERSION = 1
"""Version of the search space; raised when a published range changes, which draws every configuration anew."""

WORST = 0.0
"""What a trial that failed or diverged scores, in percent."""


def unit_number(dataset: str, backbone: str, method: str, index: int, name: str) -> float:
    """Return the number in [0, 1) that decides one hyperparameter of one configuration.

    It is the first 53 bits of the SHA-256 of the version and the arguments, one a line.

    Args:
        dataset: its name.
        backbone: its name.
        method: its name.
        index: i of the configuration, from 0.
        name: of the hyperparameter.

    >>> unit_number("cub", "resnet50", "has", 0, "lr")
    0.8568424949617863
    """
    text = "\n".join(map(str, (SEARCH_VERSION, dataset, backbone, method, index, name)))
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


def choose(scores: Sequence[float | None]) -> int:
    """Return the index of the highest score; of equal ones the first.

    Args:
        scores: percent; None for a trial that failed.

    Raises:
        ValueError: every trial failed, or there is none.

    >>> choose([None, 41.5, 40.0, 41.5])
    1
    """
    valid = [(-score, index) for index, score in enumerate(scores) if score is not None]
    if not valid:
        raise ValueError(f"none of {len(scores)} trials has a score; expected at least one that did not fail")
    return min(valid)[1]


def expected_best(scores: npt.ArrayLike) -> Floats:
    """Return the expected best of k trials drawn without replacement, for k = 1 to n.

    The j-th smallest of n scores is the best of k with probability C(j - 1, k - 1) / C(n, k). The mean so weighted is
    the unbiased estimate of what a search of k trials reaches (Tang et al., ACL 2020; the estimate of Dodge et al.,
    EMNLP 2019, draws with replacement and is too low).

    Args:
        scores: float (..., n), percent; failed trials as :data:`WORST`.

    Returns:
        float64 (..., n), place k - 1 for k trials.

    >>> expected_best([30.0, 10.0, 20.0])
    array([20.        , 26.66666667, 30.        ])
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=-1)
    n = ordered.shape[-1]
    weights = np.array([[comb(j, k - 1) / comb(n, k) for k in range(1, n + 1)] for j in range(n)])
    best: Floats = ordered @ weights
    return best


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Which trial is chosen, and how sure that is.

    Attributes:
        chosen: its index.
        best_of: float64 (n, 3), for k = 1 to n the expected best of k trials and its 95 % interval, percent.
        wins: float64 (n,), the share of resamples of the images in which each trial is the best.
    """

    chosen: int
    best_of: Floats
    wins: Floats


def select(hits: Sequence[Hits | None], metric: str, *, resamples: int, seed: int) -> Selection:
    """Choose among trials that scored the same images, and say how sure the choice is.

    Images are resampled jointly for all trials, and the best threshold is searched again in every resample. How often
    each trial wins is counted there. The intervals of the best-of-k curve also draw the n trials anew, with
    replacement, in every resample: they cover other images and other configurations. They are basic bootstrap
    intervals, and need not contain the value where the bootstrap is biased. As no trial better than the best can be
    drawn, those of k near n are rough.

    Args:
        hits: of each trial on the images of the choice, N each; None for a trial that failed.
        metric: a key of :data:`~wsolbench.protocols.resampling.RESAMPLED` that needs hits alone.
        resamples: how many.
        seed: of the resamples; equal arguments give equal numbers.

    Raises:
        ValueError: every trial failed, or their numbers of images differ.
    """
    images = {len(each) for each in hits if each is not None}
    if len(images) > 1:
        raise ValueError(f"the trials scored {sorted(images)} images; expected the same images for all")
    scores, resampled = np.full(len(hits), WORST), np.full((resamples, len(hits)), WORST)
    resampling = resample_images(images.pop(), None, resamples=resamples, seed=seed) if images else None
    for index, found in enumerate(hits):
        if found is not None:
            assert resampling is not None
            replicates = replicate(metric, SplitScores(hits=found), None, resampling)
            scores[index], resampled[:, index] = replicates.value, replicates.resampled
    valid = np.array([found is not None for found in hits])
    chosen = choose([score if ok else None for score, ok in zip(scores.tolist(), valid, strict=True)])
    winners = np.where(valid, resampled, -1.0).argmax(axis=1)  # a failed trial wins not even where all others have 0
    wins = np.bincount(winners, minlength=len(hits)) / resamples
    return Selection(chosen=chosen, best_of=_best_of(scores, resampled, seed), wins=wins)


def _best_of(scores: Floats, resampled: Floats, seed: int) -> Floats:
    """Return the best-of-k curve with its intervals, float64 (n, 3), from the scores (n,) and resamples (B, n)."""
    rng = np.random.default_rng([seed, 2])  # streams 0 and 1 draw the images
    drawn = rng.integers(0, len(scores), resampled.shape)
    curves = expected_best(np.take_along_axis(resampled, drawn, axis=1))
    best = expected_best(scores)
    intervals = [basic_interval(float(value), curve) for value, curve in zip(best, curves.T, strict=True)]
    return np.column_stack([best, np.clip(intervals, 0, 100)])
