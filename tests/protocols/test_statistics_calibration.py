"""Do the intervals hold what they promise? A method against itself, and effects that are known (PROTOCOL: statistics).

The made-up runs have the proportions that were measured on photographs: seeds of one method differ by several times
what resampling the images says about two of them.
"""

import numpy as np
import pytest
from hit_models import images, run
from scipy import stats

from wsolbench.protocols import (
    CRITERIA,
    MIN_MAX,
    BoxHits,
    Normalization,
    SplitScores,
    compare_checkpoints,
    compare_methods,
    level_hits_batch,
    prepare_normalized,
    replicate,
    resample_images,
)

SEEDS, IMAGES, RESAMPLES = 5, 300, 300
POOLS, POOL, SPLITS = 5, 40, 200  # five sets of images, forty seeds on each, split 200 times
SEED_SD = 0.2  # of the logit of a run's IoUs


@pytest.fixture(scope="module")
def pools():
    """Return the runs of one method on each set of images."""
    found = []
    for index in range(POOLS):
        rng = np.random.default_rng([11, index])
        drawn, resampling = images(rng, IMAGES), resample_images(IMAGES, None, resamples=RESAMPLES, seed=index)
        runs = [run(rng, drawn, seed_sd=SEED_SD) for _ in range(POOL)]
        found.append([replicate("max_box_acc_v2", each, None, resampling) for each in runs])
    return found


def coverage(differences):
    return np.mean([found.interval[0] <= 0 <= found.interval[1] for found in differences])


def spread(differences, name):
    return np.sqrt(np.mean([getattr(found, name) ** 2 for found in differences]))


def test_a_method_against_itself(pools):
    rng, methods, checkpoints = np.random.default_rng(12), [], []
    for runs in pools:
        for split in range(SPLITS):
            chosen = [runs[index] for index in rng.permutation(POOL)[: 2 * SEEDS]]
            methods.append(compare_methods(chosen[:SEEDS], chosen[SEEDS:], seed=split))
            checkpoints.append(compare_checkpoints(chosen[0], chosen[SEEDS]))
    # Single seeds differ several times as much as resampling the images says, as was measured on photographs.
    assert 3 < spread(methods, "seed_sd") / spread(checkpoints, "image_se") < 6
    assert np.mean([found.claimed(found.p_value) for found in methods]) <= 0.05
    assert 0.93 <= coverage(methods) <= 0.97
    # By resampling images alone, most pairs of seeds would "differ".
    assert coverage(checkpoints) < 0.6


# --- a known effect ---------------------------------------------------------------------------------------------------

SIDE, CELLS = 24, 8


def objects(rng, count):
    """Draw one box an image, and how deep the darkest corner of its raw maps is: what min-max stretches by."""
    sides = rng.integers(6, 16, (count, 2))
    corners = (rng.random((count, 2)) * (SIDE - sides)).astype(int)
    boxes = np.column_stack([corners, corners + sides - 1])
    return boxes, rng.exponential(0.25, count)


def raw_maps(rng, boxes, depth, shift):
    """Return one run's raw maps (N, 8, 8): bright on the object, noise, and a dark corner that the seed deepens."""
    centre = (np.arange(CELLS) + 0.5) * SIDE / CELLS
    middle, width = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * np.exp(0.3 * shift) / 2.5
    x, y = (np.exp(-(((centre - middle[:, [k]]) / width[:, [k]]) ** 2)) for k in (0, 1))
    maps = y[:, :, None] * x[:, None] + 0.15 * rng.standard_normal((len(boxes), CELLS, CELLS))
    maps[:, 0, 0] -= depth * np.exp(shift)
    return maps


def scored(raw, boxes, normalization):
    score_maps = prepare_normalized(raw, (SIDE, SIDE), normalization).maps
    hits = level_hits_batch(score_maps, boxes, np.arange(len(raw) + 1), CRITERIA)
    return SplitScores(hits=BoxHits.from_levels(hits, score_maps.max(axis=(1, 2))))


def ivr_and_min_max(rng, shifts, count, resamples):
    """Score the raw maps of some seeds on new images by both normalisations: the runs of each."""
    boxes, depth = objects(rng, count)
    resampling = resample_images(count, None, resamples=resamples, seed=0)
    raw = [raw_maps(rng, boxes, depth, shift) for shift in shifts]
    return [
        [replicate("max_box_acc_v2", scored(maps, boxes, kind), None, resampling) for maps in raw]
        for kind in (Normalization(name="ivr", percentile=20), MIN_MAX)
    ]


def test_what_ivr_is_worth_over_min_max_on_the_same_raw_maps_is_recovered():
    rng = np.random.default_rng(5)
    typical = 0.3 * stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])  # the seeds' distribution in five steps
    ivr, min_max = ([run.value for run in runs] for runs in ivr_and_min_max(rng, typical, 800, 1))
    truth = np.mean(ivr) - np.mean(min_max)
    assert truth > 3
    for _ in range(4):
        found = compare_methods(*ivr_and_min_max(rng, 0.3 * rng.standard_normal(SEEDS), 150, 300), seed=0)
        assert found.interval[0] <= truth <= found.interval[1]
        assert found.claimed(found.p_value)
