import math

import pytest
import torch
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.config import override, sample
from wsolbench.errors import UserError
from wsolbench.methods.cam import CAM
from wsolbench.methods.spg import SPG, SPGConfig, guidance, guided_loss
from wsolbench.network import build_network


def attention_map(*runs):
    """A 6x6 map from (how often, value), row by row."""
    values = [value for count, value in runs for _ in range(count)]
    return torch.tensor(values, dtype=torch.float64).view(1, 6, 6)


def marks(attention, low, high):
    """How many pixels are foreground, ignored and background, for each value that the map takes."""
    target, values = guidance(attention, low, high), attention.unique().tolist()
    return {value: target[attention == value].unique().tolist() for value in values}


def test_thirty_pixels_above_the_high_threshold_are_enough():
    attention = attention_map((30, 0.8), (3, 0.6), (1, 0.5), (2, 0.2))
    assert marks(attention, 0.3, 0.7) == {0.8: [1], 0.6: [0.5], 0.5: [0.5], 0.2: [0]}


def test_with_fewer_than_thirty_the_foreground_exceeds_a_share_of_the_maximum():
    attention = attention_map((29, 0.8), (3, 0.6), (1, 0.55), (3, 0.2))  # 0.7 * 0.8 = 0.56
    assert marks(attention, 0.3, 0.7) == {0.8: [1], 0.6: [1], 0.55: [0.5], 0.2: [0]}


def test_every_image_has_its_own_count_and_maximum():
    many, few = attention_map((30, 0.8), (6, 0.6)), attention_map((29, 0.8), (7, 0.6))
    weak = attention_map((1, 0.5), (5, 0.36), (30, 0.34))  # nothing above 0.7; 0.7 * 0.5 = 0.35
    together = guidance(torch.cat([many, few, weak]), 0.3, 0.7)
    assert together.flatten(1).sum(dim=1).tolist() == [30 + 3, 36, 6 + 15]
    for alone, row in zip((many, few, weak), together, strict=True):
        assert torch.equal(guidance(alone, 0.3, 0.7)[0], row)


def test_background_is_laid_over_the_foreground():
    attention = attention_map((1, 0.2), (5, 0.15), (30, 0.1))  # above 0.7 * 0.2 = 0.14, but below 0.16
    assert marks(attention, 0.16, 0.7) == {0.2: [1], 0.15: [0], 0.1: [0]}
    assert marks(attention, 0.3, 0.7) == {0.2: [0], 0.15: [0], 0.1: [0]}
    assert guidance(torch.zeros(1, 6, 6), 0.05, 0.7).eq(0).all()


def test_both_thresholds_are_strict():
    attention = attention_map((30, 0.75), (2, 0.5), (2, 0.25), (2, 0.125))
    assert marks(attention, 0.25, 0.5) == {0.75: [1], 0.5: [0.5], 0.25: [0.5], 0.125: [0]}
    assert guidance(attention_map((36, 0.5)), 0.5, 0.5).eq(1).all()  # none above 0.5; all exceed 0.7 of the maximum


def test_the_loss_is_the_mean_over_sure_pixels():
    logits = torch.tensor([[[0.0, 2.0]], [[-1.0, 50.0]]], dtype=torch.float64)
    target = torch.tensor([[[1.0, 0.0]], [[0.5, 1.0]]], dtype=torch.float64)
    expected = (math.log(2) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(-50))) / 3
    assert guided_loss(logits, target).item() == pytest.approx(expected, rel=1e-14)


def test_without_a_sure_pixel_the_loss_and_its_gradient_are_zero():
    logits = torch.tensor([[[3.0, math.inf]]], requires_grad=True)
    loss = guided_loss(logits, torch.full((1, 1, 2), 0.5))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.flatten().tolist() == [0, 0]


def test_the_gradient_of_the_loss():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    target = guidance(logits.sigmoid(), 0.3, 0.6)
    assert set(target.unique().tolist()) == {0, 0.5, 1}
    assert torch.autograd.gradcheck(lambda x: guided_loss(x, target), (logits,))


@pytest.fixture
def method(make):
    # with these thresholds every target of an untrained network has every kind of pixel
    return make(SPG, low_1=0.3, high_1=0.6, low_2=0.48, high_2=0.5, low_3=0.48, high_3=0.5)


def reached(method, term):
    """Prefixes of the parameters outside the trunk to which a term's gradient flows."""
    named = [(name, value) for name, value in method.named_parameters() if ".backbone." not in name]
    values = torch.autograd.grad(term, [value for _, value in named], retain_graph=True, allow_unused=True)
    return {
        name.split(".")[0]
        for (name, _), value in zip(named, values, strict=True)
        if value is not None and value.abs().max() > 0
    }


def test_a_target_passes_no_gradient(method, batch):
    images, labels = batch()
    terms = method.losses(images, labels, {}).terms
    assert list(terms) == ["cls", "b2", "b1", "c"]
    assert reached(method, terms["cls"]) == {"network"}
    assert reached(method, terms["b2"]) == {"b2", "b_shared"}
    assert reached(method, terms["b1"]) == {"b1", "b_shared"}
    assert reached(method, terms["c"]) == {"c"}


