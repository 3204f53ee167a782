"""Speed of box extraction, side by side with the OpenCV loop over 1000 thresholds on the same distinct maps."""

import numpy as np
import opencv_oracle
import pytest

from wsolbench.protocols import CRITERIA, level_hits_batch, levels, prepare

KINDS = {"7": 7, "14": 14, "28": 28, "noise": 224}
TRUTH = np.array([[50, 60, 150, 170]])


def distinct_maps(kind, count):
    raw = np.random.default_rng(KINDS[kind]).standard_normal((count, KINDS[kind], KINDS[kind]))
    return prepare(raw, (224, 224)).maps


def ours(maps):
    return level_hits_batch(maps, np.repeat(TRUTH, len(maps), axis=0), np.arange(len(maps) + 1), CRITERIA)


def opencv_loop(maps):
    return np.stack([opencv_oracle.hits_by_threshold(score_map, TRUTH, CRITERIA) for score_map in maps])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("implementation", [ours, opencv_loop])
def test_bench_decisions_of_two_maps(benchmark, kind, implementation):
    benchmark.group = f"2 maps of 224x224, {kind}"
    maps = distinct_maps(kind, 2)
    ours(maps)  # compile first
    rounds = 50 if implementation is ours else 1 if kind == "noise" else 3
    hits = benchmark.pedantic(implementation, args=(maps,), rounds=rounds)
    if implementation is opencv_loop:
        assert np.array_equal(ours(maps)[..., levels(255)], hits)


@pytest.mark.parametrize("kind", KINDS)
def test_bench_decisions_of_100_maps(benchmark, kind):
    benchmark.group = "100 maps of 224x224"
    maps = distinct_maps(kind, 100)
    ours(maps)
    assert benchmark.pedantic(ours, args=(maps,), rounds=5).shape == (100, 3, 256)


@pytest.mark.parametrize("cells", [7, 14, 28])
def test_bench_prepare_100_maps(benchmark, cells):
    benchmark.group = "prepare 100 maps at 224x224"
    raw = np.random.default_rng(cells).standard_normal((100, cells, cells)).astype(np.float32)
    prepare(raw, (224, 224))
    assert benchmark.pedantic(prepare, args=(raw, (224, 224)), rounds=5).maps.shape == (100, 224, 224)
