import pytest
import torch

from wsolbench.backbones.base import run_steps
from wsolbench.backbones.registry import build_backbone
from wsolbench.heads import GapHead
from wsolbench.network import build_network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(build_backbone("resnet-tiny", 4), 3).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def test_logits_by_hand():
    head = GapHead(2, 3)
    with torch.no_grad():
        head.fc.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        head.fc.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]])  # channel means 2 and 4
    assert head.logits(features).tolist() == [[2.5, 8.0, 5.0]]
    assert head.class_maps(features, torch.tensor([1])).tolist() == [[[4.0, 12.0]]]
    assert head.class_maps(features, torch.tensor([2])).tolist() == [[[3.0, 9.0]]]


def test_each_image_gets_the_map_of_its_own_label():
    torch.manual_seed(0)
    head, features = GapHead(4, 3), torch.randn(3, 4, 2, 2)
    maps = head.class_maps(features, torch.tensor([2, 0, 2]))
    for image, label in enumerate((2, 0, 2)):
        alone = head.class_maps(features[image : image + 1], torch.tensor([label]))
        torch.testing.assert_close(maps[image : image + 1], alone, rtol=1e-6, atol=1e-6)


def test_logits_and_maps_are_float32_under_autocast():
    torch.manual_seed(0)
    head, features = GapHead(4, 3), torch.randn(2, 4, 3, 3).bfloat16()
    labels = torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        logits, maps = head.logits(features), head.class_maps(features, labels)
    assert logits.dtype == maps.dtype == torch.float32
    pooled = features.mean(dim=(2, 3)).float()
    torch.testing.assert_close(logits, pooled @ head.fc.weight.T + head.fc.bias, rtol=1e-5, atol=1e-6)


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
