"""Every point of every backbone and of its head can be kept, changed and started from."""

import pytest
import torch

from wsolbench.backbones.registry import BACKBONES, build_backbone
from wsolbench.network import build_network

SIDE = 32


@pytest.fixture(scope="module", params=BACKBONES)
def network(request, picture, settle):
    """The network at stride 8; settled, so that no point is all zero or too large for an effect to show."""
    torch.manual_seed(0)
    return settle(build_network(build_backbone(request.param, 8), 3), picture(SIDE, n=8, seed=9))


@pytest.fixture(scope="module")
def images(picture):
    return picture(SIDE, n=2)


@pytest.fixture(scope="module")
def plain(network, images):
    with torch.no_grad():
        return network(images, keep=network.points)


def test_the_points_run_in_their_order_and_have_their_channels(network, plain):
    assert list(plain.kept) == list(network.points)
    assert {point: value.shape[1] for point, value in plain.kept.items()} == dict(network.points)
    assert {point for role in network.roles.values() for point in role} <= set(network.points)
    for role in network.roles.values():
        assert list(role) == sorted(role, key=list(network.points).index)  # early to late
    assert all(value.std() > 0 for value in plain.kept.values())


@torch.no_grad()
def test_a_point_is_the_same_kept_alone_or_with_the_others(network, images, plain):
    for point in network.points:
        alone = network(images, keep=[point]).kept
        assert list(alone) == [point]
        assert torch.equal(alone[point], plain.kept[point]), point


@torch.no_grad()
def test_an_effect_changes_what_follows_and_nothing_before(network, images, plain):
    names = list(network.points)
    for index, point in enumerate(names):
        changed = network(images, keep=names, after={point: lambda x: x.flip(3)})
        for name in names[: index + 1]:  # the point's own value is that before the effect
            assert torch.equal(changed.kept[name], plain.kept[name]), (point, name)
        later = [changed.kept[name] for name in names[index + 1 :]] + [changed.last]
        wanted = [plain.kept[name] for name in names[index + 1 :]] + [plain.last]
        assert not any(torch.equal(a, b) for a, b in zip(later, wanted, strict=True)), point


@torch.no_grad()
def test_a_start_is_the_rest_of_the_whole_pass(network, images, plain):
    for point in network.points:
        value = plain.kept[point].clone()
        assert torch.equal(network(value, start=point).last, plain.last), point
        assert torch.equal(value, plain.kept[point]), point  # no in-place ReLU reaches it
        effect = {point: torch.sin}
        assert torch.equal(network(value.sin(), start=point).last, network(images, after=effect).last), point


def test_effects_leave_the_keys_alone(network, images):
    keys = list(network.state_dict())
    last = network(images, keep=network.points, after=dict.fromkeys(network.points, torch.sin)).last
    last.sum().backward()
    assert list(network.state_dict()) == keys


@torch.no_grad()
def test_an_image_does_not_depend_on_the_rest_of_the_batch(network, images, plain):
    alone = network(images[:1], keep=network.points)
    for point, value in alone.kept.items():
        torch.testing.assert_close(value, plain.kept[point][:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["vgg16", "inception_v3"])
def test_a_pass_compiles_without_a_graph_break(name, picture, settle):
    torch.manual_seed(0)
    network = settle(build_network(build_backbone(name, 16), 3), picture(SIDE, n=8))
    effects = dict.fromkeys(network.roles["insertion"], torch.sin)

    def run(images, labels):
        features = network(images, after=effects).last
        return network.logits(features), network.class_maps(features, labels)

    images, labels = picture(SIDE, n=2), torch.tensor([2, 0])
    compiled = torch.compile(run, backend="eager", fullgraph=True)(images, labels)
    torch.compiler.reset()
    assert all(torch.equal(ours, plain) for ours, plain in zip(compiled, run(images, labels), strict=True))
