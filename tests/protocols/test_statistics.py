"""Intervals, claims, families and ranks against formulas worked by hand."""

import math

import numpy as np
import pytest
from hit_models import images, run
from scipy import stats

from wsolbench.protocols import (
    Difference,
    Replicates,
    basic_interval,
    compare_checkpoints,
    compare_methods,
    holm,
    rank_intervals,
    replicate,
    resample_images,
)

RESAMPLES = 4000


def replicates(value, errors):
    return Replicates(value=value, resampled=value + np.asarray(errors, dtype=float))


def noisy(values, sd, seed=0):
    """Return a run for each value, whose resamples err normally and independently."""
    rng = np.random.default_rng(seed)
    return [replicates(value, sd * rng.standard_normal(RESAMPLES)) for value in values]


def exact(values):
    return noisy(values, 0.0)


# --- two checkpoints --------------------------------------------------------------------------------------------------


def test_the_basic_interval_turns_the_errors_around():
    resampled = np.arange(101) / 10  # quantiles at 0.25 and 9.75
    assert basic_interval(8.0, resampled) == pytest.approx((6.25, 15.75))


def test_two_checkpoints_are_compared_image_by_image():
    shared = np.random.default_rng(0).standard_normal(RESAMPLES)
    a, b = replicates(52.0, 3 * shared + 0.1 * np.sin(np.arange(RESAMPLES))), replicates(50.0, 3 * shared)
    found = compare_checkpoints(a, b)
    assert found.mean == 2
    assert found.interval == pytest.approx((1.9, 2.1), abs=2e-3)
    assert found.image_se == pytest.approx(0.1 / math.sqrt(2), rel=1e-2)
    assert found.p_value == 1 / (RESAMPLES + 1)
    assert (found.seeds, found.seed_sd) == (0, 0)
    assert not found.claimed(found.p_value)


def test_p_of_checkpoints_is_the_share_of_errors_as_large():
    a, b = replicates(11.0, [-2, -1, 0, 1, 2]), replicates(10.0, [0] * 5)
    assert compare_checkpoints(a, b).p_value == pytest.approx((1 + 4) / 6)
    biased = replicates(11.0, [-0.5, 0.5, 1, 1.5, 2.5])  # errors count from the difference, not from their mean
    assert compare_checkpoints(biased, b).p_value == pytest.approx((1 + 3) / 6)
    assert compare_checkpoints(b, b).p_value == 1


# --- two methods ------------------------------------------------------------------------------------------------------


def test_the_interval_has_both_sources_of_variance():
    a, b = noisy([53, 55, 54, 57, 56], 0.8), noisy([52, 53, 51, 55, 54], 0.6, seed=1)
    found = compare_methods(a, b, seed=0)
    differences = np.array([1, 2, 3, 2, 2])
    image_se = np.mean([x.resampled - y.resampled for x, y in zip(a, b, strict=True)], axis=0).std(ddof=1)
    assert image_se == pytest.approx(1 / math.sqrt(5), rel=0.05)
    assert (found.mean, found.seeds, found.seed_sd) == (2, 5, pytest.approx(differences.std(ddof=1)))
    assert found.image_se == pytest.approx(image_se)
    margin = stats.t.ppf(0.975, 4) * math.sqrt(differences.var(ddof=1) / 5 + image_se**2)
    assert found.interval == pytest.approx((2 - margin, 2 + margin))
    assert found.standard_error == pytest.approx(margin / stats.t.ppf(0.975, 4))


@pytest.mark.parametrize(("image_sd", "runs"), [(0.0, 5), (0.0, 3), (2.0, 5), (8.0, 5)])
def test_p_is_that_of_students_t_whichever_source_dominates(image_sd, runs):
    a, b = noisy([53, 56, 54, 57, 58][:runs], image_sd), exact([52, 53, 51, 55, 54][:runs])
    found = compare_methods(a, b, seed=0)
    expected = 2 * stats.t.sf(found.mean / found.standard_error, runs - 1)
    assert found.p_value == pytest.approx(expected, abs=4 * math.sqrt(expected / RESAMPLES))


def test_pairing_takes_off_what_seeds_share():
    seeds = np.array([-4, 3, 0, -2, 5])
    paired = compare_methods(exact(51 + seeds), exact(50 + seeds), seed=0)
    crossed = compare_methods(exact(51 + seeds), exact(50 + seeds[::-1]), seed=0)
    assert paired.interval == (1, 1)
    assert paired.p_value == 1 / (RESAMPLES + 1)
    assert paired.claimed(paired.p_value)
    assert crossed.mean == 1
    assert not crossed.claimed(crossed.p_value)


def test_a_run_against_itself_is_no_difference():
    runs = noisy([50, 52, 51, 53, 50], 1.0)
    found = compare_methods(runs, runs, seed=0)
    assert (found.mean, found.interval, found.p_value) == (0, (0, 0), 1)
    assert not found.claimed(1.0)


@pytest.mark.parametrize(("runs", "enough"), [(2, False), (4, False), (5, True)])
def test_there_is_no_claim_under_five_seeds(runs, enough):
    found = compare_methods(exact([60.0, 61.0, 62.0, 61.0, 60.5][:runs]), exact([50.0] * runs), seed=0)
    assert found.interval[0] > 0 or runs == 2
    assert found.claimed(0.001) is enough


