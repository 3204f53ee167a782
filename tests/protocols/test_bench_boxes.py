"""Speed of the evaluator, side by side with the OpenCV loop over 1000 thresholds on distinct maps; the whole fuzz."""

import itertools

import numpy as np
import opencv_oracle
import pytest
from map_kinds import KINDS, LARGE, true_boxes
from published_boxes import load

from wsolbench.protocols import CRITERIA, level_hits_batch, level_hits_both, levels, prepare, scale_boxes

RAW = {"7": 7, "14": 14, "28": 28, "noise": 224}
SIZE = (224, 224)
TRUTH = np.array([[50, 60, 150, 170]])
MAPS_A_KIND, LARGE_MAPS_A_KIND = 100, 4


def raw_maps(kind, count):
    return np.random.default_rng(RAW[kind]).standard_normal((count, RAW[kind], RAW[kind])).astype(np.float32)


def annotated(maps):
    return maps, np.repeat(TRUTH, len(maps), axis=0), np.arange(len(maps) + 1)


def all_contours(maps, threads=1):
    return level_hits_batch(*annotated(maps), CRITERIA, threads)


def all_and_largest(maps, threads=1):
    return level_hits_both(*annotated(maps), CRITERIA, threads)[0]


def nothing_more(maps):
    return maps


def opencv_loop(maps):
    return np.stack([opencv_oracle.hits_by_threshold(score_map, TRUTH, CRITERIA) for score_map in maps])


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("implementation", [all_contours, all_and_largest, opencv_loop])
def test_bench_decisions_against_the_opencv_loop(benchmark, kind, implementation):
    count = 2 if kind == "noise" else 20  # the same few maps again and again would flatter whoever learns branches
    benchmark.group = f"{count} maps of 224x224, {kind}"
    maps = prepare(raw_maps(kind, count), SIZE).maps
    all_contours(maps), all_and_largest(maps)  # compile first
    hits = benchmark.pedantic(implementation, args=(maps,), rounds=1 if implementation is opencv_loop else 30)
    if implementation is opencv_loop:
        assert np.array_equal(all_contours(maps)[..., levels(255)], hits)


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("implementation", [all_contours, all_and_largest])
def test_bench_decisions_of_100_maps(benchmark, kind, threads, implementation):
    benchmark.group = f"100 maps of 224x224, {kind}"
    maps = prepare(raw_maps(kind, 100), SIZE).maps
    implementation(maps, threads)
    assert benchmark.pedantic(implementation, args=(maps, threads), rounds=10).shape == (100, 3, 256)


@pytest.mark.parametrize("cells", ["7", "14", "28"])
@pytest.mark.parametrize("implementation", [nothing_more, all_contours, all_and_largest])
def test_bench_raw_maps_to_decisions_of_100_maps(benchmark, cells, implementation):
    benchmark.group = f"100 raw maps of {cells}x{cells}: prepared; and decided; and the largest contour"
    raw = raw_maps(cells, 100)

    def run():
        return implementation(prepare(raw, SIZE).maps)

    run()
    assert len(benchmark.pedantic(run, rounds=10)) == 100


def compare(maps, truths):
    """Return the numbers of maps, of map-level pairs that OpenCV decided by itself, and of differing decisions."""
    criteria = np.array([0.3, 0.5, 0.7, 0.9, 1.0])
    count = compared = differing = 0
    for score_map, truth in zip(maps, truths, strict=True):
        ours = level_hits_both(score_map[None], truth, np.array([0, len(truth)]), criteria)
        theirs = opencv_oracle.both_ious_by_level(score_map, truth)[:, None] >= criteria[:, None]
        differing += sum(int((a[0] != b).sum()) for a, b in zip(ours, theirs, strict=True))
        count, compared = count + 1, compared + len(np.unique(score_map))
    return count, compared, differing


def test_bench_fuzz_against_opencv(benchmark):
    benchmark.group = "fuzz: V1 and V2 against OpenCV"

    def run():
        total = np.zeros(3, dtype=int)
        for index, (kinds, repeats) in enumerate([(KINDS, MAPS_A_KIND), (LARGE, LARGE_MAPS_A_KIND)]):
            for place, (kind, _) in enumerate(itertools.product(kinds, range(repeats))):
                rng = np.random.default_rng([11, index, place])
                score_map = kinds[kind](rng)
                total += compare([score_map], [true_boxes(rng, score_map)])
        return total

    maps, compared, differing = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(maps=int(maps), levels=int(compared))
    assert differing == 0
    assert maps >= 3000


def test_bench_cub_train_fullsup_against_opencv(benchmark):
    benchmark.group = "V1 and V2 against OpenCV, boxes of CUB train-fullsup"
    boxes, sizes, offsets = load("CUB/val")
    scaled = scale_boxes(boxes, sizes, SIZE)
    truths = [scaled[first:last] for first, last in itertools.pairwise(offsets)]
    maps = prepare(np.random.default_rng(12).standard_normal((len(truths), 14, 14)), SIZE).maps
    count, compared, differing = benchmark.pedantic(compare, args=(maps, truths), rounds=1)
    benchmark.extra_info.update(maps=count, levels=compared)
    assert differing == 0
    assert count == 1000
