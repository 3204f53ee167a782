import itertools
import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from wsolbench.attention import ResidualNonLocal, in_query_chunks
from wsolbench.backbones.registry import build_backbone
from wsolbench.engine.fit import make_optimizer
from wsolbench.errors import UserError
from wsolbench.methods.cam import CAM
from wsolbench.methods.ccam import CCAM, rank_weights, weights_of_classes
from wsolbench.network import build_network
from wsolbench.recipe import Recipe

EXACT = torch.empty(0, dtype=torch.float64)
POINTS = ("layer3.0", "layer4.0", "layer4.1")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("quadratic", [1, 0]),
        ("quadratic", [1, 0, -1]),
        ("quadratic", [1, 0, 0, -1]),
        ("quadratic", [1, 0, 0, -1 / 4, -1]),
        ("quadratic", [1, 1 / 4, 0, 0, -1 / 9, -4 / 9, -1]),
        ("linear", [1, -1]),
        ("linear", [1, 1 / 2, 0, -1 / 2, -1]),
    ],
)
def test_weights_by_rank(kind, expected):
    weights = rank_weights(len(expected), kind, EXACT)
    assert weights.dtype == torch.float64
    assert weights.tolist() == pytest.approx(expected, abs=1e-15)


def test_every_image_ranks_its_own_classes():
    logits = torch.tensor([[0.1, 5.0, -2.0, 0.3], [1.0, 1.0, 1.0, 2.0]])
    by_rank = torch.tensor([1.0, 0.2, -0.3, -1.0])
    ranked = weights_of_classes(logits, by_rank)
    expected = torch.tensor([[-0.3, 1.0, -1.0, 0.2], [0.2, -0.3, -1.0, 1.0]])  # equal logits: the lower class first
    assert torch.equal(ranked, expected)


def awake(method):
    """Let the blocks do something: their scale starts at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for block in method.network.blocks:
            block.norm.weight.copy_(torch.rand(block.norm.weight.shape, generator=generator) + 0.5)
    return method


@pytest.mark.parametrize("kind", ["quadratic", "linear"])
def test_the_map_is_the_weighted_sum_of_all_class_maps(make, batch, kind):
    method, (images, _) = awake(make(CCAM, classes=7, weights_by_rank=kind)).eval(), batch()
    with torch.no_grad():
        ours = method.predict(images)
        features = method.network(images).last
    expected = torch.zeros_like(ours.maps)
    for n, (image, logits) in enumerate(zip(features, ours.logits.tolist(), strict=True)):
        ranking = sorted(range(7), key=lambda k: -logits[k])
        for rank, k in enumerate(ranking):
            squares = (1 - rank / 2) ** 2 if rank < 3 else -(((rank - 3) / 3) ** 2)
            weight = squares if kind == "quadratic" else 1 - rank / 3
            expected[n] += weight * (method.network.head.fc.weight[k][:, None, None] * image).sum(dim=0)
    torch.testing.assert_close(ours.maps, expected.detach(), rtol=1e-5, atol=1e-5)


def test_the_labels_play_no_part_in_the_prediction(make, batch):
    method, (images, labels) = awake(make(CCAM)).eval(), batch()
    with torch.no_grad():
        free = method.predict(images)
        assert all(torch.equal(method.predict(images, (labels + k) % 3).maps, free.maps) for k in range(3))
        assert torch.equal(method.predict(images, labels).logits, free.logits)
        assert not torch.equal(CAM(method.network, CAM.Config()).eval().predict(images, labels).maps, free.maps)


def test_training_starts_at_cam(make, batch, gradients):
    method, plain, (images, labels) = make(CCAM), make(CAM), batch()
    plain.network.load_state_dict(method.network.state_dict(), strict=False)
    ours, theirs = method.losses(images, labels, {}), plain.losses(images, labels, {})
    assert torch.equal(ours.terms["cls"], theirs.terms["cls"])
    found, expected = gradients(method, ours), gradients(plain, theirs)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_blocks_start_at_zero_and_move(make, batch):
    method, (images, labels) = make(CCAM), batch(8)
    started = {name: value.clone() for name, value in method.network.blocks.named_parameters()}
    assert len(started) == 3 * 7  # query with its bias, key, value, out, scale and shift
    assert all(value.abs().max() == 0 for name, value in started.items() if "norm" in name or "bias" in name)
    optimizer = make_optimizer(method, Recipe(backbone="resnet-tiny", lr=0.05))
    for _ in range(20):
        optimizer.zero_grad()
        method(images, labels, {}).terms["cls"].backward()
        optimizer.step()
    for name, value in method.network.blocks.named_parameters():
        assert (value - started[name]).abs().max() > 1e-6, name


def test_the_blocks_act_in_the_prediction_too(make, batch):
    method, (images, _) = make(CCAM).eval(), batch()
    with torch.no_grad():
        asleep = method.predict(images)
        awoken = awake(method).predict(images)
    assert (awoken.logits - asleep.logits).abs().max() > 1e-3
    assert (awoken.maps - asleep.maps).abs().max() > 1e-3


def test_a_block_stands_after_its_point_whoever_asks(make, batch):
    method, (images, _) = awake(make(CCAM, points=("layer4.0",))).eval(), batch()
    network, (block,) = method.network, method.network.blocks
    with torch.no_grad():
        whole = network(images, keep=("layer4.0", "layer4.1"))
        assert torch.equal(whole.kept["layer4.0"], network.backbone(images, keep=("layer4.0",)).kept["layer4.0"])
        passed = network.backbone(block(whole.kept["layer4.0"]), start="layer4.0").last
        assert torch.equal(passed, whole.last)
        assert torch.equal(network(whole.kept["layer4.0"], start="layer4.0").last, whole.last)
        doubled = network(images, after={"layer4.0": lambda x: 2 * x}).last
        expected = network.backbone(block(2 * whole.kept["layer4.0"]), start="layer4.0").last
    assert torch.equal(doubled, expected)


def wide_block(channels=4):
    """A block in float64 whose similarities are far from even."""
    torch.manual_seed(0)
    block = ResidualNonLocal(channels).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
    return block


def literal_block(block, x):
    """Position by position, channel by channel; BatchNorm with the batch's own mean and biased variance."""
    n, channels, h, w = x.shape
    query, key, value, out = (
        layer.weight.flatten(1) for layer in (block.query, block.key, block.value, block.out)
    )  # (outputs, inputs)
    projected = torch.empty_like(x)
    places = list(itertools.product(range(h), range(w)))
    for image in range(n):
        for i, j in places:
            asked = query @ x[image, :, i, j] + block.query.bias
            weights = [math.exp(asked @ (key @ x[image, :, a, b])) for a, b in places]
            summed = sum(e * (value @ x[image, :, a, b]) for e, (a, b) in zip(weights, places, strict=True))
            projected[image, :, i, j] = out @ (summed / sum(weights))
    for c in range(channels):
        plane = projected[:, c]
        mean, variance = plane.mean(), plane.var(correction=0)
        scaled = (plane - mean) / (variance + block.norm.eps).sqrt()
        projected[:, c] = scaled * block.norm.weight[c] + block.norm.bias[c]
    return x + projected


