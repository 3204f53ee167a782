"""Score maps: the definition against a literal formula and OpenCV, the compiled pass against the definition."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsolbench.protocols import bicubic_taps, min_max, prepare, quantize, resize_bicubic


def keys(x, a=-0.75):
    """Return the cubic convolution kernel in its expanded form (Keys 1981, Eq. 4)."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resize_literally(raw, size):
    """Sum over all 16 taps of every output pixel."""
    (h, w), (height, width) = raw.shape, size
    out = np.zeros(size)
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * h / height - 0.5, (j + 0.5) * w / width - 0.5
            for p in range(math.floor(y) - 1, math.floor(y) + 3):
                for q in range(math.floor(x) - 1, math.floor(x) + 3):
                    value = raw[min(max(p, 0), h - 1), min(max(q, 0), w - 1)]
                    out[i, j] += keys(y - p) * keys(x - q) * value
    return out


@pytest.mark.parametrize(("shape", "size"), [((3, 5), (11, 8)), ((7, 7), (7, 20)), ((1, 4), (6, 3)), ((9, 2), (4, 5))])
def test_resize_is_the_16_tap_formula(shape, size):
    raw = np.random.default_rng(1).standard_normal(shape)
    assert np.allclose(resize_bicubic(raw, size), resize_literally(raw, size), rtol=0, atol=1e-13)


def test_resize_rounds_in_the_documented_order():
    # Python floats: each product and sum rounded by itself, x before y.
    raw = np.random.default_rng(2).standard_normal((5, 4)).astype(np.float32)
    (column, cw), (row, rw) = bicubic_taps(4, 9), bicubic_taps(5, 12)

    def weighted(w, p):
        return ((w[0] * p[0] + w[1] * p[1]) + w[2] * p[2]) + w[3] * p[3]

    wide = [[weighted(cw[j].tolist(), [float(line[k]) for k in column[j]]) for j in range(9)] for line in raw]
    expected = [[weighted(rw[i].tolist(), [wide[k][j] for k in row[i]]) for j in range(9)] for i in range(12)]
    assert resize_bicubic(raw, (12, 9)).tolist() == expected


@pytest.mark.parametrize(("cells", "size"), [(7, 224), (14, 224), (28, 224), (8, 64), (16, 64)])
def test_resize_agrees_with_opencv_at_powers_of_two(cells, size):
    raw = np.random.default_rng(3).standard_normal((cells, cells))
    theirs = cv2.resize(raw, (size, size), interpolation=cv2.INTER_CUBIC)
    assert np.abs(resize_bicubic(raw, (size, size)) - theirs).max() < 1e-12


def test_resize_to_the_same_size_changes_nothing():
    raw = np.random.default_rng(4).standard_normal((3, 9, 14)).astype(np.float32)
    assert np.array_equal(resize_bicubic(raw, (9, 14)), raw.astype(np.float64))


def test_resize_takes_any_leading_shape():
    raw = np.random.default_rng(5).standard_normal((2, 3, 4, 5))
    whole = resize_bicubic(raw, (8, 7))
    assert whole.shape == (2, 3, 8, 7)
    assert np.array_equal(whole[1, 2], resize_bicubic(raw[1, 2], (8, 7)))


def test_taps_are_clamped_and_sum_to_one():
    index, weight = bicubic_taps(5, 13)
    assert index.dtype == np.int64
    assert (index.min(), index.max()) == (0, 4)
    assert np.allclose(weight.sum(axis=1), 1, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="cannot resize 0 to 4"):
        bicubic_taps(0, 4)


def test_resize_overshoots_so_that_min_max_must_follow():
    step = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert resize_bicubic(step, (1, 32)).max() > 1.05
    assert min_max(resize_bicubic(step, (1, 32))).max() == 1


