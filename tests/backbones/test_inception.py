import pytest
import torch
from torch import nn
from torchvision import models

from wsolbench.backbones.inception import inception_v3
from wsolbench.backbones.registry import build_backbone
from wsolbench.network import build_network

DROPPED = ("AuxLogits.", "Mixed_7", "fc.")


def as_torchvision(trunk):
    """Set torchvision's strides and padding in a trunk of stride 8, whose pool before Mixed_6a is an identity."""
    trunk.Conv2d_1a_3x3.conv.padding = (0, 0)
    for pool in (trunk.maxpool1, trunk.maxpool2):
        pool.padding, pool.ceil_mode = 0, False
    for branch in (trunk.Mixed_6a.branch3x3, trunk.Mixed_6a.branch3x3dbl_3):
        branch.conv.stride, branch.conv.padding = (2, 2), (0, 0)
    trunk.Mixed_6a.pool.stride, trunk.Mixed_6a.pool.padding = 2, 0
    return trunk


@pytest.fixture(scope="module")
def torchvisions(picture, settle):
    torch.manual_seed(1)
    model = models.inception_v3(weights=None, aux_logits=False, init_weights=True)
    return settle(model, picture(99, n=2, seed=5))


@pytest.fixture(scope="module")
def state(torchvisions):
    return {key: value for key, value in torchvisions.state_dict().items() if not key.startswith(DROPPED)}


@pytest.mark.parametrize(
    ("stride", "size", "early", "last"),
    [
        (16, (224, 224), (28, 28), (14, 14)),
        (8, (224, 224), (28, 28), (28, 28)),
        (16, (96, 96), (12, 12), (6, 6)),
        (8, (64, 64), (8, 8), (8, 8)),
        (16, (24, 40), (3, 5), (1, 2)),
        (8, (24, 40), (3, 5), (3, 5)),
    ],
)
@torch.no_grad()
def test_map_sizes(picture, stride, size, early, last):
    backbone = build_backbone("inception_v3", stride).eval()
    features = backbone(picture(*size), keep=backbone.points)
    assert features.last.shape == (1, 768, *last)
    assert {point: value.shape[1] for point, value in features.kept.items()} == dict(backbone.points)
    for point, value in features.kept.items():
        assert value.shape[2:] == (early if point.startswith("Mixed_5") else last)


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.usefixtures("shapes_only")
def test_keys_are_torchvisions_minus_what_follows_mixed_6e(stride):
    theirs = models.inception_v3(weights=None, aux_logits=True, init_weights=False).state_dict()
    kept = {key: value.shape for key, value in theirs.items() if not key.startswith(DROPPED)}
    state = inception_v3(stride).state_dict()
    assert {key: value.shape for key, value in state.items()} == kept
    assert list(state) == list(kept)


@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.usefixtures("shapes_only")
def test_parameters_counted_by_hand(stride, classes):
    def conv(inputs, outputs, area=1):  # without bias, with a norm
        return area * inputs * outputs + 2 * outputs

    def block_a(inputs, pooled):
        double = conv(inputs, 64) + conv(64, 96, 9) + conv(96, 96, 9)
        return conv(inputs, 64) + conv(inputs, 48) + conv(48, 64, 25) + double + conv(inputs, pooled)

    def block_c(width):
        single = conv(768, width) + conv(width, width, 7) + conv(width, 192, 7)
        double = conv(768, width) + 3 * conv(width, width, 7) + conv(width, 192, 7)
        return 2 * conv(768, 192) + single + double

    stem = conv(3, 32, 9) + conv(32, 32, 9) + conv(32, 64, 9) + conv(64, 80) + conv(80, 192, 9)
    block_b = conv(288, 384, 9) + conv(288, 64) + conv(64, 96, 9) + conv(96, 96, 9)
    trunk = stem + block_a(192, 32) + block_a(256, 64) + block_a(288, 64) + block_b
    trunk += block_c(128) + 2 * block_c(160) + block_c(192)
    head = 9 * 768 * 1024 + 1024 + 9 * 1024 * 1024 + 1024 + 1024 * classes + classes
    network = build_network(build_backbone("inception_v3", stride), classes)
    assert sum(p.numel() for p in network.backbone.parameters()) == trunk == 8_965_856
    assert sum(p.numel() for p in network.head.parameters()) == head


