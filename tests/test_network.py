import pytest
import torch

from wsolbench.backbones.base import run_steps
from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.heads import ConvGapHead, DeepConvHead, GapHead
from wsolbench.network import build_network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(build_backbone("resnet-tiny", 4), 3).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_network_is_trunk_then_head(network, images):
    trunk = network.backbone(images)
    assert torch.equal(network(images).last, trunk.last)
    assert trunk.last.shape == (2, 64, 4, 6)  # H before W
    assert network.logits(trunk.last).shape == (2, 3)
    assert network.num_classes == 3
    assert network.points == network.backbone.points
    assert network.roles == network.backbone.roles


@torch.no_grad()
def test_effects_kept_values_and_reruns_pass_through(network, images):
    full = network(images, keep=["layer3.0"], after={"layer3.0": torch.sin})
    rerun = network(full.kept["layer3.0"].sin(), start="layer3.0")
    assert torch.equal(rerun.last, full.last)
    assert not torch.equal(full.last, network(images).last)


def test_keys_say_where_a_parameter_lies(network):
    assert {key.partition(".")[0] for key in network.state_dict()} == {"backbone", "head"}
    assert {key for key in network.state_dict() if key.startswith("head.")} == {"head.fc.weight", "head.fc.bias"}
    assert network.pretrained == frozenset()


@torch.no_grad()
def test_another_head_shares_the_trunk_and_its_provenance(network, images):
    network.pretrained = frozenset({"backbone.conv1.weight"})
    other = network.with_head(DeepConvHead(64, 3, width=8)).eval()
    assert other.backbone is network.backbone
    assert other.head is not network.head
    assert other.pretrained == network.pretrained
    assert other.num_classes == 3
    assert list(other.points) == [*network.points, "A3_1b", "A3_2b"]
    features = other(images, keep=["layer4.1"])
    assert torch.equal(features.kept["layer4.1"], network(images).last)
    assert features.last.shape == (2, 8, 4, 6)
    assert other.logits(features.last).shape == (2, 3)


@torch.no_grad()
def test_effects_and_starts_reach_the_heads_points(network, images):
    deep = network.with_head(DeepConvHead(64, 3, width=8)).eval()
    kept = deep(images, keep=["A3_1b"]).kept["A3_1b"]
    assert torch.equal(deep(kept, start="A3_1b").last, deep(images).last)
    assert torch.equal(deep(images, after={"A3_2b": torch.neg}).last, -deep(images).last)


def test_points_are_chosen_by_name_early_to_late(network):
    assert network.choose(["layer4.1", "layer2.0"], "insertion") == ("layer2.0", "layer4.1")
    assert network.choose([], "insertion") == network.roles["insertion"]
    with pytest.raises(UserError, match="unknown point 'layer4.2'; did you mean 'layer4"):
        network.choose(["layer4.2"], "insertion")
    with pytest.raises(UserError, match="points=layer4.1,layer4.1 names a point twice; give it once"):
        network.choose(["layer4.1", "layer4.1"], "insertion")


def test_the_cam_head_is_the_backbones_own():
    kinds = {"vgg16": ConvGapHead, "inception_v3": DeepConvHead, "resnet50": GapHead}
    for name, kind in kinds.items():
        with torch.device("meta"):
            network = build_network(build_backbone(name, 16), 7)
        assert type(network.head) is kind
        assert network.head.classifier()[0].shape[0] == network.num_classes == 7


def test_maps_and_logits_are_the_heads(network, images):
    with torch.no_grad():
        features = network(images).last
        labels, mix = torch.tensor([2, 0]), torch.tensor([[1.0, -1, 0.5], [0, 2, 1]])
        assert torch.equal(network.logits(features), network.head.logits(features))
        assert torch.equal(network.class_maps(features, labels), network.head.class_maps(features, labels))
        assert torch.equal(network.mixed_maps(features, mix), network.head.mixed_maps(features, mix))


def test_steps_run_in_order_and_only_what_follows_the_start():
    steps = [("a", lambda x: x + 1), (None, lambda x: 10 * x), ("b", lambda x: x + 2)]
    one = torch.tensor(1.0)
    result = run_steps(steps, one, after={"a": lambda x: -x}, keep=("a", "b"), start=None)
    assert result.last == -18
    assert result.kept == {"a": 2, "b": -18}
    result = run_steps(steps, one, after={"b": lambda x: -x}, keep=(), start="a")
    assert result.last == -12
    assert result.kept == {}
    assert run_steps(steps, one, after={}, keep=(), start="b").last == 1


@torch.no_grad()
def test_a_tap_acts_last_at_its_point_while_it_is_open(network, images):
    plain = network(images, after={"layer3.0": torch.sin}).last
    seen = []

    def double(x):
        seen.append(x)
        return 2 * x

    with network.tap("layer3.0", double):
        tapped = network(images, after={"layer3.0": torch.sin}, keep=["layer3.0"])
        network(images)
        network(tapped.kept["layer3.0"], start="layer3.0")  # what precedes the start is not passed
    expected = network(images, after={"layer3.0": lambda x: 2 * x.sin()}, keep=["layer3.0"])
    assert torch.equal(tapped.last, expected.last)
    assert torch.equal(seen[0], expected.kept["layer3.0"].sin())
    assert torch.equal(seen[1], expected.kept["layer3.0"])
    assert len(seen) == 2
    assert torch.equal(network(images, after={"layer3.0": torch.sin}).last, plain)


def test_a_tap_is_closed_when_something_fails(network, images):
    with pytest.raises(KeyError), network.tap("layer3.0", torch.sin):
        raise KeyError
    with torch.no_grad(), network.tap("layer3.0", torch.cos):  # free again
        assert network(images).last.isfinite().all()