def test_min_max_stretches_each_map_and_empties_those_without_information():
    maps = np.array([[[1.0, 3.0], [2.0, 5.0]], [[7.0, 7.0], [7.0, 7.0]], [[0.0, np.nan], [1.0, 2.0]]])
    expected = [[[0, 0.5], [0.25, 1]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert min_max(maps).tolist() == expected


@pytest.mark.parametrize("values", [[0.0, np.inf], [-np.inf, 0.0], [-np.inf, np.nan], [-1.7e308, 1.7e308]])
def test_min_max_refuses_infinity(values):
    with pytest.raises(ValueError, match="infinity"):
        min_max(np.array([values]))


def test_quantize_takes_the_floor():
    edges = np.arange(256) / 255
    assert quantize(np.nextafter(edges[1:], 0)).tolist() == list(range(255))  # float32 would round up to the edge
    assert quantize(np.float32([0, 0.25, 1])).tolist() == [0, 63, 255]


@pytest.mark.parametrize("value", [-1e-9, 1.0000001, np.nan, np.inf])
def test_quantize_refuses_values_outside(value):
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\]"):
        quantize(np.array([0.5, value]))


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-300, 1e-3, 1.0, 1e6, 1e290]),
)
@settings(deadline=None, max_examples=200)
def test_the_compiled_pass_equals_the_definition(h, w, height, width, seed, scale):
    raw = np.random.default_rng(seed).standard_normal((3, h, w)) * scale
    raw[1] = np.round(raw[1] / scale) * scale
    before = raw.copy()
    ready = prepare(raw, (height, width))
    expected = quantize(min_max(resize_bicubic(raw, (height, width))))
    for i in range(3):
        if raw[i].min() == raw[i].max():
            assert ready.constant[i]
            assert not ready.maps[i].any()
        else:
            assert np.array_equal(ready.maps[i], expected[i])
            assert ready.constant[i] == (not expected[i].any())
    assert np.array_equal(raw, before)


@pytest.mark.parametrize("cells", [7, 14, 28])
def test_the_compiled_pass_flips_no_pixel_at_full_size(cells):
    raw = np.random.default_rng(cells).standard_normal((20, cells, cells)).astype(np.float32)
    definition = quantize(min_max(resize_bicubic(raw, (224, 224))))
    assert np.array_equal(prepare(raw, (224, 224)).maps, definition)
    assert (definition.reshape(20, -1).max(axis=1) == 255).all()


def test_constant_and_invalid_maps_become_zero_and_are_marked():
    raw = np.random.default_rng(6).standard_normal((4, 5, 5))
    raw[1] = 0.1  # resized, it varies by rounding: 0.1 times weights that sum to 1 - 1e-16
    raw[2, 3, 3] = np.nan
    ready = prepare(raw, (12, 13))
    assert np.ptp(resize_bicubic(raw[1], (12, 13))) > 0
    assert ready.constant.tolist() == [False, True, False, False]
    assert ready.invalid.tolist() == [False, False, True, False]
    assert ready.maps.reshape(4, -1).any(axis=1).tolist() == [True, False, False, True]


def test_a_map_is_prepared_the_same_alone_and_in_a_batch():
    raw = np.random.default_rng(7).standard_normal((5, 6, 6)).astype(np.float32)
    whole = prepare(raw, (20, 20)).maps
    assert all(np.array_equal(whole[i], prepare(raw[i : i + 1], (20, 20)).maps[0]) for i in range(5))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e305])
def test_infinity_is_refused_by_index(value):
    raw = np.zeros((3, 4, 4))
    raw[2, 1, 1] = value
    with pytest.raises(ValueError, match="score map 2 contains infinity"):
        prepare(raw, (8, 8))


def test_prepare_needs_a_stack_of_maps():
    with pytest.raises(ValueError, match=r"expected \(N, h, w\)"):
        prepare(np.zeros((4, 4)), (8, 8))
    assert prepare(np.zeros((0, 4, 4)), (8, 8)).maps.shape == (0, 8, 8)
