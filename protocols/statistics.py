"""What may be claimed from a few seeds and a finite test set (PROTOCOL: statistics).

Two things vary: the seed of the training and the images of the test set. Resampling images alone compares
*checkpoints*, these very weights; two seeds of one method differ "significantly" by it. A claim about *methods* pairs
the seeds (same data order) and carries both variances::

    mean(D) +- t(0.975, S - 1) * sqrt(s_D^2 / S + SE_img^2)

with D_s the difference at seed s, s_D its standard deviation over S seeds, and SE_img the standard error of mean(D)
from resampling images jointly for all runs. The variance that comes of seeds reacting to images differently is in both
terms; the interval is that much too wide rather than too narrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtrinc, ndtri, stdtrit

if TYPE_CHECKING:
    from wsolbench.protocols.resampling import Replicates

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

SEEDS_FOR_A_CLAIM = 5
"""Fewer paired seeds do not tell methods apart, whatever the numbers say."""

LEVEL = 0.05
POWER = 0.8
_NOISE, _RANKS = 3, 4  # streams of a seed; resample_images and the choice among trials have 0 to 2


def basic_interval(value: float, resampled: Floats) -> Interval:
    """Return the 95 % basic bootstrap interval, ``2 * value - quantiles`` (Davison & Hinkley 1997, Section 5.2).

    It turns the resamples' errors around: if they exceed the value, as a maximum over thresholds does, the value
    exceeds the truth as much.

    Args:
        value: on the data themselves.
        resampled: float64 (B,), on resamples.

    >>> basic_interval(10.0, np.array([10.0, 11.0, 12.0]))
    (8.05, 9.95)
    """
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    return float(2 * value - high), float(2 * value - low)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One side minus the other.

    Attributes:
        mean: percentage points; the mean over the seeds.
        interval: 95 %.
        p_value: two-sided, of no difference, in (0, 1].
        seeds: S, the number of paired seeds; 0 for a comparison of two checkpoints.
        seed_sd: s_D, the standard deviation over seeds; 0 for checkpoints.
        image_se: SE_img, from resampling images.
    """

    mean: float
    interval: Interval
    p_value: float
    seeds: int
    seed_sd: float
    image_se: float

    @property
    def standard_error(self) -> float:
        """Of the mean, from seeds and images."""
        return math.hypot(self.seed_sd / math.sqrt(max(self.seeds, 1)), self.image_se)

    def detectable(self, comparisons: int = 1) -> float:
        """Return :func:`smallest_difference` of this one."""
        return smallest_difference(self.seeds, self.standard_error, comparisons)

    def claimed(self, adjusted: float) -> bool:
        """Whether the difference may be claimed: enough seeds, an interval without 0, and Holm's p at most 5 %."""
        clear = self.interval[0] > 0 or self.interval[1] < 0
        return self.seeds >= SEEDS_FOR_A_CLAIM and clear and adjusted <= LEVEL


def smallest_difference(seeds: int, standard_error: float, comparisons: int = 1) -> float:
    """Return the smallest true difference that would have been found with a probability of 80 %.

    Args:
        seeds: S, the number of paired seeds; below 2: of checkpoints.
        standard_error: of the mean difference.
        comparisons: size of the family; found is what passes Holm's strictest step, 5 % divided by it.

    >>> round(smallest_difference(5, 1.0), 2), round(smallest_difference(3, 1.0), 2)
    (3.76, 5.65)
    """
    found = _quantile(1 - LEVEL / 2 / comparisons, seeds)
    # Divided by the standard error a difference follows Student's t, moved by the true one (noncentral t).
    shift = nctdtrinc(seeds - 1, 1 - POWER, found) if seeds > 1 else found + ndtri(POWER)
    return float(shift * standard_error)


def compare_checkpoints(a: "Replicates", b: "Replicates") -> Difference:
    """Compare two trained networks on the images of the test set; says nothing of how they were trained.

    The interval is basic; p is the share of resamples that are as far from the difference as it is from 0,
    ``(1 + #) / (B + 1)``.

    Args:
        a: of one run.
        b: of the other, on the same resamples.

    Raises:
        ValueError: they have different numbers of resamples.
    """
    resampled = _resampled([a], [b])[0]
    value = a.value - b.value
    extreme = np.abs(resampled - value) >= abs(value)
    return Difference(
        mean=value,
        interval=basic_interval(value, resampled),
        p_value=float(1 + extreme.sum()) / (len(resampled) + 1),
        seeds=0,
        seed_sd=0.0,
        image_se=_spread(resampled),
    )


