"""Score maps on the device against the protocol's definition in numpy: not one pixel may differ."""

import numpy as np
import pytest
import torch

from wsolbench.engine.scoremaps import score_maps
from wsolbench.errors import RunError
from wsolbench.protocols import prepare


def normal(rng, shape):
    return rng.standard_normal(shape)


def integers(rng, shape):
    return rng.integers(-3, 4, shape).astype(np.float64)


def mostly_flat(rng, shape):
    return np.where(rng.random(shape) < 0.1, rng.standard_normal(shape), 0.25)


def nearly_constant(rng, shape):
    return 1 + rng.integers(0, 2, shape) * np.spacing(1.0)


def subnormal(rng, shape):
    return rng.integers(0, 9, shape) * 5e-324


def huge(rng, shape):
    return rng.uniform(-1, 1, shape) * 1e300


def wide_range(rng, shape):
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape)


def with_nan(rng, shape):
    return np.where(rng.random(shape) < 0.05, np.nan, rng.standard_normal(shape))


def constant(rng, shape):
    return np.broadcast_to(rng.standard_normal((shape[0], 1, 1)) * 10.0 ** rng.integers(-9, 9), shape).copy()


def sharp_edge(rng, shape):
    return (np.cumsum(np.ones(shape), axis=2) > rng.integers(0, shape[2] + 1, (shape[0], 1, 1))) * 0.1


KINDS = (normal, integers, mostly_flat, nearly_constant, subnormal, huge, wide_range, with_nan, constant, sharp_edge)
SIZES = (
    ((1, 1), (24, 24), 20),
    ((1, 5), (17, 23), 20),
    ((3, 2), (24, 24), 60),
    ((7, 7), (24, 24), 60),
    ((8, 8), (64, 64), 60),
    ((16, 16), (64, 64), 100),
    ((9, 13), (31, 20), 60),
    ((40, 40), (24, 24), 20),
    ((24, 24), (24, 24), 20),
    ((14, 14), (224, 224), 6),
    ((28, 28), (224, 224), 6),
)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_definition_in_every_pixel(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for (h, w), size, count in SIZES:  # 432 maps of each of 10 kinds
        raw = kind(rng, (count, h, w))
        if kind is not huge:
            raw[::2] = raw[::2].astype(np.float32)  # as networks give them
        expected = prepare(raw, size)
        maps, flat, invalid = score_maps(torch.from_numpy(raw), size)
        assert maps.dtype == torch.uint8
        np.testing.assert_array_equal(maps.numpy(), expected.maps)
        np.testing.assert_array_equal(flat.numpy(), expected.constant)
        np.testing.assert_array_equal(invalid.numpy(), expected.invalid)


def test_takes_a_networks_float32_and_leaves_it_alone():
    raw = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    before = raw.clone()
    maps, _, _ = score_maps(raw, (20, 30))
    assert torch.equal(raw, before)
    np.testing.assert_array_equal(maps.numpy(), prepare(before.numpy(), (20, 30)).maps)
    assert maps.amax(dim=(1, 2)).tolist() == [255] * 4


def test_constant_and_nan_maps_are_zeros_and_do_not_touch_their_neighbours():
    raw = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(1))
    alone = score_maps(raw[[1, 4]], (16, 16))[0]
    raw[0] = 7.1  # the resize would make rounding noise of it
    raw[2, 3, 3] = torch.nan
    raw[3] = torch.nan
    maps, flat, invalid = score_maps(raw, (16, 16))
    assert flat.tolist() == [True, False, False, False, False]
    assert invalid.tolist() == [False, False, True, True, False]
    assert maps[[0, 2, 3]].count_nonzero() == 0
    assert torch.equal(maps[[1, 4]], alone)


def test_what_the_resize_makes_constant_is_constant():
    raw = np.zeros((2, 40, 40))
    raw[:, 0, 0] = 1  # at a fifth of the size only pixels 2, 7, 12, ... are looked at
    raw[1, 2, 7] = 1
    expected = prepare(raw, (8, 8))
    assert expected.constant.tolist() == [True, False]
    maps, flat, _ = score_maps(torch.from_numpy(raw), (8, 8))
    assert flat.tolist() == [True, False]
    np.testing.assert_array_equal(maps.numpy(), expected.maps)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 2e300])
def test_infinity_fails_the_run(value):
    raw = torch.zeros(3, 4, 4, dtype=torch.float64)
    raw[1, 2, 2] = value
    raw[0, 0, 0] = torch.nan  # does not hide it
    with pytest.raises(RunError, match="contains infinity"):
        score_maps(raw, (16, 16))
