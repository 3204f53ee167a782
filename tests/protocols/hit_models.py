"""Made-up runs for the tests of statistics: hits with image effects, seed effects, and what only the two together have.

A run's best level and best IoU differ from image to image; a seed shifts all images, and each a little on its own.
"""

import numpy as np

from wsolbench.protocols import CRITERIA, BoxHits, SplitScores

MAXIMUM = 31  # of every score map: 31 levels differ, which keeps thousands of runs cheap
_LEVELS = np.arange(256, dtype=np.float32) / MAXIMUM


def images(rng, count):
    """Draw what is the image's own: the logit of its best IoU, its best level, and how wide the peak is."""
    return rng.normal(0.4, 1, count), rng.normal(0.45, 0.14, count), 0.25 * np.exp(0.3 * rng.standard_normal(count))


def run(rng, drawn, *, seed_sd, image_sd=0.35, effect=0.0):
    """Return the hits of one run; ``effect`` shifts the logit of every image's best IoU."""
    logit, centre, width = drawn
    count = len(logit)
    logit = logit + effect + seed_sd * rng.standard_normal() + image_sd * rng.standard_normal(count)
    centre = centre + 0.02 * rng.standard_normal() + 0.04 * rng.standard_normal(count)
    bell = np.exp(-(((_LEVELS[None, :32] - centre[:, None]) / width[:, None]) ** 2))
    ious = np.zeros((count, 256))
    ious[:, :32] = bell / (1 + np.exp(-logit))[:, None]
    hits = ious[:, None, :] >= np.array(CRITERIA)[:, None]
    return SplitScores(hits=BoxHits.from_levels(hits, np.full(count, MAXIMUM, dtype=np.uint8)))


def mixed(rng, count, *, classes=8):
    """Return hits of any kind: every maximum, both contour rules, ranks."""
    maxima = rng.choice(np.array([255, 255, 255, 0, 1, 77, 254], dtype=np.uint8), count)
    share = rng.random((count, 3, 1)) * np.array([1, 0.8, 0.5])[:, None]
    hits, largest = rng.random((2, count, 3, 256)) < share
    packed = BoxHits.from_levels(hits, maxima, largest=largest & hits)
    return SplitScores(hits=packed, ranks=rng.integers(0, classes, count), num_classes=classes)