def test_the_block_as_written():
    block, x = wide_block(), torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x), literal_block(block, x), rtol=1e-10, atol=1e-10)


def test_the_gradient_of_the_block():
    block, x = wide_block(), torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters = tuple(block.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x.requires_grad_(), *parameters))


def attention(query, key, value):
    return (query @ key.transpose(-1, -2)).softmax(dim=-1) @ value


def test_chunks_of_queries_give_the_same_and_never_keep_all_similarities():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 1, 50, d, generator=generator, dtype=torch.float64) for d in (3, 3, 2))
    inputs = tuple(each.requires_grad_() for each in (query, key, value))
    kept = []

    def attend(positions):
        kept.clear()
        with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            out = in_query_chunks(attention, *inputs, positions)
        return out, torch.autograd.grad(out.sin().sum(), inputs)

    whole, expected = attend(50)
    assert max(kept) == 2 * 50 * 50
    chunked, found = attend(25)  # 12 queries at a time, 25 * 25 // 50
    assert max(kept, default=0) < 2 * 25 * 25
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_papers_points_on_vgg16_and_points_by_name(make):
    with torch.device("meta"):
        method = CCAM(build_network(build_backbone("vgg16", 16), 2), CCAM.defaults("vgg16"))
    assert method.network.block_points == ("pool2", "pool3", "pool4", "conv5_3")
    assert [block.query.out_channels for block in method.network.blocks] == [64, 128, 256, 256]
    assert make(CCAM).network.block_points == POINTS
    assert make(CCAM, points=("layer4.0", "layer2.0")).network.block_points == ("layer2.0", "layer4.0")
    with pytest.raises(UserError, match="unknown point 'conv5_3'"):
        make(CCAM, points=("conv5_3",))


def test_what_came_from_a_weight_file_is_still_known(make):
    network = make(CAM).network
    network.pretrained = frozenset({"backbone.conv1.weight"})
    assert CCAM(network, CCAM.defaults("resnet-tiny")).network.pretrained == network.pretrained


def test_views_show_the_combined_and_the_plain_map(make, batch):
    method, (images, labels) = awake(make(CCAM)).eval(), batch()
    with torch.no_grad():
        shown = method.views(images, labels, {})
        plain = CAM(method.network, CAM.Config()).eval().predict(images, labels).maps
        combined = method.predict(images).maps
    assert list(shown) == ["combined map", "class map"]
    assert torch.equal(shown["combined map"], combined)
    assert torch.equal(shown["class map"], plain)
