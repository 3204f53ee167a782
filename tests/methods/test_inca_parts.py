"""The pieces of InCA by hand: masks (Eq. 1, 2), contrastive and consistency loss (Eq. 3, 4), attention (Eq. 5)."""

import copy
import math

import pytest
import torch
from torch import nn

from wsolbench.methods.inca import (
    Attend,
    NonLocalAttention,
    contrastive_attention_loss,
    distance,
    foreground_consistency_loss,
    in_sample_masks,
    masked_means,
)


def flat(mask):
    return mask.flatten().int().tolist()


def test_masks_by_hand_are_strict_at_both_thresholds():
    attention = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 8.0, 0.0], [2.0, 3.0, 4.0]]]])  # mean 3, maximum 8
    dropped, foreground, background = in_sample_masks(attention, gamma_fg=0.5, gamma_bg=1.0)  # theta_fg 4, theta_bg 3
    assert flat(foreground) == [0, 0, 0, 1, 1, 0, 0, 0, 1]
    assert flat(background) == [1, 1, 0, 0, 0, 1, 1, 0, 0]  # the two 3s equal theta_bg: in neither
    assert flat(dropped) == [0] * 9  # the two 4s equal theta_fg
    dropped, _, _ = in_sample_masks(attention, gamma_fg=0.75, gamma_bg=1.0)  # theta_fg 6
    assert flat(dropped) == [0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_masks_use_each_images_own_thresholds():
    one = torch.tensor([[1.0, 2.0], [6.0, 3.0]])
    batch = torch.stack([one, 100 * one, torch.ones(2, 2)])[:, None]
    dropped, foreground, background = in_sample_masks(batch, gamma_fg=0.9, gamma_bg=0.8)  # 2.4 < A < 5.4
    assert torch.equal(dropped[0], dropped[1])
    assert flat(dropped[0]) == [0, 0, 0, 1]
    assert flat(foreground[2]) == [1] * 4  # a constant map: A > 0.8 A, and never A < 0.8 A
    assert flat(dropped[2]) == flat(background[2]) == [0] * 4


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


# Two channels, 2x2 pixels. dropped foreground = pixel 1, foreground = pixels 1 and 2, background = pixel 0.
FEATURES = torch.tensor([[[0.0, 3.0, 5.0, 9.0], [0.0, 4.0, 4.0, 9.0]]] * 3).view(3, 2, 2, 2)
MASKS = tuple(
    torch.tensor(rows).bool().view(3, 1, 2, 2)
    for rows in (
        [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],  # the third image has no dropped foreground,
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]],  # the second no background
    )
)


def test_the_triplet_loss_by_hand_divides_by_all_images():
    # embeddings (3, 4), (4, 4), (0, 0): distances 1 and 5
    loss, active = contrastive_attention_loss(FEATURES, MASKS, nn.Identity(), 4.5, "raw")
    assert loss.item() == pytest.approx((1 - 5 + 4.5) / 3, rel=1e-6)
    assert active.item() == pytest.approx(1 / 3)
    loss, active = contrastive_attention_loss(FEATURES, MASKS, nn.Identity(), 4.0 - 1e-3, "raw")
    assert loss.item() == active.item() == 0  # the hinge is closed


def test_unit_length_embeddings_by_hand():
    shift = nn.Linear(2, 2)
    with torch.no_grad():
        shift.weight.copy_(torch.eye(2))
        shift.bias.copy_(torch.tensor([0.0, 2.0]))
    vectors = [torch.tensor(v, dtype=torch.float64) for v in ((3.0, 6.0), (4.0, 6.0), (0.0, 2.0))]
    unit = [v / math.hypot(*v.tolist()) for v in vectors]
    expected = (math.dist(unit[0], unit[1]) - math.dist(unit[0], unit[2]) + 1) / 3
    loss, _ = contrastive_attention_loss(FEATURES, MASKS, shift, 1.0, "l2")
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    raw, _ = contrastive_attention_loss(FEATURES, MASKS, shift, 1.0, "raw")
    assert raw.item() == 0  # 1 - 5 + 1 < 0: the margin means something else on unit vectors


def test_the_triplet_gradient_equals_the_formulas():
    torch.manual_seed(0)
    features = torch.rand(3, 2, 2, 2, requires_grad=True)
    embed = nn.Linear(2, 5)
    loss, _ = contrastive_attention_loss(features, MASKS, embed, 1.0, "raw")
    ours = torch.autograd.grad(loss, [features, embed.weight])
    exact, weight = features.detach().double().requires_grad_(), embed.weight.detach().double().requires_grad_()
    pixels = exact[0].flatten(1).T  # image 0 is the only valid one
    z = [pixels[which].mean(dim=0) @ weight.T for which in ([1], [1, 2], [0])]  # the bias cancels in differences
    formula = ((z[0] - z[1]).norm() - (z[0] - z[2]).norm() + 1) / 3
    torch.testing.assert_close(loss.double(), formula, rtol=1e-5, atol=0)
    for ours_, theirs in zip(ours, torch.autograd.grad(formula, [exact, weight]), strict=True):
        torch.testing.assert_close(ours_.double(), theirs, rtol=1e-4, atol=1e-6)
    assert ours[0][1:].abs().max() == 0  # invalid images pass nothing


