"""Metrics on resampled images against scoring every resample by itself."""

import numpy as np
import pytest
from hit_models import mixed

from wsolbench.protocols import RESAMPLED, BoxHits, SplitScores, pixel_hits, replicate, resample_images, score
from wsolbench.protocols.resampling import _BLOCK


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(1)
    return mixed(rng, 60), mixed(rng, 25)


@pytest.fixture(scope="module")
def one_by_one(splits):
    """Return the resampling, and every metric of each resample scored by itself."""
    test, fullsup = splits
    resampling = resample_images(60, 25, resamples=20, seed=3)
    return resampling, [
        score(test.select(drawn(t)), fullsup.select(drawn(f))).metrics
        for t, f in zip(resampling.test, resampling.fullsup, strict=True)
    ]


def drawn(counts):
    """Return the indices of the images that one resample draws."""
    return np.repeat(np.arange(len(counts)), counts)


def test_every_metric_that_hits_decide_can_be_resampled(splits):
    assert set(RESAMPLED) == {*score(*splits).metrics, "pxap"}


@pytest.mark.parametrize("key", [key for key in RESAMPLED if key != "pxap"])
def test_each_resample_is_what_scoring_it_gives(splits, one_by_one, key):
    resampling, metrics = one_by_one
    found = replicate(key, *splits, resampling)
    expected = [each[key] for each in metrics]
    assert found.value == score(*splits).metrics[key]
    assert found.resampled.tolist() == expected
    assert len(set(expected)) > 3
    assert found.bias == pytest.approx(np.mean(expected) - found.value)


def pixels(images, seed):
    """Return the pixels of some images whose maps know a little about their objects."""
    rng = np.random.default_rng(seed)
    objects = rng.random((images, 8, 8)) < rng.random((images, 1, 1))
    maps = np.clip(rng.random(objects.shape) * 0.8 + 0.2 * objects, 0, 1)
    ranks = rng.integers(0, 9, images)
    return SplitScores(hits=pixel_hits(maps, objects, rng.random(objects.shape) < 0.1), ranks=ranks, num_classes=9)


@pytest.mark.parametrize("key", ["pxap", "top1_cls"])
def test_each_resample_of_masks_is_what_scoring_it_gives(key):
    test = pixels(40, seed=0)
    resampling = resample_images(40, None, resamples=_BLOCK + 5, seed=3)
    found = replicate(key, test, None, resampling)
    assert found.value == score(test, None).metrics[key]
    expected = [score(test.select(drawn(counts)), None).metrics[key] for counts in resampling.test]
    assert found.resampled == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 3


def test_a_resample_without_an_object_scores_zero():
    hits = pixel_hits(np.array([[[0.5]], [[0.2]]]), np.array([[[True]], [[False]]]))
    found = replicate("pxap", SplitScores(hits=hits), None, resample_images(2, None, resamples=50, seed=0))
    assert set(found.resampled) == {0.0, 100.0}


def test_a_maximum_over_thresholds_is_biased_upwards_and_a_frozen_threshold_is_not(splits):
    test, fullsup = splits
    resampling = resample_images(60, 25, resamples=2000, seed=0)
    bias = {key: replicate(key, test, fullsup, resampling).bias for key in ("gt_known", "gt_known_at_0.2")}
    assert bias["gt_known"] > 2
    assert abs(bias["gt_known_at_0.2"]) < 1


def test_a_resample_has_as_many_images_and_all_are_drawn_alike():
    resampling = resample_images(50, 20, resamples=3 * _BLOCK + 5, seed=0)
    assert set(resampling.test.sum(axis=1)) == {50}
    assert set(resampling.fullsup.sum(axis=1)) == {20}
    assert np.allclose(resampling.test.mean(axis=0), 1, atol=0.2)
    assert resampling.test.var() == pytest.approx(1, abs=0.05)  # Poisson-like: a bootstrap, not a permutation


def test_the_seed_alone_decides_what_is_drawn():
    first = resample_images(30, 10, resamples=_BLOCK + 9, seed=4)
    again = resample_images(30, None, resamples=_BLOCK + 9, seed=4)
    other = resample_images(30, 30, resamples=_BLOCK + 9, seed=5)
    assert np.array_equal(first.test, again.test)
    assert again.fullsup.shape == (_BLOCK + 9, 0)
    assert not np.array_equal(first.test, other.test)
    assert not np.array_equal(other.test, other.fullsup)
    assert np.array_equal(resample_images(30, 10, resamples=_BLOCK, seed=4).test, first.test[:_BLOCK])
    assert first.seed == 4


def test_what_cannot_be_resampled_is_refused(splits):
    test, fullsup = splits
    resampling = resample_images(60, 25, resamples=2, seed=0)
    with pytest.raises(ValueError, match=r"'iou' cannot be resampled from hits; expected one of max_box_acc_v2"):
        replicate("iou", test, fullsup, resampling)
    with pytest.raises(ValueError, match="PxAP is of masks; these scores are of boxes"):
        replicate("pxap", test, fullsup, resampling)
    with pytest.raises(ValueError, match="these are scores of masks; expected those of boxes"):
        replicate("gt_known", pixels(60, seed=1), None, resampling)
    with pytest.raises(ValueError, match="needs the scores of train-fullsup"):
        replicate("gt_known_fullsup", test, None, resampling)
    with pytest.raises(ValueError, match="the resampling is for 60 images; test has 25"):
        replicate("gt_known", fullsup, None, resampling)
    with pytest.raises(ValueError, match="the resampling is for 25 images; train-fullsup has 60"):
        replicate("gt_known_fullsup", test, test, resampling)
    bare = SplitScores(hits=BoxHits(packed=test.hits.packed, maxima=test.hits.maxima))
    with pytest.raises(ValueError, match="needs the labels' ranks"):
        replicate("top1_loc", bare, None, resampling)
    with pytest.raises(ValueError, match="lack the largest contour's"):
        replicate("max_box_acc", bare, None, resampling)
    half = SplitScores(hits=BoxHits(packed=test.hits.packed[:, 1:2], maxima=test.hits.maxima, criteria=(0.5,)))
    assert replicate("gt_known", half, None, resampling).value == replicate("gt_known", test, None, resampling).value
    with pytest.raises(ValueError, match=r"these hits are for the IoU criteria \(0.5,\); the metric needs 0.3"):
        replicate("max_box_acc_v2", half, None, resampling)


@pytest.mark.parametrize("sizes", [(0, 5, 10), (5, 0, 10), (5, 5, 0)])
def test_nothing_to_draw_is_refused(sizes):
    test, fullsup, resamples = sizes
    with pytest.raises(ValueError, match="expected at least 1 each"):
        resample_images(test, fullsup, resamples=resamples, seed=0)
