"""Speed of the bootstrap at the size of CUB's test set: 5,794 images, 2,000 resamples."""

import numpy as np
import pytest

from wsolbench.protocols import BoxHits, SplitScores, replicate, resample_images

IMAGES, RESAMPLES = 5794, 2000


def split(maxima):
    rng = np.random.default_rng(0)
    hits = rng.random((IMAGES, 3, 256), dtype=np.float32) < 0.5
    return SplitScores(hits=BoxHits.from_levels(hits, rng.choice(np.array(maxima, dtype=np.uint8), IMAGES)))


@pytest.mark.parametrize("maxima", [[255], [255, 0, 254, 100]], ids=["all maxima 255", "four maxima"])
@pytest.mark.parametrize("key", ["max_box_acc_v2", "gt_known"])
def test_bench_2000_resamples_of_5794_images(benchmark, key, maxima):
    benchmark.group = f"{RESAMPLES} resamples of {IMAGES} images, drawn and scored"
    scores = split(maxima)

    def bootstrap():
        return replicate(key, scores, None, resample_images(IMAGES, None, resamples=RESAMPLES, seed=0))

    found = benchmark.pedantic(bootstrap, rounds=5)
    assert found.resampled.shape == (RESAMPLES,)
    assert found.bias > 0
