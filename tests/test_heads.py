import pytest
import torch
from torch import nn

from wsolbench.backbones.base import run_steps
from wsolbench.heads import ConvGapHead, DeepConvHead, GapHead, conv3x3, weighted_sum

CHANNELS, CLASSES = 4, 3
HEADS = {
    "gap": lambda: GapHead(CHANNELS, CLASSES),
    "conv": lambda: ConvGapHead(CHANNELS, CLASSES, width=6),
    "deep": lambda: DeepConvHead(CHANNELS, CLASSES, width=6),
}
every_head = pytest.mark.parametrize("kind", HEADS)


def build(kind):
    torch.manual_seed(0)
    head = HEADS[kind]().double()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-1, 1)  # a bias of zero shows nothing
    return head.eval()


def last_features(head, n=3, seed=1):
    """Random values at the head's last feature map."""
    channels = head.classifier()[0].shape[1]
    return torch.randn(n, channels, 2, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(head, x, keep=()):
    return run_steps(head.steps(), x, after={}, keep=keep, start=None)


def set_values(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight).view_as(layer.weight))
        layer.bias.copy_(torch.tensor(bias))


def pass_through(layer):
    """Make a 3x3 convolution copy its input."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:, :, 1, 1] = torch.eye(layer.in_channels)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_logits_and_maps_of_a_linear_classifier_by_hand():
    head = GapHead(2, 3)
    set_values(head.fc, [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [0.5, 0.0, -1.0])
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]])  # channel means 2 and 4
    assert head.logits(features).tolist() == [[2.5, 8.0, 5.0]]
    assert head.class_maps(features, torch.tensor([1])).tolist() == [[[4.0, 12.0]]]
    assert head.class_maps(features, torch.tensor([2])).tolist() == [[[3.0, 9.0]]]  # without the bias
    assert head.mixed_maps(features, torch.tensor([[1.0, 0.5, -1.0]])).tolist() == [[[0.0, 0.0]]]
    assert head.mixed_maps(features, torch.tensor([[2.0, 0.0, 1.0]])).tolist() == [[[5.0, 15.0]]]


def test_logits_and_maps_of_a_1x1_convolution_by_hand():
    head = DeepConvHead(2, 3, width=2)
    set_values(head.A4, [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [0.5, 0.0, -1.0])
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]])
    assert head.logits(features).tolist() == [[2.5, 8.0, 5.0]]
    assert head.class_maps(features, torch.tensor([0])).tolist() == [[[1.5, 3.5]]]  # with the bias
    assert head.class_maps(features, torch.tensor([2])).tolist() == [[[2.0, 8.0]]]
    assert head.mixed_maps(features, torch.tensor([[2.0, 0.0, 1.0]])).tolist() == [[[5.0, 15.0]]]


def test_the_convolution_on_vgg_is_3x3_with_a_relu():
    head = ConvGapHead(1, 2, width=1)
    set_values(head.conv6, [[1.0, 0, 0], [0, -1, 0], [0, 0, 0]], [0.5])
    x = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]])
    # minus the pixel, plus its upper left neighbour, plus a half: -0.5, -1.5, -2.5 and 1.5
    assert run(head, x).last.tolist() == [[[[0.0, 0.0], [0.0, 1.5]]]]


# --- what holds for every head ----------------------------------------------------------------------------------------


@every_head
def test_each_image_gets_the_map_of_its_own_label(kind):
    head = build(kind)
    features = last_features(head)
    maps = head.class_maps(features, torch.tensor([2, 0, 2]))
    assert maps.shape == (3, 2, 5)
    for image, label in enumerate((2, 0, 2)):
        alone = head.class_maps(features[image : image + 1], torch.tensor([label]))
        torch.testing.assert_close(maps[image : image + 1], alone)


@every_head
def test_mixed_maps_are_the_sum_over_all_class_maps(kind):
    head = build(kind)
    features = last_features(head)
    mix = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    every_map = [head.class_maps(features, torch.full((3,), k)) for k in range(CLASSES)]
    explicit = sum(mix[:, k, None, None] * every_map[k] for k in range(CLASSES))
    torch.testing.assert_close(head.mixed_maps(features, mix), explicit)
    one_hot = nn.functional.one_hot(torch.tensor([2, 0, 1]), CLASSES).double()
    torch.testing.assert_close(head.mixed_maps(features, one_hot), head.class_maps(features, torch.tensor([2, 0, 1])))


@every_head
def test_logits_are_the_pooled_class_maps(kind):
    """Up to the bias, which a linear classifier adds after the pooling."""
    head = build(kind)
    features = last_features(head)
    _, bias, in_maps = head.classifier()
    pooled = [head.class_maps(features, torch.full((3,), k)).mean(dim=(1, 2)) for k in range(CLASSES)]
    logits = torch.stack(pooled, dim=1) + (0 if in_maps else bias)
    torch.testing.assert_close(head.logits(features), logits)
    assert in_maps == (kind == "deep")


def test_the_logits_of_the_1x1_convolution_are_its_pooled_output():
    head = build("deep")
    features = last_features(head)
    full = head.A4(features)  # every class map, which neither logits nor maps build
    torch.testing.assert_close(head.logits(features), full.mean(dim=(2, 3)))
    torch.testing.assert_close(head.class_maps(features, torch.tensor([1, 1, 0]))[2], full[2, 0])


@every_head
def test_logits_and_maps_are_float32_under_autocast(kind):
    head = build(kind).float()
    features, labels, mix = last_features(head).bfloat16(), torch.tensor([0, 1, 2]), torch.rand(3, CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        logits, maps = head.logits(features), head.class_maps(features, labels)
        mixed = head.mixed_maps(features, mix)
    assert logits.dtype == maps.dtype == mixed.dtype == torch.float32
    weight, bias, in_maps = head.classifier()
    pooled = features.mean(dim=(2, 3)).float()
    torch.testing.assert_close(logits, pooled @ weight.T + bias, rtol=1e-5, atol=1e-6)
    exact = torch.einsum("nchw,nc->nhw", features.float(), mix @ weight)
    exact = exact + (mix @ bias)[:, None, None] * in_maps
    torch.testing.assert_close(mixed, exact, rtol=1e-5, atol=1e-5)


@every_head
def test_points_name_the_values_after_the_relu(kind):
    head = build(kind)
    x = last_features(GapHead(CHANNELS, 1))
    features = run(head, x, keep=head.points)
    assert {point: value.shape[1] for point, value in features.kept.items()} == dict(head.points)
    assert all(value.min() == 0 and value.max() > 0 for value in features.kept.values())
    expected = {"gap": x, "conv": features.kept.get("conv6"), "deep": features.kept.get("A3_2b")}[kind]
    assert torch.equal(features.last, expected)


def test_a_weighted_sum_has_the_weights_type():
    total = weighted_sum(torch.tensor([[[[1.0]], [[2.0]]]]).bfloat16(), torch.tensor([[3.0, 10.0]]))
    assert total.tolist() == [[[23.0]]]
    assert total.dtype == torch.float32


# --- dropout ----------------------------------------------------------------------------------------------------------


def test_dropout_lies_before_between_and_after_the_convolutions():
    torch.manual_seed(0)
    head = DeepConvHead(16, 2, width=16).train()
    pass_through(head.A3_1b)
    pass_through(head.A3_2b)
    features = run(head, torch.ones(8, 16, 8, 8), keep=["A3_1b", "A3_2b"])
    stages = [features.kept["A3_1b"], features.kept["A3_2b"], features.last]
    for number, value in enumerate(stages, start=1):
        assert set(value.unique().tolist()) == {0.0, 2.0**number}  # survivors are doubled by each
        assert (value > 0).float().mean().item() == pytest.approx(0.5**number, abs=0.02)


def test_dropout_is_off_in_evaluation_and_when_a_method_sets_it_to_0():
    torch.manual_seed(0)
    head, x = DeepConvHead(CHANNELS, CLASSES, width=6), torch.randn(2, CHANNELS, 4, 4)
    evaluated = run(head.eval(), x).last
    assert not torch.equal(run(head.train(), x).last, run(head, x).last)
    head.dropout = 0.0
    assert torch.equal(run(head, x).last, evaluated)
    plain = head.A3_2b(head.A3_1b(x).relu()).relu()
    assert torch.equal(plain, evaluated)


def test_dropout_follows_torchs_seed():
    torch.manual_seed(0)
    head, x = DeepConvHead(CHANNELS, CLASSES, width=6), torch.randn(2, CHANNELS, 4, 4)
    passes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        passes.append(run(head, x).last)
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])


@pytest.mark.parametrize("kind", ["gap", "conv"])
def test_the_other_heads_have_no_dropout(kind):
    head = build(kind).float().train()
    x = torch.randn(2, CHANNELS, 4, 4)
    assert head.dropout == 0
    assert torch.equal(run(head, x).last, run(head, x).last)


# --- initial weights and keys -----------------------------------------------------------------------------------------


def test_vggs_head_starts_he_normal_and_normal():
    torch.manual_seed(0)
    head = ConvGapHead(64, 100, width=128)
    assert head.conv6.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert head.conv6.weight.abs().max() > 3 * head.conv6.weight.std()  # a normal, not a uniform distribution
    assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert head.conv6.bias.abs().max() == head.fc.bias.abs().max() == 0


def test_inceptions_head_and_new_convolutions_start_xavier_uniform():
    torch.manual_seed(0)
    head = DeepConvHead(64, 100, width=128)
    layers = {head.A3_1b: 9 * (64 + 128), head.A3_2b: 9 * (128 + 128), head.A4: 128 + 100, conv3x3(8, 64): 9 * 72}
    for layer, fans in layers.items():
        bound = (6 / fans) ** 0.5
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
        assert layer.bias.abs().max() == 0


@every_head
@pytest.mark.parametrize("classes", [2, 1000])
def test_the_number_of_classes_is_free(kind, classes):
    heads = {"gap": GapHead, "conv": ConvGapHead, "deep": DeepConvHead}
    with torch.device("meta"):
        head = heads[kind](CHANNELS, classes)
        weight, bias, _ = head.classifier()
    width = CHANNELS if kind == "gap" else 1024
    assert weight.shape == (classes, width)
    assert bias.shape == (classes,)
    layers = {"gap": {"fc"}, "conv": {"conv6", "fc"}, "deep": {"A3_1b", "A3_2b", "A4"}}[kind]
    assert set(head.state_dict()) == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
