import pytest
import torch
from torch import nn
from torchvision import models

from wsolbench.backbones import resnet
from wsolbench.backbones.registry import BACKBONES, backbone_entry, build_backbone
from wsolbench.errors import UserError
from wsolbench.network import build_network

TORCHVISION = {"resnet18": (resnet.resnet18, models.resnet18), "resnet50": (resnet.resnet50, models.resnet50)}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return build_backbone("resnet-tiny", 4).eval()


@pytest.mark.parametrize(
    ("name", "stride", "size", "side"),
    [
        ("resnet50", 16, 224, 14),
        ("resnet50", 8, 224, 28),
        ("resnet50", 16, 64, 4),
        ("resnet50", 8, 64, 8),
        ("resnet18", 16, 224, 14),
        ("resnet18", 8, 224, 28),
        ("resnet18", 4, 64, 16),
        ("resnet-tiny", 8, 64, 8),
        ("resnet-tiny", 4, 64, 16),
        ("resnet-tiny", 8, 224, 28),
    ],
)
@torch.no_grad()
def test_map_sizes(picture, name, stride, size, side):
    backbone = build_backbone(name, stride).eval()
    features = backbone(picture(size), keep=backbone.points)
    assert features.last.shape == (1, backbone.channels, side, side)
    assert {point: value.shape[1] for point, value in features.kept.items()} == dict(backbone.points)
    last_points = [features.kept[point].shape[-1] for point in backbone.roles["insertion"]]
    assert last_points[-1] == side


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.usefixtures("shapes_only")
def test_keys_are_torchvisions_minus_the_classifier(name):
    ours, theirs = TORCHVISION[name]
    expected = {key: value.shape for key, value in theirs(weights=None).state_dict().items()}
    kept = {key: shape for key, shape in expected.items() if not key.startswith("fc.")}
    for stride in (4, 8, 16, 32):
        state = ours(stride).state_dict()
        assert {key: value.shape for key, value in state.items()} == kept
        assert list(state) == list(kept)


@pytest.mark.parametrize("name", TORCHVISION)
def test_features_equal_torchvisions_at_torchvisions_strides(name, picture, settle, outputs_of):
    ours, theirs = TORCHVISION[name]
    torch.manual_seed(1)
    reference = settle(theirs(weights=None), picture(96, n=2, seed=5))
    trunk = ours(32).eval()
    trunk.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    images = picture(96, n=2)
    wanted = outputs_of(reference, trunk.points, images)
    with torch.no_grad():
        features = trunk(images, keep=trunk.points)
    for point in trunk.points:
        assert 0.1 < wanted[point].std() < 10
        torch.testing.assert_close(features.kept[point], wanted[point], rtol=1e-6, atol=1e-6)
    assert torch.equal(features.last, features.kept[list(trunk.points)[-1]])


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.usefixtures("shapes_only")
def test_a_finer_stride_changes_strides_only(name):
    ours, _ = TORCHVISION[name]
    strides = {}
    for total in (32, 16, 8):
        trunk = ours(total)
        strides[total] = {k: m.stride[0] for k, m in trunk.named_modules() if isinstance(m, nn.Conv2d)}
        assert all(m.dilation == (1, 1) for m in trunk.modules() if isinstance(m, nn.Conv2d))
    changed = {k.split(".")[0] for k in strides[32] if strides[32][k] != strides[16][k]}
    assert changed == {"layer4"}
    assert {k.split(".")[0] for k in strides[16] if strides[16][k] != strides[8][k]} == {"layer3"}
    assert all(strides[16][f"layer4.0.{part}"] == 1 for part in ("conv2", "downsample.0"))


@pytest.mark.usefixtures("shapes_only")
def test_the_points_are_the_blocks_early_to_late_and_the_insertion_points_the_cards():
    assert list(resnet.resnet50(16).points.items())[::4] == [
        ("layer1.0", 256),
        ("layer2.1", 512),
        ("layer3.1", 1024),
        ("layer3.5", 1024),
    ]
    assert resnet.resnet50(16).roles["insertion"] == ("layer3.0", "layer4.0", "layer4.2")
    assert resnet.resnet18(16).roles["insertion"] == ("layer3.0", "layer4.0", "layer4.1")
    assert resnet.resnet_tiny(8).roles["insertion"] == ("layer3.0", "layer4.0", "layer4.1")