def test_consistency_by_hand():
    first = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 2.0]]]], requires_grad=True)
    second = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[0.0, 0.0], [0.0, 0.0]]]], requires_grad=True)
    last = torch.zeros(2, 1, 2, 2, requires_grad=True)  # sums of squares (30, 4) and (4, 0); means over images 17 and 2
    assert foreground_consistency_loss([first, second, last], "sum").item() == 19
    loss = foreground_consistency_loss([first, second, last], "mean")
    assert loss.item() == pytest.approx(19 / 4)
    gradients = torch.autograd.grad(loss, [first, second, last], allow_unused=True)
    assert torch.equal(gradients[0], 2 * first / 2 / 4)
    assert torch.equal(gradients[1], 2 * second / 2 / 4)
    assert gradients[2] is None  # the reference is a constant
    assert foreground_consistency_loss([last], "sum").item() == 0


def test_a_smaller_reference_is_resized_bilinearly():
    reference = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    # half-pixel centres: weights 1, 3/4, 1/4, 0 of the left (upper) neighbour
    share = torch.tensor([0.0, 0.25, 0.75, 1.0])
    resized = 4 * share[None, :] + 8 * share[:, None]
    early = torch.arange(16.0).view(1, 1, 4, 4)
    expected = (early[0, 0] - resized).square()
    assert foreground_consistency_loss([early, reference], "sum").item() == pytest.approx(expected.sum().item())
    assert foreground_consistency_loss([early, reference], "mean").item() == pytest.approx(expected.mean().item())


@pytest.mark.parametrize("residual", [True, False])
def test_the_shortcut_equals_the_literal_block_with_gradients(literal_attention, residual):
    torch.manual_seed(0)
    block = NonLocalAttention(16, residual)
    features = torch.rand(2, 16, 4, 3) * 3
    if residual:
        nn.init.normal_(block.out.weight)
        nn.init.normal_(block.out.bias)
    ours = block(features)
    exact = copy.deepcopy(block).double()
    expected = literal_attention(exact, features.double())
    assert ours.shape == (2, 1, 4, 3)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
    probe = torch.randn(2, 1, 4, 3)
    (ours * probe).sum().backward()
    (expected * probe.double()).sum().backward()
    for (name, parameter), wanted in zip(block.named_parameters(), exact.parameters(), strict=True):
        assert wanted.grad.abs().max() > 0, name
        torch.testing.assert_close(parameter.grad.double(), wanted.grad, rtol=1e-3, atol=1e-5, msg=name)
    assert block.key.bias is None  # its gradient is identically zero


def test_the_residual_block_starts_at_the_channel_mean_exactly():
    torch.manual_seed(0)
    features = torch.rand(2, 16, 5, 5)
    assert torch.equal(NonLocalAttention(16, residual=True)(features), features.mean(dim=1, keepdim=True))
    assert not torch.allclose(NonLocalAttention(16, residual=False)(features), features.mean(dim=1, keepdim=True))


def test_the_similarity_is_not_scaled_and_its_softmax_runs_over_keys():
    block = NonLocalAttention(16, residual=False)  # C / 8 = 2 inner channels
    with torch.no_grad():
        for layer in (block.query, block.key, block.value):
            layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()
        block.query.weight[:, 0] = block.key.weight[:, 1] = block.value.weight[:, 2] = 1
    features = torch.zeros(1, 16, 1, 2)
    features[0, 0, 0] = torch.tensor([1.0, 2.0])  # queries, twice each
    features[0, 1, 0] = torch.tensor([0.0, 0.5])  # keys
    features[0, 2, 0] = torch.tensor([0.0, 1.0])  # values
    sigmoid = [1 / (1 + math.exp(-2 * query * 0.5)) for query in (1, 2)]  # the weight of the second key
    assert block(features).flatten().tolist() == pytest.approx(sigmoid, rel=1e-6)


def test_the_block_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    block, features = NonLocalAttention(16, residual=False), torch.rand(1, 16, 4, 4)
    plain = block(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(block(features), plain)
        rounded = features.bfloat16()
        assert torch.equal(block(rounded), block(rounded.float()))


def test_the_gradient_of_the_attention_product():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 5, d, generator=generator, dtype=torch.float64) for d in (3, 3, 1))
    inputs = tuple(each.requires_grad_() for each in (query, key, value))
    assert torch.equal(Attend.apply(*inputs), (query @ key.transpose(1, 2)).softmax(2) @ value)
    assert torch.autograd.gradcheck(Attend.apply, inputs)
