"""Triplet and NT-Xent by hand, with gradients, and the averages over masks."""

import math

import pytest
import torch

from wsolbench.contrastive import distance, masked_means, nt_xent, triplet

ANCHOR, POSITIVE, NEGATIVE = (
    torch.tensor(rows, dtype=torch.float64)
    for rows in ([[3.0, 4.0], [3.0, 4.0]], [[4.0, 4.0], [3.0, 4.0]], [[0.0, 0.0], [3.0, 5.0]])
)


def test_masked_mean_by_hand():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]], dtype=torch.float64)
    mask = torch.tensor([[[[True, False], [False, True]]]])
    mean, empty = masked_means(features, (mask, torch.zeros_like(mask)))
    assert mean.tolist() == [[2.5, 25.0]]
    assert empty.tolist() == [[0.0, 0.0]]
    assert torch.autograd.gradcheck(lambda x: masked_means(x, (mask, ~mask)), (features.requires_grad_(),))


def test_distance_has_a_finite_gradient_at_zero_and_is_right_elsewhere():
    a = torch.tensor([[3.0, 0.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[0.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    assert distance(a, b).tolist() == pytest.approx([5.0, 1e-6], abs=1e-12)
    (gradient,) = torch.autograd.grad(distance(a, b).sum(), a)
    assert gradient.tolist() == [pytest.approx([0.6, -0.8]), [0.0, 0.0]]
    apart = (torch.rand(3, 4, dtype=torch.float64) + k for k in range(2))
    assert torch.autograd.gradcheck(distance, tuple(x.requires_grad_() for x in apart))


def test_the_triplet_by_hand():
    assert triplet(ANCHOR, POSITIVE, NEGATIVE, margin=4.5).tolist() == pytest.approx([1 - 5 + 4.5, 0 - 1 + 4.5])
    assert triplet(ANCHOR, POSITIVE, NEGATIVE, margin=0.9).tolist() == [0, 0]  # both hinges are shut
    exchanged = triplet(ANCHOR, NEGATIVE, POSITIVE, margin=0.5)
    assert exchanged.tolist() == pytest.approx([5 - 1 + 0.5, 1 - 0 + 0.5])


def test_nt_xent_by_hand():
    z = [
        rows / rows.norm(dim=1, keepdim=True)
        for rows in (ANCHOR[:1], POSITIVE[:1], torch.tensor([[4.0, 3.0]]).double())
    ]
    # cosines 7 / (5 sqrt 2) with the foreground and 24 / 25 with the background
    near, far = (math.exp(cosine / 0.07) for cosine in (7 / (5 * math.sqrt(2)), 24 / 25))
    assert nt_xent(*z, temperature=0.07).item() == pytest.approx(-math.log(near / (near + far)), rel=1e-9)
    assert nt_xent(z[0], z[0], z[0], temperature=0.07).item() == pytest.approx(math.log(2), rel=1e-12)
    # cosines -1 and 1: as wrong as can be, and no overflow
    assert nt_xent(z[0], -z[0], z[0], temperature=0.07).item() == pytest.approx(2 / 0.07, rel=1e-9)
    assert nt_xent(z[0], z[0], -z[0], temperature=0.01).item() < 1e-12
    assert nt_xent(z[0].float(), -z[0].float(), z[0].float(), temperature=1e-3).item() == pytest.approx(2000)


def test_gradients_equal_finite_differences():
    generator = torch.Generator().manual_seed(0)
    z = tuple(torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    assert torch.autograd.gradcheck(lambda *each: triplet(*each, margin=3.0), z)
    assert torch.autograd.gradcheck(lambda *each: nt_xent(*each, temperature=0.5), z)
