import pytest
import torch
from torch import nn
from torchvision import models

from wsolbench.backbones.registry import build_backbone
from wsolbench.backbones.vgg import vgg16
from wsolbench.network import build_network

TORCHVISIONS = {"pool1": 4, "pool2": 9, "pool3": 16, "conv4_3": 22, "pool4": 23, "conv5_3": 29}


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return vgg16(16).eval()


@pytest.fixture(scope="module")
def torchvisions(trunk):
    """Build torchvision's layers up to conv5_3, with our values."""
    layers = models.vgg.make_layers(models.vgg.cfgs["D"])[:30]
    layers.load_state_dict({key.removeprefix("features."): value for key, value in trunk.state_dict().items()})
    return layers.eval()


@pytest.mark.parametrize(
    ("stride", "size", "pool4", "last"),
    [
        (16, (224, 224), (14, 14), (14, 14)),
        (8, (224, 224), (28, 28), (28, 28)),
        (16, (96, 96), (6, 6), (6, 6)),
        (8, (64, 64), (8, 8), (8, 8)),
        (16, (24, 40), (1, 2), (1, 2)),
        (8, (24, 40), (3, 5), (3, 5)),
    ],
)
@torch.no_grad()
def test_map_sizes(picture, stride, size, pool4, last):
    backbone = build_backbone("vgg16", stride).eval()
    features = backbone(picture(*size), keep=backbone.points)
    assert features.last.shape == (1, 512, *last)
    assert {point: value.shape[1] for point, value in features.kept.items()} == dict(backbone.points)
    for number, point in enumerate(("pool1", "pool2", "pool3"), start=1):
        assert features.kept[point].shape[2:] == (size[0] >> number, size[1] >> number)
    assert features.kept["conv4_3"].shape[2:] == (size[0] // 8, size[1] // 8)
    assert features.kept["pool4"].shape[2:] == pool4


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.usefixtures("shapes_only")
def test_keys_are_torchvisions_minus_the_classifier(stride):
    expected = {key: value.shape for key, value in models.vgg16(weights=None).state_dict().items()}
    kept = {key: shape for key, shape in expected.items() if not key.startswith("classifier.")}
    state = vgg16(stride).state_dict()
    assert {key: value.shape for key, value in state.items()} == kept
    assert list(state) == list(kept)


@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.usefixtures("shapes_only")
def test_parameters_counted_by_hand(stride, classes):
    def conv(inputs, outputs):
        return 9 * inputs * outputs + outputs

    trunk = conv(3, 64) + conv(64, 64) + conv(64, 128) + conv(128, 128)
    trunk += conv(128, 256) + 2 * conv(256, 256) + conv(256, 512) + 5 * conv(512, 512)
    network = build_network(build_backbone("vgg16", stride), classes)
    assert sum(p.numel() for p in network.backbone.parameters()) == trunk == 14_714_688
    assert sum(p.numel() for p in network.head.parameters()) == conv(512, 1024) + 1024 * classes + classes


def test_features_equal_torchvisions(trunk, torchvisions, picture, outputs_of):
    images = picture(48, 64, n=2)
    wanted = outputs_of(torchvisions, [str(index) for index in TORCHVISIONS.values()], images)
    with torch.no_grad():
        features = trunk(images, keep=trunk.points)
    for point, index in TORCHVISIONS.items():
        torch.testing.assert_close(features.kept[point], wanted[str(index)], rtol=1e-6, atol=1e-6)
    assert features.last.std() > 0.01
    assert torch.equal(features.last, features.kept["conv5_3"])


def test_stride_8_is_stride_16_without_the_fourth_pool(trunk, torchvisions, picture):
    images = picture(32)
    fine = vgg16(8).eval()
    fine.load_state_dict(trunk.state_dict())
    with torch.no_grad():
        features = fine(images, keep=["conv4_3", "pool4"])
        wanted = torchvisions[24:](torchvisions[:23](images))
    assert torch.equal(features.kept["pool4"], features.kept["conv4_3"])
    torch.testing.assert_close(features.last, wanted, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_point_lies_after_the_relu_and_is_not_overwritten(trunk, picture):
    images = picture(32)
    kept = trunk(images, keep=["conv4_3", "conv5_3"]).kept
    assert all(value.min() == 0 for value in kept.values())
    rerun = trunk(images, after={"conv4_3": lambda x: x - 100}, keep=["conv4_3", "pool4"]).kept
    assert torch.equal(rerun["conv4_3"], kept["conv4_3"])  # the value before the effect
    assert rerun["pool4"].max() < 0


def pools(backbone):
    return [
        (layer.kernel_size, layer.stride, layer.padding)
        for layer in backbone.features
        if isinstance(layer, nn.MaxPool2d)
    ]


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize(
    ("points", "changed"), [(None, (0, 1, 2, 3)), (("pool4",), (3,)), (("pool1", "pool3"), (0, 2))]
)
@pytest.mark.usefixtures("shapes_only")
def test_pools_become_overlapping_and_the_identity_stays(stride, points, changed):
    backbone = vgg16(stride)
    before = list(backbone.state_dict())
    backbone.overlap_pools(points)
    expected = [(3, 2, 1) if index in changed else (2, 2, 0) for index in range(4)]
    assert pools(backbone) == (expected if stride == 16 else expected[:3])
    assert list(backbone.state_dict()) == before
    assert isinstance(backbone.features[23], nn.MaxPool2d if stride == 16 else nn.Identity)


@pytest.mark.parametrize("size", [224, 64])
@torch.no_grad()
def test_overlapping_pools_keep_even_map_sizes(picture, size):
    backbone = vgg16(16).eval()
    backbone.overlap_pools()
    first = nn.Sequential(*backbone.features[:5])(picture(size))
    assert first.shape == (1, 64, size // 2, size // 2)
    if size == 64:
        assert backbone(picture(64)).last.shape == (1, 512, 4, 4)


def test_overlapping_pools_by_hand():
    backbone = vgg16(16)
    backbone.overlap_pools(("pool1",))
    x = torch.tensor([[[[1.0, 2.0, 9.0, 3.0], [0.0, 4.0, 5.0, 6.0]]]])
    assert backbone.features[4](x).tolist() == [[[[4.0, 9.0]]]]  # the windows' columns are 0-1 and 1-3


def test_weights_start_he_normal_with_zero_biases():
    torch.manual_seed(0)
    backbone = vgg16(16)
    for layer in backbone.features:
        if isinstance(layer, nn.Conv2d):
            std = (2 / (9 * layer.out_channels)) ** 0.5
            assert layer.weight.std().item() == pytest.approx(std, rel=0.08)
            assert layer.bias.abs().max() == 0


@pytest.mark.usefixtures("shapes_only")
def test_roles_and_the_references_fast_parameters():
    network = build_network(vgg16(16), 3)
    assert network.roles["insertion"] == ("pool3", "pool4", "conv5_3")
    assert network.roles["guidance"] == ("pool4", "conv5_3")
    assert list(network.points) == [*TORCHVISIONS, "conv6"]
    fast = {name for name, _ in network.named_parameters() if network.backbone.reference_is_fast(name)}
    assert fast == {"head.conv6.weight", "head.conv6.bias", "head.fc.weight", "head.fc.bias"}
    assert network.backbone.reference_is_fast("attentions.0.query.weight")
