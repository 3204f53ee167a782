"""The pieces of InCA by hand: masks (Eq. 1, 2), embeddings (Eq. 3), consistency (Eq. 4), attention (Eq. 5)."""

import copy
import math

import pytest
import torch
from torch import nn

from wsolbench.attention import NonLocalAttention
from wsolbench.methods.inca import foreground_consistency_loss, in_sample_embeddings, in_sample_masks


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


def test_embeddings_by_hand():
    z = in_sample_embeddings(FEATURES, MASKS, nn.Identity(), unit=False)
    assert [row.tolist() for row in z[0]] == [[3, 4], [3, 4], [0, 0]]
    assert [row.tolist() for row in z[1]] == [[4, 4]] * 3
    assert [row.tolist() for row in z[2]] == [[0, 0]] * 3
    shift = nn.Linear(2, 2)
    with torch.no_grad():
        shift.weight.copy_(torch.eye(2))
        shift.bias.copy_(torch.tensor([0.0, 2.0]))
    z = in_sample_embeddings(FEATURES, MASKS, shift, unit=True)  # (3, 6), (4, 6), (0, 2), at length 1
    for found, (x, y) in zip(z, ((3, 6), (4, 6), (0, 2)), strict=True):
        assert found[0].tolist() == pytest.approx([x / math.hypot(x, y), y / math.hypot(x, y)], rel=1e-6)


def test_embeddings_stay_in_float32_under_autocast():
    embed = nn.Linear(2, 5)
    plain = in_sample_embeddings(FEATURES, MASKS, embed, unit=True)
    with torch.autocast("cpu", torch.bfloat16):
        same = in_sample_embeddings(FEATURES, MASKS, embed, unit=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))


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


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_gradient_of_the_consistency(reduction):
    generator = torch.Generator().manual_seed(0)
    early = torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    last = torch.randn(2, 1, 2, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: foreground_consistency_loss([a, last], reduction), (early,))


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
