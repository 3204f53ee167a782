"""Drawing configurations, choosing one, and how sure that is."""

import itertools

import numpy as np
import pytest

from wsolbench.protocols import BoxHits
from wsolbench.protocols.selection import WORST, choose, expected_best, select, unit_number


def make_hits(shares, images=200, seed=0):
    """Return one trial per share: each image is found at all levels with that probability, None for a share of None."""
    rng = np.random.default_rng(seed)
    luck = rng.random(images)
    found = [
        None if share is None else np.broadcast_to((luck < share)[:, None, None], (images, 3, 256)) for share in shares
    ]
    return [None if each is None else BoxHits.from_levels(each, np.full(images, 255, dtype=np.uint8)) for each in found]


# --- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "name", "prefix"),
    [
        # printf '1\nparts/context\nresnet-tiny\nhas\n0\nlr' | sha256sum | cut -c1-16
        (0, "lr", "0cf01bb3729e3c25"),
        (29, "lr", "9e35848999b89e4d"),
        (0, "drop_rate", "f9dc85ac1ba4d672"),
        (29, "drop_rate", "48782f71c1e4216e"),
    ],
)
def test_numbers_are_the_hashs_for_ever(index, name, prefix):
    assert unit_number("parts/context", "resnet-tiny", "has", index, name) == (int(prefix, 16) >> 11) / 2**53


def test_every_argument_counts_and_numbers_fill_the_unit_interval():
    base = ("cub", "resnet50", "has", 3, "lr")
    other = ("ilsvrc", "vgg16", "adl", 4, "drop_rate")
    numbers = {unit_number(*base)}
    numbers |= {unit_number(*base[:place], other[place], *base[place + 1 :]) for place in range(len(base))}
    assert len(numbers) == 6
    many = np.array([unit_number("cub", "resnet50", "has", index, "lr") for index in range(2000)])
    assert ((many >= 0) & (many < 1)).all()
    assert np.abs(np.histogram(many, bins=10, range=(0, 1))[0] - 200).max() < 60  # 4.5 standard deviations


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_the_highest_score_wins_and_of_equal_ones_the_first():
    assert choose([10.0, 30.0, 20.0, 30.0]) == 1
    assert choose([None, 0.0, None]) == 1
    with pytest.raises(ValueError, match="none of 2 trials has a score"):
        choose([None, None])


def test_the_expected_best_is_the_mean_over_all_subsets():
    scores = [3.0, 41.0, 7.5, 41.0, 0.0, 12.0]
    brute = [np.mean([max(each) for each in itertools.combinations(scores, k)]) for k in range(1, 7)]
    np.testing.assert_allclose(expected_best(scores), brute, rtol=1e-12)
    np.testing.assert_allclose(expected_best([scores, scores[::-1]]), [brute, brute], rtol=1e-12)


def test_thirty_trials_need_no_rounding_care():
    curve = expected_best(np.arange(30.0))
    assert curve[0] == pytest.approx(14.5, rel=1e-12)
    assert curve[-1] == 29
    assert (np.diff(curve) > 0).all()


# --- how sure ---------------------------------------------------------------------------------------------------------


def test_a_selection_is_reproducible_and_fits_the_exact_scores():
    hits = make_hits([0.3, 0.62, 0.6, None, 0.1])
    one, two = (select(hits, "max_box_acc_v2", resamples=300, seed=5) for _ in range(2))
    assert one.chosen == 1
    np.testing.assert_array_equal(one.wins, two.wins)
    np.testing.assert_array_equal(one.best_of, two.best_of)
    scores = [WORST if each is None else 100 * each.unpacked()[:, 0, 0].mean() for each in hits]
    np.testing.assert_allclose(one.best_of[:, 0], expected_best(scores))
    assert one.wins.sum() == pytest.approx(1)
    assert one.wins[3] == one.wins[4] == 0
    assert 0.5 < one.wins[1] <= 1  # the third trial finds a subset of its images: at best it draws level


def test_a_failed_trial_is_the_worst_score_but_never_a_winner():
    alone = select([None, *make_hits([0.0])], "max_box_acc_v2", resamples=20, seed=0)
    assert alone.chosen == 1
    assert alone.wins.tolist() == [0, 1]
    pair = select([None, *make_hits([1.0])], "max_box_acc_v2", resamples=20, seed=0)
    assert pair.best_of[:, 0].tolist() == [50, 100]


def test_intervals_cover_images_and_configurations():
    same = select(make_hits([1.0, 1.0, 1.0]), "max_box_acc_v2", resamples=50, seed=0)
    np.testing.assert_allclose(same.best_of, 100, rtol=1e-12)
    images = select(make_hits([0.5, 0.5, 0.5]), "max_box_acc_v2", resamples=400, seed=0).best_of
    spread = 100 * np.sqrt(0.25 / 200)
    assert images[0, 2] - images[0, 1] == pytest.approx(2 * 1.96 * spread, rel=0.2)
    configurations = select(make_hits([0.2, 0.5, 0.8]), "max_box_acc_v2", resamples=400, seed=0).best_of
    assert (configurations[0, 2] - configurations[0, 1]) > 3 * (images[0, 2] - images[0, 1])


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([*make_hits([0.5]), *make_hits([0.5], images=100)], r"scored \[100, 200\] images; expected the same"),
        ([None, None], "none of 2 trials has a score"),
    ],
)
def test_what_cannot_be_chosen_among(hits, message):
    with pytest.raises(ValueError, match=message):
        select(hits, "max_box_acc_v2", resamples=10, seed=0)