def compare_methods(a: Sequence["Replicates"], b: Sequence["Replicates"], seed: int) -> Difference:
    """Compare two methods by runs that are paired by seed.

    The p-value is that of T = abs(mean(D)) / sqrt(s_D^2 / S + SE_img^2), against B draws of T in a world without a
    difference. The numerator of a draw is the error of one resample of images plus the mean of S normal deviates of
    standard deviation s_D; its denominator is the same root, times the standard deviation of the S deviates over s_D:
    S seeds know their spread badly, and so do the draws. With normal errors T is Student's t with S - 1 degrees of
    freedom, and p is at most 5 % where the interval excludes 0. Seeds are not resampled: five of them understate their
    variance by a fifth.

    Args:
        a: of one method, S runs, at least 2.
        b: of the other, in the same order of seeds; all on the same resamples.
        seed: of the normal deviates.

    Raises:
        ValueError: the numbers of runs or resamples differ, or there are fewer than 2 runs.
    """
    if len(a) < 2:
        raise ValueError(f"{len(a)} paired seeds have no spread; expected at least 2, or a comparison of checkpoints")
    runs = len(a)
    resampled = _resampled(a, b).mean(axis=0)
    differences = np.array([first.value - second.value for first, second in zip(a, b, strict=True)])
    mean, seed_sd, image_se = float(differences.mean()), _spread(differences), _spread(resampled)
    error = math.hypot(seed_sd / math.sqrt(runs), image_se)
    margin = _quantile(1 - LEVEL / 2, runs) * error
    noise = np.random.default_rng([seed, _NOISE]).standard_normal((len(resampled), runs))
    null = np.abs(noise.mean(axis=1) * seed_sd + resampled - resampled.mean())
    # |null| / (error * deviation) >= |mean| / error, multiplied out: the error may be 0.
    extreme = null >= abs(mean) * noise.std(axis=1, ddof=1)
    return Difference(
        mean=mean,
        interval=(mean - margin, mean + margin),
        p_value=float(1 + extreme.sum()) / (len(resampled) + 1),
        seeds=runs,
        seed_sd=seed_sd,
        image_se=image_se,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of a family, so that one false claim in it has a probability of 5 % (Holm 1979).

    Args:
        p_values: in [0, 1].

    Returns:
        The adjusted values, in the same order; a hypothesis is rejected where its value is at most 5 %.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, reached = [0.0] * len(p_values), 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        reached = max(reached, min(1.0, p_values[index] * (len(p_values) - step)))
        adjusted[index] = reached
    return adjusted


def rank_intervals(methods: Sequence[Sequence["Replicates"]], seed: int) -> list[tuple[int, int]]:
    """Return the 95 % interval of each method's rank, 1 for the best, when seeds and images are resampled.

    Methods with equally many runs draw the same seeds. What a run's resamples are above its value on average (the bias
    of the maximum) is taken off, so that a flat curve is no advantage.

    Args:
        methods: the runs of each, at least one, all on the same resamples.
        seed: of the draws.

    Raises:
        ValueError: numbers of resamples differ, or a method has no run.
    """
    if len({len(run.resampled) for runs in methods for run in runs}) > 1 or not all(methods):
        raise ValueError("ranks need runs of every method, all on the same resamples")
    resamples = len(methods[0][0].resampled)
    uniform = np.random.default_rng([seed, _RANKS]).random((resamples, max(map(len, methods))))
    means = np.stack([_seed_resampled(runs, uniform[:, : len(runs)]) for runs in methods])
    above = np.stack([(means > mean).sum(axis=0) for mean in means])
    low, high = np.quantile(above + 1, [LEVEL / 2, 1 - LEVEL / 2], axis=1, method="nearest")
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _seed_resampled(runs: Sequence["Replicates"], uniform: Floats) -> Floats:
    """Return a method's mean on each resample of its seeds and the images, float64 (B,)."""
    count = len(runs)
    corrected = np.stack([run.resampled - run.bias for run in runs])
    drawn = np.floor(uniform * count).astype(np.int64)
    chosen = corrected[drawn, np.arange(len(uniform))[:, None]].mean(axis=1)
    centre = corrected.mean(axis=0)
    # Means of seeds drawn with replacement vary less than means of new seeds, by (S - 1) / S.
    widening = math.sqrt(count / (count - 1)) if count > 1 else 1.0
    spread: Floats = centre + widening * (chosen - centre)
    return spread


def _resampled(a: Sequence["Replicates"], b: Sequence["Replicates"]) -> Floats:
    """Return the differences of paired runs on each resample, float64 (S, B)."""
    if len(a) != len(b) or len({len(run.resampled) for run in (*a, *b)}) > 1:
        raise ValueError(f"{len(a)} and {len(b)} runs cannot be paired; expected as many, on the same resamples")
    return np.stack([first.resampled - second.resampled for first, second in zip(a, b, strict=True)])


def _spread(values: Floats) -> float:
    """Return the sample standard deviation; 0 for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _quantile(share: float, runs: int) -> float:
    """Return the quantile of Student's t for the mean of some runs, the normal one where seeds play no part."""
    return float(stdtrit(runs - 1, share) if runs > 1 else ndtri(share))
