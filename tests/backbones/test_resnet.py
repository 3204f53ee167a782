import pytest
import torch
from torch import nn
from torchvision import models

from wsolbench.backbones import resnet
from wsolbench.backbones.registry import BACKBONES, backbone_entry, build_backbone
from wsolbench.errors import UserError

TORCHVISION = {"resnet18": (resnet.resnet18, models.resnet18), "resnet50": (resnet.resnet50, models.resnet50)}


def picture(size, n=1, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def shapes_only():
    """Build modules without values: no memory, no time."""
    with torch.device("meta"):
        yield


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
def test_map_sizes(name, stride, size, side):
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
def test_features_equal_torchvisions_at_torchvisions_strides(name):
    ours, theirs = TORCHVISION[name]
    torch.manual_seed(1)
    reference = theirs(weights=None)
    for module in reference.modules():  # statistics that matter
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    reference.eval()
    trunk = ours(32).eval()
    trunk.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    images = picture(96, n=2)
    wanted = {}
    for number in (1, 2, 3, 4):
        stage = getattr(reference, f"layer{number}")
        stage.register_forward_hook(lambda module, args, output, n=number: wanted.update({n: output.clone()}))
    with torch.no_grad():
        reference(images)
        last_blocks = {n: [p for p in trunk.points if p.startswith(f"layer{n}.")][-1] for n in (1, 2, 3, 4)}
        features = trunk(images, keep=last_blocks.values())
    for number, point in last_blocks.items():
        torch.testing.assert_close(features.kept[point], wanted[number], rtol=1e-6, atol=1e-6)
    assert torch.equal(features.last, features.kept[last_blocks[4]])


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


@torch.no_grad()
def test_a_kept_value_is_the_one_before_the_effect(tiny):
    images = picture(16)
    plain = tiny(images, keep=["layer2.0", "layer3.0"])
    changed = tiny(images, keep=["layer2.0", "layer3.0"], after={"layer2.0": lambda x: 2 * x})
    assert torch.equal(changed.kept["layer2.0"], plain.kept["layer2.0"])
    assert not torch.equal(changed.kept["layer3.0"], plain.kept["layer3.0"])
    assert plain.kept["layer2.0"].min() >= 0  # a point lies after the ReLU


@torch.no_grad()
def test_an_effect_at_the_last_point_is_the_result(tiny):
    images = picture(16)
    plain = tiny(images)
    changed = tiny(images, keep=["layer4.1"], after={"layer4.1": lambda x: -x})
    assert torch.equal(changed.last, -plain.last)
    assert torch.equal(changed.kept["layer4.1"], plain.last)


@torch.no_grad()
@pytest.mark.parametrize("point", ["layer1.0", "layer3.0", "layer4.1"])
def test_a_rerun_from_a_point_equals_the_full_run(tiny, point):
    images = picture(16, n=2)

    def erase(x):
        return x * (x < 0.5 * x.amax())

    kept = tiny(images, keep=[point]).kept[point]
    before = kept.clone()
    assert torch.equal(tiny(kept, start=point).last, tiny(images).last)
    assert torch.equal(tiny(erase(kept), start=point).last, tiny(images, after={point: erase}).last)
    assert torch.equal(kept, before)  # the rerun's in-place ReLUs leave it alone


@pytest.mark.parametrize(
    "argument", [{"after": {"layer9.0": torch.relu}}, {"keep": ["layer9.0"]}, {"start": "layer9.0"}]
)
def test_an_unknown_point_is_named_with_those_that_exist(tiny, argument):
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
def test_every_listed_stride_builds_and_others_are_refused():
    for name, entry in BACKBONES.items():
        for stride in entry.strides:
            assert build_backbone(name, stride).channels > 0
    with pytest.raises(UserError, match="--feature-map 16 is not available for resnet-tiny; expected one of 8, 4"):
        build_backbone("resnet-tiny", 16)
    with pytest.raises(UserError, match="unknown backbone 'resnet5'; did you mean 'resnet50'"):
        backbone_entry("resnet5")
