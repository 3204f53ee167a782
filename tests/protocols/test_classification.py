"""The rank of the label among the logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsolbench.protocols import label_ranks


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
