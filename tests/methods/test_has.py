import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from wsolbench.data.augment import MEAN, normalize
from wsolbench.errors import UserError
from wsolbench.methods.has import HaS, HaSConfig, hide


def test_cells_are_hidden_where_drawn_and_ragged_at_the_lower_right_edge():
    images = torch.arange(1.0, 36.0, dtype=torch.float64).view(1, 1, 5, 7).expand(1, 3, 5, 7)
    seen = torch.ones(1, 1, 3, 4, dtype=torch.bool)
    seen[0, 0, 0, 1] = seen[0, 0, 2, 3] = False  # rows 0-1, columns 2-3; row 4, column 6
    expected = torch.tensor(
        [
            [1, 2, 0, 0, 5, 6, 7],
            [8, 9, 0, 0, 12, 13, 14],
            [15, 16, 17, 18, 19, 20, 21],
            [22, 23, 24, 25, 26, 27, 28],
            [29, 30, 31, 32, 33, 34, 0],
        ],
        dtype=torch.float64,
    )
    assert torch.equal(hide(images, seen, 2), expected.expand(1, 3, 5, 7))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**16))
def test_a_pixel_is_kept_exactly_if_its_cell_is_seen(height, width, cell, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, height, width, generator=generator) + 0.5
    before = images.clone()
    seen = torch.rand(2, 1, -(-height // cell), -(-width // cell), generator=generator) < 0.5
    hidden = hide(images, seen, cell)
    for n in range(2):
        for i in range(height):
            for j in range(width):
                expected = images[n, :, i, j] if seen[n, 0, i // cell, j // cell] else torch.zeros(3)
                assert torch.equal(hidden[n, :, i, j], expected)
    assert torch.equal(images, before)


def test_a_hidden_pixel_is_the_mean_of_the_training_set():
    images = normalize(torch.full((1, 2, 2, 3), 200, dtype=torch.uint8))
    hidden = hide(images, torch.zeros(1, 1, 1, 1, dtype=torch.bool), 2)
    mean_picture = normalize((torch.tensor(MEAN) * 255).round().to(torch.uint8).expand(1, 2, 2, 3))
    assert torch.equal(hidden, torch.zeros_like(hidden))
    assert mean_picture.abs().max() < 0.5 / 255 / 0.224  # the nearest 8-bit colour to "hidden"


def test_the_gradient_of_a_hidden_pixel_is_zero():
    images = torch.rand(1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    seen = torch.tensor([[[[True, False], [False, True]]]])
    assert torch.autograd.gradcheck(lambda x: hide(x, seen, 2), (images,))


def test_cells_are_drawn_at_the_rate_and_independently(make):
    method = make(HaS, drop_rate=0.3, cell=4)
    seen = method.draw(2000, (32, 32), torch.Generator().manual_seed(5))["seen"]
    assert seen.shape == (2000, 1, 8, 8)
    hidden = (~seen).double().flatten(1)
    total = hidden.numel()
    assert abs(hidden.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / total)
    per_image = hidden.mean(dim=1)  # independent cells: the spread over images is that of 64 Bernoulli draws
    assert per_image.var() == pytest.approx(0.3 * 0.7 / 64, rel=0.15)
    per_cell = hidden.mean(dim=0)  # independent images: no cell is preferred
    assert (per_cell - 0.3).abs().max() < 4.5 * math.sqrt(0.3 * 0.7 / 2000)
    neighbours = torch.corrcoef(torch.stack([hidden[:, :-1].flatten(), hidden[:, 1:].flatten()]))[0, 1]
    assert abs(neighbours) < 4.5 / math.sqrt(2000 * 63)


@pytest.mark.parametrize(("rate", "seen"), [(0.0, True), (1.0, False)])
def test_rates_of_zero_and_one_are_certain(make, rate, seen):
    draws = make(HaS, drop_rate=rate).draw(8, (30, 18), torch.Generator().manual_seed(0))
    assert draws["seen"].shape == (8, 1, 8, 5)  # ceil(30 / 4), ceil(18 / 4): H before W
    assert (draws["seen"] == seen).all()


def test_the_loss_is_the_cross_entropy_of_the_hidden_images(make, batch):
    method, (images, labels) = make(HaS), batch()
    draws = method.draw(4, (32, 32), torch.Generator().manual_seed(3))
    hidden = images.clone()
    for n in range(4):
        for row in range(8):
            for column in range(8):
                if not draws["seen"][n, 0, row, column]:
                    hidden[n, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    expected = functional.cross_entropy(method.network.logits(method.network(hidden).last), labels)
    assert torch.equal(method.losses(images, labels, draws).terms["cls"], expected)
    plain = functional.cross_entropy(method.network.logits(method.network(images).last), labels)
    assert not torch.equal(expected, plain)


def test_defaults_and_limits():
    assert HaSConfig() == HaSConfig(drop_rate=0.5, cell=4)
    with pytest.raises(UserError, match="drop_rate=1.5 is out of range; expected a value from 0 to 1"):
        HaSConfig(drop_rate=1.5)
    with pytest.raises(UserError, match="cell=0 is out of range; expected at least 1"):
        HaSConfig(cell=0)