@pytest.mark.parametrize(
    "argument", [{"after": {"layer9.0": torch.relu}}, {"keep": ["layer9.0"]}, {"start": "layer9.0"}]
)
def test_an_unknown_point_is_named_with_those_that_exist(tiny, picture, argument):
    with pytest.raises(ValueError, match="no point 'layer9.0'.*layer1.0, layer2.0, layer3.0, layer4.0, layer4.1"):
        tiny(picture(16), **argument)


@pytest.mark.parametrize("stride", [4, 8])
def test_the_tiny_resnet_has_the_parameters_counted_by_hand(stride):
    stem = 3 * 16 * 9 + 2 * 16
    layer1 = 2 * 16 * 16 * 9 + 2 * 32 + 16 * 16 + 32  # two convolutions, two norms, and a downsampling with its norm
    layer2 = 16 * 32 * 9 + 32 * 32 * 9 + 2 * 64 + 16 * 32 + 64
    layer3 = 32 * 64 * 9 + 64 * 64 * 9 + 2 * 128 + 32 * 64 + 128
    layer4 = 2 * (2 * 64 * 64 * 9 + 2 * 128)  # two blocks that keep size and channels
    parameters = resnet.resnet_tiny(stride).parameters()
    assert sum(p.numel() for p in parameters) == stem + layer1 + layer2 + layer3 + layer4 == 225_648


@pytest.mark.usefixtures("shapes_only")
def test_the_large_resnets_have_the_parameters_counted_by_hand():
    def norm(channels):
        return 2 * channels

    def bottleneck(inputs, width, first=False):
        wide = 4 * width
        convs = inputs * width + 9 * width * width + width * wide
        shortcut = inputs * wide + norm(wide) if first else 0
        return convs + 2 * norm(width) + norm(wide) + shortcut

    def basic(inputs, width):
        shortcut = inputs * width + norm(width) if inputs != width else 0
        return 9 * inputs * width + 9 * width * width + 2 * norm(width) + shortcut

    stem = 3 * 64 * 49 + norm(64)
    trunk50 = stem
    for inputs, width, depth in ((64, 64, 3), (256, 128, 4), (512, 256, 6), (1024, 512, 3)):
        trunk50 += bottleneck(inputs, width, first=True) + (depth - 1) * bottleneck(4 * width, width)
    trunk18 = stem + sum(basic(i, w) + basic(w, w) for i, w in ((64, 64), (64, 128), (128, 256), (256, 512)))
    for name, trunk, channels in (("resnet50", trunk50, 2048), ("resnet18", trunk18, 512)):
        for stride in (16, 8):
            for classes in (2, 1000):
                network = build_network(build_backbone(name, stride), classes)
                assert sum(p.numel() for p in network.backbone.parameters()) == trunk
                assert sum(p.numel() for p in network.head.parameters()) == channels * classes + classes
    assert (trunk50, trunk18) == (25_557_032 - 2_049_000, 11_689_512 - 513_000)  # torchvision's, without fc


@pytest.mark.usefixtures("shapes_only")
def test_roles_and_the_references_fast_parameters():
    network = build_network(resnet.resnet50(16), 3)
    assert network.roles["guidance"] == ("layer3.0", "layer3.5")
    for name, _ in network.named_parameters():
        assert network.backbone.reference_is_fast(name) == name.startswith(("backbone.layer4.", "head.fc.")), name
    assert not network.backbone.reference_is_fast("attentions.0.query.weight")  # layers of other names are slow there


@pytest.mark.usefixtures("shapes_only")
def test_there_are_no_pools_of_2x2_to_overlap():
    backbone = resnet.resnet50(16)
    before = repr(backbone)
    backbone.overlap_pools()
    assert repr(backbone) == before


@pytest.mark.usefixtures("shapes_only")
def test_every_listed_stride_builds_and_others_are_refused():
    for name, entry in BACKBONES.items():
        for stride in entry.strides:
            assert build_backbone(name, stride).channels > 0
    with pytest.raises(UserError, match="--feature-map 16 is not available for resnet-tiny; expected one of 8, 4"):
        build_backbone("resnet-tiny", 16)
    with pytest.raises(UserError, match="unknown backbone 'resnet5'; did you mean 'resnet50'"):
        backbone_entry("resnet5")