@pytest.mark.parametrize(("interval", "adjusted", "claimed"), [((1, 2), 0.05, True), ((1, 2), 0.06, False)])
def test_a_claim_needs_holms_p_and_an_interval_without_zero(interval, adjusted, claimed):
    values = {"mean": 1.5, "p_value": 0.01, "seeds": 5, "seed_sd": 1.0, "image_se": 0.1}
    assert Difference(interval=interval, **values).claimed(adjusted) is claimed
    assert Difference(interval=(-2, -1), **values).claimed(adjusted) is claimed
    assert not Difference(interval=(-0.1, 2), **values).claimed(adjusted)


def test_the_same_seed_gives_the_same_p():
    a, b = noisy([53, 55, 54], 0.8), exact([52, 53, 51])
    assert compare_methods(a, b, seed=3) == compare_methods(a, b, seed=3)
    assert compare_methods(a, b, seed=3).p_value != compare_methods(a, b, seed=4).p_value


def test_two_seeds_of_one_method_differ_as_checkpoints_but_not_as_methods():
    rng = np.random.default_rng(2)
    drawn = images(rng, 400)
    resampling = resample_images(400, None, resamples=300, seed=0)
    runs = [replicate("max_box_acc_v2", run(rng, drawn, seed_sd=0.4), None, resampling) for _ in range(10)]
    clear = [low > 0 or high < 0 for low, high in (compare_checkpoints(runs[0], each).interval for each in runs[1:])]
    assert sum(clear) > 4  # of 9: the protocol's warning
    assert not compare_methods(runs[:5], runs[5:], seed=0).claimed(0.0)


# --- what could have been detected ------------------------------------------------------------------------------------


def difference(seeds, seed_sd, image_se):
    values = {"mean": 0.0, "interval": (-1, 1), "p_value": 1.0}
    return Difference(seeds=seeds, seed_sd=seed_sd, image_se=image_se, **values)


@pytest.mark.parametrize(("seeds", "seed_sd", "image_se", "family"), [(5, 1.0, 0.3, 1), (3, 0.7, 0.1, 1), (8, 1, 0, 3)])
def test_a_detectable_difference_is_found_four_times_in_five(seeds, seed_sd, image_se, family):
    found = difference(seeds, seed_sd, image_se)
    error = math.sqrt(seed_sd**2 / seeds + image_se**2)
    needed = stats.t.isf(0.025 / family, seeds - 1)
    power = stats.nct.sf(needed, seeds - 1, found.detectable(family) / error)
    assert power == pytest.approx(0.8, abs=1e-6)


def test_checkpoints_have_normal_errors():
    assert difference(0, 0.0, 0.5).detectable() == pytest.approx((1.95996 + 0.84162) * 0.5, rel=1e-5)


def test_the_seed_spread_that_was_measured_on_cam_resolves_two_points_with_five_seeds():
    assert difference(5, 0.73 * math.sqrt(2), 0.12).detectable() == pytest.approx(1.8, abs=0.1)


# --- families and ranks -----------------------------------------------------------------------------------------------


def test_holm_by_hand():
    # sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 * 1, which is raised to what came before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_ranks_that_nothing_can_change():
    methods = [noisy([50, 51], 0.1), noisy([70, 71], 0.1, 1), noisy([60, 61], 0.1, 2)]
    assert rank_intervals(methods, seed=0) == [(3, 3), (1, 1), (2, 2)]


def test_ranks_that_seeds_or_images_can_swap():
    seeds = rank_intervals([exact([50, 54, 52]), exact([55, 51, 52.5]), exact([90.0])], seed=0)
    assert seeds == [(2, 3), (2, 3), (1, 1)]
    paired = rank_intervals([exact([50, 54, 52]), exact([50.5, 54.5, 52.5])], seed=0)
    assert paired == [(2, 2), (1, 1)]
    by_images = rank_intervals([noisy([50], 1.0), noisy([50.5], 1.0, 1)], seed=0)
    assert by_images == [(1, 2), (1, 2)]


def test_equal_methods_share_the_rank():
    runs = exact([50, 54])
    assert rank_intervals([runs, runs], seed=0) == [(1, 1), (1, 1)]


def test_a_bias_of_the_maximum_is_no_advantage():
    flat = Replicates(value=50.0, resampled=np.full(RESAMPLES, 52.0))
    assert rank_intervals([[flat], exact([51.0])], seed=0) == [(2, 2), (1, 1)]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="1 paired seeds have no spread"):
        compare_methods(exact([1]), exact([2]), seed=0)
    with pytest.raises(ValueError, match="2 and 3 runs cannot be paired"):
        compare_methods(exact([1, 2]), exact([2, 3, 4]), seed=0)
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_checkpoints(replicates(1, [0, 0]), replicates(1, [0]))
    with pytest.raises(ValueError, match="runs of every method"):
        rank_intervals([exact([1]), []], seed=0)
    with pytest.raises(ValueError, match="runs of every method"):
        rank_intervals([[replicates(1, [0, 0])], [replicates(1, [0])]], seed=0)
