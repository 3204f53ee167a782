"""Box accuracy over thresholds: levels, bit-packed hits, counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsolbench.protocols import (
    CRITERIA,
    THRESHOLDS,
    BoxHits,
    best_threshold,
    box_accuracy_counts,
    concatenate,
    levels,
)


def generated_hits(seed, images):
    """Return hits that shrink with the criterion, the decisions and the maxima they are made of."""
    rng = np.random.default_rng(seed)
    best = rng.random((images, 256))
    decisions = best[:, None] >= np.array(CRITERIA)[:, None]
    maxima = rng.choice(np.array([0, 1, 77, 254, 255], dtype=np.uint8), images)
    return BoxHits.from_levels(decisions, maxima), decisions


def count_literally(decisions, maxima, among):
    """Count image by image and threshold by threshold."""
    counts = np.zeros((decisions.shape[1], 1000), dtype=int)
    for i in np.flatnonzero(among):
        for j, t in enumerate(np.arange(0, 1, 0.001)):
            counts[:, j] += decisions[i, :, int(t * maxima[i])]
    return counts


def test_levels_are_the_protocol_s_for_every_maximum():
    for maximum in range(256):
        assert levels(maximum).tolist() == [int(t * np.uint8(maximum)) for t in np.arange(0, 1, 0.001)]
    assert levels(255).dtype == np.int64
    assert levels(255).max() == 254  # foreground is never empty at a threshold below 1


def test_thresholds_cannot_be_changed():
    assert THRESHOLDS.shape == (1000,)
    with pytest.raises(ValueError, match="read-only"):
        THRESHOLDS[0] = 1


def test_packing_keeps_every_decision_in_32_bytes():
    hits, decisions = generated_hits(1, 9)
    assert hits.packed.shape == (9, 3, 32)
    assert np.array_equal(hits.unpacked(), decisions)
    back = BoxHits.from_arrays(hits.arrays())
    assert np.array_equal(back.packed, hits.packed)
    assert np.array_equal(back.maxima, hits.maxima)
    assert back.criteria == CRITERIA


def test_counts_are_the_literal_ones():
    hits, decisions = generated_hits(2, 12)
    everyone = np.ones(12, dtype=bool)
    assert np.array_equal(box_accuracy_counts(hits), count_literally(decisions, hits.maxima, everyone))
    among = np.arange(12) % 3 == 0
    assert np.array_equal(box_accuracy_counts(hits, among), count_literally(decisions, hits.maxima, among))


@given(st.integers(0, 99), st.integers(0, 30))
@settings(deadline=None, max_examples=40)
def test_counts_of_parts_add_up_to_the_whole(seed, cut):
    hits, _ = generated_hits(seed, 30)
    images = np.random.default_rng(seed).permutation(30)
    parts = [hits.select(images[:cut]), hits.select(images[cut:])]
    whole = box_accuracy_counts(hits)
    assert np.array_equal(sum(box_accuracy_counts(part) for part in parts), whole)
    assert np.array_equal(box_accuracy_counts(concatenate(parts)), whole)
    assert np.array_equal(box_accuracy_counts(hits, images < cut), box_accuracy_counts(hits.select(images < cut)))
    assert (whole[:-1] >= whole[1:]).all()  # accuracy falls with the criterion
    assert whole.max() <= 30


def test_counts_of_more_images_than_one_chunk():
    hits, _ = generated_hits(3, 5)
    many = hits.select(np.tile(np.arange(5), 2000))
    assert np.array_equal(box_accuracy_counts(many), 2000 * box_accuracy_counts(hits))


def test_ties_go_to_the_smallest_threshold():
    assert best_threshold(np.array([0, 4, 4, 3, 4])) == 1
    assert best_threshold(np.zeros(1000)) == 0


def test_malformed_hits_are_refused():
    hits, _ = generated_hits(4, 3)
    with pytest.raises(ValueError, match=r"expected uint8 \(2, 3, 32\)"):
        BoxHits(packed=hits.packed, maxima=hits.maxima[:2])
    with pytest.raises(ValueError, match="maxima are float64"):
        BoxHits(packed=hits.packed, maxima=hits.maxima.astype(float))
    with pytest.raises(ValueError, match="lack criteria, packed"):
        BoxHits.from_arrays({"maxima": hits.maxima})
    with pytest.raises(ValueError, match="different criteria"):
        concatenate([hits, BoxHits(packed=hits.packed, maxima=hits.maxima, criteria=(0.1, 0.2, 0.3))])
    with pytest.raises(ValueError, match="at least one part"):
        concatenate([])
    with pytest.raises(ValueError, match=r"expected bool \(3,\)"):
        box_accuracy_counts(hits, np.array([0, 1]))
