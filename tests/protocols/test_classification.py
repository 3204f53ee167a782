"""The rank of the label among the logits, or in a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsolbench.protocols import label_ranks, listed_ranks


def test_ties_count_the_lower_class_first():
    logits = np.array([[1.0, 1.0, 1.0]] * 3)
    assert label_ranks(logits, np.arange(3)).tolist() == [0, 1, 2]


def test_infinite_logits_have_a_rank():
    assert label_ranks(np.array([[-np.inf, 0.0, np.inf]]), np.array([0])).tolist() == [2]


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=8))
def test_ranks_are_the_places_in_a_stable_sort(logits):
    expected = np.argsort(np.argsort(-np.array(logits), kind="stable"))
    labels = np.arange(len(logits))
    ranks = label_ranks(np.array([logits] * len(logits), dtype=np.float32), labels)
    assert ranks.dtype == np.int64
    assert ranks.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[0.0, 1.0], [0.0, np.nan]], [0, 0], "logits of image 1 contain NaN"),
        ([[0.0, 1.0], [0.0, 1.0]], [0, 2], "label 2 of image 1 is out of range; expected 0 to 1"),
        ([[0.0, 1.0], [0.0, 1.0]], [-1, 0], "label -1 of image 0"),
        ([[0.0, 1.0]], [0, 1], "do not fit"),
    ],
)
def test_bad_input_is_named(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        label_ranks(np.array(logits), np.array(labels))


def test_ranks_of_lists_are_those_of_the_logits_they_come_from():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 9)), rng.integers(0, 9, 50)
    best = np.argsort(-logits, axis=1)
    ranks = label_ranks(logits, labels)
    assert listed_ranks(best.tolist(), labels).tolist() == ranks.tolist()
    assert listed_ranks(best[:, :5].tolist(), labels).tolist() == np.minimum(ranks, 5).tolist()


def test_lists_of_several_lengths_are_read_to_the_shortest():
    # The label 4 is third in the second list, but of the first list nothing is known beyond two places.
    ranks = listed_ranks([[1, 2], [3, 5, 4]], np.array([7, 4]))
    assert ranks.dtype == np.int64
    assert ranks.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([[1]], "1 lists of labels and labels"),
        ([[1], []], "image 1 has the list"),
        ([[1, 1], [2]], r"image 0 has the list \[1, 1\]; expected different labels"),
    ],
)
def test_malformed_lists(listed, message):
    with pytest.raises(ValueError, match=message):
        listed_ranks(listed, np.array([0, 1]))