def test_features_equal_torchvisions_at_torchvisions_strides(torchvisions, state, picture, outputs_of):
    trunk = as_torchvision(inception_v3(8)).eval()
    trunk.load_state_dict(state)
    images = picture(99, 115, n=2)
    mixed = [point for point in trunk.points if point != "pool6a"]
    wanted = outputs_of(torchvisions, mixed, images)
    with torch.no_grad():
        features = trunk(images, keep=mixed)
    assert features.last.shape == (2, 768, 4, 5)
    for point in mixed:
        assert 0.1 < wanted[point].std() < 10
        torch.testing.assert_close(features.kept[point], wanted[point], rtol=1e-5, atol=1e-5)
    assert torch.equal(features.last, features.kept["Mixed_6e"])


@torch.no_grad()
def test_torchvisions_strides_give_25_and_12_at_224(picture):
    trunk = as_torchvision(inception_v3(8)).eval()
    features = trunk(picture(224), keep=["Mixed_5d"])
    assert features.kept["Mixed_5d"].shape[2:] == (25, 25)
    assert features.last.shape[2:] == (12, 12)


@torch.no_grad()
def test_stride_16_is_stride_8_with_a_pool_before_mixed_6a(state, picture):
    coarse, fine = inception_v3(16).eval(), inception_v3(8).eval()
    coarse.load_state_dict(state)
    fine.load_state_dict(state)
    images = picture(72)
    before = fine(images, keep=["Mixed_5d", "pool6a"]).kept
    assert torch.equal(before["pool6a"], before["Mixed_5d"])
    features = coarse(images, keep=["Mixed_5d", "pool6a"])
    assert torch.equal(features.kept["Mixed_5d"], before["Mixed_5d"])
    for row in range(4):  # 9x9 to 4x4: windows of 3 from every second pixel
        for column in range(4):
            window = before["Mixed_5d"][:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert torch.equal(features.kept["pool6a"][:, :, row, column], window.amax(dim=(2, 3)))
    assert torch.equal(fine(features.kept["pool6a"], start="pool6a").last, features.last)


@torch.no_grad()
def test_the_pool_keeps_a_last_odd_window(picture):
    backbone = inception_v3(16).eval()
    kept = backbone(picture(64), keep=["Mixed_5d", "pool6a"]).kept  # 8x8 to 4x4: the last window is cut
    assert torch.equal(kept["pool6a"][:, :, -1, -1], kept["Mixed_5d"][:, :, 6:, 6:].amax(dim=(2, 3)))


def test_weights_start_as_torchvisions():
    torch.manual_seed(0)
    backbone = inception_v3(16)
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is None
            assert layer.weight.std().item() == pytest.approx(0.1, rel=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.eps == 0.001


@pytest.mark.usefixtures("shapes_only")
def test_roles_and_the_references_fast_parameters():
    network = build_network(inception_v3(16), 3)
    assert network.roles["insertion"] == ("Mixed_5d", "Mixed_6e", "A3_2b")
    assert network.roles["guidance"] == ("pool6a", "Mixed_6e")
    assert {point for role in network.roles.values() for point in role} <= set(network.points)
    assert list(network.points)[:5] == ["Mixed_5b", "Mixed_5c", "Mixed_5d", "pool6a", "Mixed_6a"]
    assert list(network.points)[-3:] == ["Mixed_6e", "A3_1b", "A3_2b"]
    fast = {name for name, _ in network.named_parameters() if network.backbone.reference_is_fast(name)}
    assert fast == {f"head.{layer}.{part}" for layer in ("A3_1b", "A3_2b", "A4") for part in ("weight", "bias")}


@pytest.mark.usefixtures("shapes_only")
def test_there_are_no_pools_of_2x2_to_overlap():
    backbone = inception_v3(16)
    before = repr(backbone)
    backbone.overlap_pools()
    assert repr(backbone) == before
