import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from wsolbench.config import sample
from wsolbench.errors import UserError
from wsolbench.methods.cam import CAM
from wsolbench.methods.cutmix import CutMix, CutMixConfig, box_mask, draw_beta, paste


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def box(share, centre, size):
    """Rows and columns of the box as (first, last + 1), or None if it is empty."""
    mask = box_mask(scalar(share), torch.tensor(centre), size)
    assert mask.shape == size
    if not mask.any():
        return None
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    limits = tuple((int(edge.min()), int(edge.max()) + 1) for edge in (rows, columns))
    assert int(mask.sum()) == math.prod(last - first for first, last in limits)
    return limits


@pytest.mark.parametrize(
    ("share", "centre", "expected"),
    [
        (0.75, (10, 20), ((5, 15), (10, 30))),  # sides 20 / 2, 40 / 2
        (0.75, (0, 20), ((0, 5), (10, 30))),  # cut off at the top
        (0.75, (19, 39), ((14, 20), (29, 40))),  # cut off at the lower right
        (0.0, (10, 20), ((0, 20), (0, 40))),  # all of it
        (0.0, (5, 20), ((0, 15), (0, 40))),  # a whole image's box around a centre near the border is cut off too
        (1.0, (10, 20), None),
        (0.9, (10, 20), ((7, 13), (14, 26))),  # int(6.32) = 6, int(12.65) = 12
        (0.94, (10, 20), ((8, 12), (16, 24))),  # int(4.90) = 4, int(9.80) = 9: half of 9 is 4
        (0.9999, (10, 20), None),  # sides of less than two pixels have no half
    ],
)
def test_boxes_by_hand(share, centre, expected):
    assert box(share, centre, (20, 40)) == expected


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
def test_the_box_is_the_clipped_one(data, height, width, share):
    centre = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    expected = torch.zeros(height, width, dtype=torch.bool)
    sides = [int(side * math.sqrt(1 - share)) for side in (height, width)]
    (top, bottom), (left, right) = (
        (max(middle - side // 2, 0), middle + side // 2) for middle, side in zip(centre, sides, strict=True)
    )
    expected[top:bottom, left:right] = True
    assert torch.equal(box_mask(scalar(share), torch.tensor(centre), (height, width)), expected)


def test_pasting_by_hand():
    images = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    pasted = torch.tensor([[False, True], [False, False]])
    mixed = paste(images, pasted, torch.tensor([2, 0, 1]))
    assert mixed[:, 0].tolist() == [[[1, 3], [1, 1]], [[2, 1], [2, 2]], [[3, 2], [3, 3]]]


def test_a_pixel_teaches_the_image_that_it_comes_from():
    images = torch.rand(3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    pasted, other = torch.tensor([[False, True], [True, False]]), torch.tensor([1, 2, 0])
    assert torch.autograd.gradcheck(lambda x: paste(x, pasted, other), (images,))


def test_the_loss_by_hand(probe):
    method = probe(CutMix).double()
    with torch.no_grad():
        method.network.head.fc.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        method.network.head.fc.bias.zero_()
    images = torch.stack([torch.full((1, 4, 4), value, dtype=torch.float64) for value in (1.0, 3.0)])
    draws = {"share": scalar(0.75), "centre": torch.tensor([0, 2]), "other": torch.tensor([1, 0])}
    losses = method.losses(images, torch.tensor([0, 1]), draws)
    # The box has sides 2 and 2, rows -1 to 1 and columns 1 to 3: a row is cut off, 2 of 16 pixels are pasted.
    means = (14 * 1 + 2 * 3) / 16, (14 * 3 + 2 * 1) / 16
    first = [math.log1p(math.exp(-2 * mean)) for mean in means]  # cross entropy of class 0: logits +mean, -mean
    second = [math.log1p(math.exp(2 * mean)) for mean in means]
    expected = 14 / 16 * (first[0] + second[1]) / 2 + 2 / 16 * (second[0] + first[1]) / 2
    assert losses.terms["cls"].item() == pytest.approx(expected, rel=1e-12)
    assert losses.diagnostics["pasted"].item() == 2 / 16


def test_without_mixing_the_step_is_that_of_cam(make, batch, gradients):
    method, cam, (images, labels) = make(CutMix, mix_rate=0.0), make(CAM), batch()
    draws = method.draw(4, (32, 32), torch.Generator().manual_seed(0))
    ours, theirs = method.losses(images, labels, draws), cam.losses(images, labels, {})
    assert torch.equal(ours.terms["cls"], theirs.terms["cls"])
    assert ours.diagnostics["pasted"] == 0
    found, expected = gradients(method, ours), gradients(cam, theirs)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_lambda_of_zero_trains_on_the_other_images_alone(make, batch):
    method, (images, labels) = make(CutMix), batch()
    other = torch.tensor([1, 2, 3, 0])
    draws = {"share": scalar(0.0), "centre": torch.tensor([16, 16]), "other": other}
    loss = method.losses(images, labels, draws).terms["cls"]
    logits = method.network.logits(method.network(images[other]).last)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels[other]))
    mixed = method.eval().views(images, labels, draws)["mixed"]
    assert torch.equal(mixed, images[other])


@pytest.mark.parametrize("shape", [1e-3, 0.1, 1.0, 50.0])
def test_lambda_follows_the_beta_distribution(shape):
    generator = torch.Generator().manual_seed(3)
    drawn = torch.stack([draw_beta(shape, generator) for _ in range(3000)])
    assert drawn.dtype == torch.float64
    assert ((drawn >= 0) & (drawn <= 1)).all()
    # Beta(b, b) has mean 1/2 and variance 1 / (4 (2b + 1)); at 0.001 nearly every draw is 0 or 1.
    variance = 1 / (4 * (2 * shape + 1))
    assert abs(float(drawn.mean()) - 0.5) < 4 * math.sqrt(variance / 3000)
    assert float(((drawn - 0.5) ** 2).mean()) == pytest.approx(variance, rel=0.1)
    if shape == 1.0:  # uniform: every tenth holds a tenth of the draws
        counts = torch.histc(drawn, 10, 0, 1)
        assert (counts - 300).abs().max() < 4.5 * math.sqrt(3000 * 0.1 * 0.9)


def test_batches_are_mixed_at_the_rate_and_draws_are_uniform(make):
    method = make(CutMix, mix_rate=0.3)
    generator = torch.Generator().manual_seed(4)
    draws = [method.draw(5, (8, 3), generator) for _ in range(1500)]
    mixed = sum(float(one["share"] < 1) for one in draws)
    assert {one["share"].dtype for one in draws} == {torch.float64}  # the sides are rounded down as in the reference
    assert abs(mixed / 1500 - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 1500)
    centres = torch.stack([one["centre"] for one in draws])
    for column, side in enumerate((8, 3)):  # H before W
        counts = torch.bincount(centres[:, column], minlength=side)
        assert len(counts) == side
        assert (counts - 1500 / side).abs().max() < 4.5 * math.sqrt(1500 / side)
    others = torch.stack([one["other"] for one in draws])
    assert torch.equal(others.sort(dim=1).values, torch.arange(5).expand(1500, 5))
    assert (others[:, 0] == 0).float().mean() == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 1500))


def test_the_box_of_one_pixel_images_and_single_images_is_legal(make):
    draws = make(CutMix).draw(1, (1, 1), torch.Generator().manual_seed(0))
    assert draws["other"].tolist() == [0]
    assert draws["centre"].tolist() == [0, 0]


def test_defaults_limits_and_range():
    assert CutMixConfig() == CutMixConfig(mix_rate=1.0, beta=1.0)
    with pytest.raises(UserError, match="beta=0.0 is out of range; expected at least 0.001"):
        CutMixConfig(beta=0.0)
    with pytest.raises(UserError, match="mix_rate=2.0 is out of range"):
        CutMixConfig(mix_rate=2.0)
    for u, beta in ((0.0, 1e-3), (0.5, 0.5), (0.75, 1.5)):  # 1 / U - 1/2 of U = 2, 1, 1/2
        assert sample(CutMixConfig(), lambda name, u=u: u, {}) == CutMixConfig(mix_rate=u, beta=beta)
