"""The normalisations: by hand, how they meet at their ends, and the choice of the percentile."""

import numpy as np
import pytest

from wsolbench.protocols import (
    MIN_MAX,
    NORMALIZATIONS,
    PERCENTILES,
    Normalization,
    best_percentile,
    ivr,
    max_only,
    min_max,
    pas,
    prepare,
    prepare_normalized,
    quantize,
    resize_bicubic,
    unit_maps,
    unit_maps_by_percentile,
)
from wsolbench.protocols.normalization import percentile_of
from wsolbench.recipe import Recipe

VARIANTS = [
    Normalization(name="min-max"),
    Normalization(name="max"),
    Normalization(name="pas", percentile=85),
    Normalization(name="ivr", percentile=35),
]


@pytest.fixture(scope="module")
def raw():
    maps = np.random.default_rng(0).standard_normal((9, 7, 5)).astype(np.float32)
    maps[3] = 2.5  # constant
    maps[4, 1, 1] = np.nan
    maps[5] -= 10  # nothing positive, however far the resize overshoots
    maps[6] *= 1e-30
    maps[7] = 0
    maps[7, 2, 2] = 4
    return maps


def test_a_percentile_is_a_value_of_the_map():
    maps = np.random.default_rng(1).permutation(101).astype(np.float64).reshape(1, 101)
    for q in (0, 1, 37, 99, 100):
        assert percentile_of(maps, q).tolist() == [[q]]
    few = np.array([[3.0, 1.0, 2.0, 4.0]])  # places 0, 1.5 -> 1, 3
    assert [percentile_of(few, q).item() for q in (0, 50, 100)] == [1, 2, 4]


def test_by_hand():
    assert max_only(np.array([[-3.0, -1.0]])).tolist() == [[0, 0]]
    row = np.array([[-2.0, 0.0, 2.0, 4.0, 8.0]])
    assert min_max(row).tolist() == [[0, 0.2, 0.4, 0.6, 1]]
    assert pas(row, 75).tolist() == [[0, 0, 0.5, 1, 1]]
    assert pas(row, 25).tolist() == [[0, 0, 1, 1, 1]]  # the percentile is 0: whatever is positive is 1
    assert pas(row, 0).tolist() == [[0, 0, 1, 1, 1]]  # and so it is below 0
    assert ivr(row, 25).tolist() == [[0, 0, 0.25, 0.5, 1]]
    assert ivr(row, 100).tolist() == [[0, 0, 0, 0, 0]]


def test_they_meet_at_the_ends(raw):
    wide = resize_bicubic(raw[[0, 1, 2, 5, 6, 8]], (16, 16))
    np.testing.assert_array_equal(ivr(wide, 0), min_max(wide))
    np.testing.assert_array_equal(pas(wide, 100), max_only(wide))


@pytest.mark.parametrize("normalization", VARIANTS, ids=lambda each: each.name)
def test_maps_are_in_the_unit_interval_and_keep_their_order(raw, normalization):
    found = unit_maps(raw, (16, 16), normalization)
    assert found.maps.min() == 0
    assert found.maps.max() == 1
    assert found.invalid.tolist() == [index == 4 for index in range(9)]
    blank = {"min-max": [3], "ivr": [3]}.get(normalization.name, [3, 5])
    assert np.flatnonzero(found.constant).tolist() == blank
    assert not found.maps[[*blank, 4]].any()
    wide = resize_bicubic(raw[0], (16, 16)).ravel()
    assert (np.diff(found.maps[0].ravel()[np.argsort(wide, kind="stable")]) >= 0).all()


def test_min_max_is_the_protocols(raw):
    unit, fast = unit_maps(raw, (16, 16)), prepare(raw, (16, 16))
    np.testing.assert_array_equal(quantize(unit.maps), fast.maps)
    for name in ("constant", "invalid"):
        np.testing.assert_array_equal(getattr(unit, name), getattr(fast, name))
        np.testing.assert_array_equal(getattr(prepare_normalized(raw, (16, 16)), name), getattr(fast, name))
    assert Normalization(name="min-max") == MIN_MAX


@pytest.mark.parametrize("name", PERCENTILES)
def test_all_percentiles_at_once_are_each_alone(raw, name):
    seen = []
    for percentile, unit in unit_maps_by_percentile(raw, (12, 16), name):
        seen.append(percentile)
        alone = unit_maps(raw, (12, 16), Normalization(name=name, percentile=percentile))
        for part in ("maps", "constant", "invalid"):
            np.testing.assert_array_equal(getattr(unit, part), getattr(alone, part))
    assert tuple(seen) == PERCENTILES[name]


def test_the_scale_does_not_matter(raw):
    finite = raw[[0, 1, 2, 8]]
    for normalization in VARIANTS:
        one, other = (prepare_normalized(finite * scale, (16, 16), normalization).maps for scale in (1, 2.0**-40))
        np.testing.assert_array_equal(one, other)


def test_tiny_percentiles_do_not_overflow():
    row = np.full((1, 10), 1e-300)
    row[0, -1] = 1e300
    assert pas(row, 50).tolist() == [[1.0] * 10]
    assert unit_maps(row[None], (1, 10), Normalization(name="pas", percentile=50)).constant.tolist() == [True]


def test_maps_as_given():
    given = Normalization(name="none")
    maps = np.array([[[0.2, 0.5]], [[0.3, 0.3]], [[np.nan, 0.1]]])
    found = unit_maps(maps, (1, 2), given)
    assert found.maps.tolist() == [[[0.2, 0.5]], [[0, 0]], [[0, 0]]]
    assert prepare_normalized(maps, (1, 2), given).maps[0].tolist() == [[51, 127]]
    with pytest.raises(ValueError, match=r"are \(1, 2\); expected the evaluation size \(2, 2\)"):
        unit_maps(maps, (2, 2), given)
    with pytest.raises(ValueError, match=r"values from 0.2 to 1.5; expected \[0, 1\]"):
        unit_maps(np.array([[[0.2, 1.5]]]), (1, 2), given)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "minmax"}, "unknown normalisation 'minmax'; expected one of min-max, max, pas, ivr"),
        ({"name": "ivr"}, "ivr came with percentile None; expected a percentile"),
        ({"name": "max", "percentile": 5}, "max came with percentile 5; expected no percentile"),
        ({"name": "pas", "percentile": 101}, "percentile 101 is out of range"),
    ],
)
def test_malformed_normalizations(fields, message):
    with pytest.raises(ValueError, match=message):
        Normalization(**fields)


def test_infinity_is_refused_by_index(raw):
    maps = raw.copy()
    maps[2, 0, 0] = np.inf
    for call in (lambda: unit_maps(maps, (8, 8)), lambda: list(unit_maps_by_percentile(maps, (8, 8), "ivr"))):
        with pytest.raises(ValueError, match="score map 2 contains infinity"):
            call()


def test_of_equal_percentiles_the_smallest():
    assert best_percentile({30: 5.0, 10: 7.0, 20: 7.0}) == 10


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_recipe_takes_each_by_name(name):
    assert Recipe(normalization=name).normalization == name