def test_who_guides_whom(method, batch):
    images, labels = batch()
    method.eval()
    with torch.no_grad():
        shown, terms = method.views(images, labels, {}), method.losses(images, labels, {}).terms
        raw = method.network.class_maps(method.network(images).last, labels)
    assert list(shown) == ["class map", "target of B2", "B2", "target of B1", "B1", "target of C", "C"]
    assert all(view.shape == (4, 32, 32) for view in shown.values())
    wide = functional.interpolate(raw[:, None], size=(32, 32), mode="bilinear")[:, 0].flatten(1)
    scaled = (wide - wide.amin(1, keepdim=True)) / (wide.amax(1, keepdim=True) - wide.amin(1, keepdim=True))
    torch.testing.assert_close(shown["class map"].flatten(1), scaled)
    assert torch.equal(shown["target of B2"], guidance(shown["class map"], 0.3, 0.6))
    assert torch.equal(shown["target of B1"], guidance(shown["B2"], 0.48, 0.5))
    assert torch.equal(shown["target of C"], guidance((shown["B1"] + shown["B2"]) / 2, 0.48, 0.5))
    for name in ("B2", "B1", "C"):
        target, said = shown[f"target of {name}"], shown[name]
        sure = target != 0.5
        assert set(target.unique().tolist()) == {0, 0.5, 1}, name
        expected = functional.binary_cross_entropy(said[sure], target[sure])
        torch.testing.assert_close(terms[name.lower()], expected)


def test_the_class_map_is_of_the_labels_class(method, batch):
    images, labels = batch()
    with torch.no_grad():
        ours = method.views(images, labels, {})["class map"]
        other = method.views(images, (labels + 1) % 3, {})["class map"]
    assert not torch.equal(ours, other)


def test_prediction_is_the_class_map(method, batch):
    images, labels = batch()
    plain = CAM(method.network, CAM.Config()).eval()
    with torch.no_grad():
        ours, theirs = method.eval().predict(images, labels), plain.predict(images, labels)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.maps, theirs.maps)


def build(backbone, classes=200, stride=16):
    with torch.device("meta"):
        network = build_network(build_backbone(backbone, stride), classes)
        return SPG(network, SPG.defaults(backbone))


def convolution(inputs, outputs, side=3):
    return inputs * outputs * side * side + outputs


@pytest.mark.parametrize(
    ("backbone", "taps", "channels", "width"),
    [
        ("vgg16", ("pool4", "conv5_3"), (512, 512, 512), 512),
        ("inception_v3", ("pool6a", "Mixed_6e"), (288, 768, 1024), 512),
        ("resnet50", ("layer3.0", "layer3.5"), (1024, 1024, 2048), 1024),
    ],
)
def test_what_the_branches_read_and_how_large_they_are(backbone, taps, channels, width):
    method = build(backbone)
    assert method.taps == taps
    shared = convolution(width, width) + convolution(width, 1, 1)
    expected = convolution(channels[0], width) + convolution(channels[1], width) + shared
    expected += convolution(channels[2], 512) + convolution(512, 1, 1)
    own = sum(value.numel() for name, value in method.named_parameters() if not name.startswith("network."))
    assert own == expected


def test_the_head_and_the_pool_on_vgg16_are_spgs_own():
    method, plain = build("vgg16"), build("vgg16", stride=8)
    head = sum(value.numel() for value in method.network.head.parameters())
    assert head == 2 * convolution(512, 512) + convolution(512, 200, 1)
    pools = {index: method.network.backbone.features[index] for index in (4, 9, 16, 23)}
    assert {index: pool.kernel_size for index, pool in pools.items()} == {4: 2, 9: 2, 16: 2, 23: 3}
    assert isinstance(plain.network.backbone.features[23], torch.nn.Identity)
    settings = {"own_head": "false", "overlap_pool4": "false"}
    with torch.device("meta"):
        network = build_network(build_backbone("vgg16", 16), 200)
        switched = SPG(network, override(SPG.defaults("vgg16"), settings))
    assert switched.network is network
    assert switched.network.backbone.features[23].kernel_size == 2
    assert switched.c[0].in_channels == 1024


def test_a_head_of_its_own_works_on_any_trunk(make, batch, gradients):
    method, (images, labels) = make(SPG, own_head=True, width_b=8, width_c=8), batch()
    losses = method.losses(images, labels, {})
    assert all(value.abs().max() > 0 for name, value in gradients(method, losses).items() if ".head." in name)
    assert not any("head.fc" in name for name, _ in method.named_parameters())


def test_defaults_search_and_limits():
    config = SPGConfig()
    thresholds = (config.high_1, config.low_1, config.high_2, config.low_2, config.high_3, config.low_3)
    assert thresholds == (0.7, 0.05, 0.5, 0.05, 0.7, 0.1)
    numbers = {"low_1": 0.5, "high_1": 0.5, "low_2": 0.9, "high_2": 0.0, "low_3": 0.0, "high_3": 0.25}
    drawn = sample(config, numbers.__getitem__, {})
    assert (drawn.low_1, drawn.high_1) == (0.5, 0.75)
    assert (drawn.low_2, drawn.high_2) == (0.9, 0.9)
    assert (drawn.low_3, drawn.high_3) == (0.0, 0.25)
    with pytest.raises(UserError, match=r"low_2=0.6 is above high_2=0.5; expected the low threshold to be at most"):
        SPGConfig(low_2=0.6)
