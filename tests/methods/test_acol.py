import math

import pytest
import torch
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.heads import GapHead
from wsolbench.methods.acol import ACoL, ACoLConfig, Branch, Branches, erase, min_max, strongest
from wsolbench.network import build_network


def identity_branch(scale: float) -> Branch:
    """A branch of width 1 whose class k's map is (k + 1) * scale * features, plus k."""
    branch = Branch(1, 2, ACoLConfig(width=1)).double()
    with torch.no_grad():
        for conv in (branch.conv1, branch.conv2):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = 1
        branch.classes.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1) * scale)
        branch.classes.bias.copy_(torch.tensor([0.0, 1.0]))
    return branch


def hand_made(probe, threshold):
    """One channel, which is the image itself; A's map is the channel, B's is ten times the channel."""
    method = probe(ACoL, width=1, threshold=threshold).double()
    method.network.head.a, method.network.head.b = identity_branch(1), identity_branch(10)
    return method


PICTURE = torch.tensor([[[[0.0, 1.0], [3.0, 4.0]]]], dtype=torch.float64)


def test_the_loss_by_hand(probe):
    losses = hand_made(probe, 0.7).losses(PICTURE, torch.tensor([0]), {})
    # A: means 2 and 2 * 2 + 1 = 5. Normalised 0, 1/4, 3/4, 1: 3 and 4 are erased. B: mean 1/4, so 2.5 and 5 + 1 = 6.
    expected = {"cls": math.log1p(math.exp(5 - 2)), "cls_b": math.log1p(math.exp(6 - 2.5))}
    assert losses.terms.keys() == expected.keys()
    for key, value in expected.items():
        assert losses.terms[key].item() == pytest.approx(value, rel=1e-12)
    assert losses.diagnostics["erased"].item() == 0.5


def test_the_score_map_by_hand(probe):
    method = hand_made(probe, 0.7).eval()
    prediction = method.predict(PICTURE, torch.tensor([0]))
    assert torch.equal(prediction.logits, torch.tensor([[2.0, 5.0]], dtype=torch.float64))  # A's
    # A: 0, 1/4, 3/4, 1. B sees 0, 1, 0, 0, which is normalised already.
    assert prediction.maps.tolist() == [[[0.0, 1.0], [0.75, 1.0]]]


def test_a_negative_map_is_erased_where_it_is_strongest(probe):
    method = hand_made(probe, 0.7)
    with torch.no_grad():
        method.network.head.a.classes.weight.neg_()
    views = method.views(PICTURE, torch.tensor([0]), {})
    assert views["map of A"].tolist() == [[[0.0, -1.0], [-3.0, -4.0]]]
    assert views["hidden from B"].tolist() == [[[1.0, 1.0], [0.0, 0.0]]]  # normalised 1, 3/4, 1/4, 0
    assert views["map of B"].tolist() == [[[0.0, 0.0], [30.0, 40.0]]]
    assert views["score map"].tolist() == [[[1.0, 0.75], [0.75, 1.0]]]


@pytest.mark.parametrize(("threshold", "hidden"), [(0.0, [True, True, True]), (1.0, [False, False, True])])
def test_thresholds_of_zero_and_one(threshold, hidden):
    maps = torch.tensor([[[-7.3, 0.1, 5.9]]])
    assert strongest(maps, threshold).tolist() == [[hidden]]


@pytest.mark.parametrize("value", [0.0, -3.0, 1e30])
def test_a_constant_map_has_no_strong_part(value):
    maps = torch.full((2, 3, 4), value)
    assert torch.equal(min_max(maps), torch.zeros_like(maps))
    assert not strongest(maps, 0.01).any()
    assert strongest(maps, 0.0).all()


def test_each_map_is_normalised_by_itself():
    maps = torch.tensor([[[1.0, 2.0, 3.0]], [[-100.0, 0.0, 300.0]]])
    assert min_max(maps).tolist() == [[[0.0, 0.5, 1.0]], [[0.0, 0.25, 1.0]]]


def test_nothing_but_the_hidden_features_changes_and_they_pass_no_gradient():
    features = torch.rand(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    hidden = torch.tensor([[[True, False], [False, False]], [[False, False], [True, True]]])
    erased = erase(features, hidden)
    assert torch.equal(erased[0, :, 0, 0], torch.zeros(3, dtype=torch.float64))
    assert torch.equal(erased[1, :, 0], features[1, :, 0])
    assert torch.autograd.gradcheck(lambda x: erase(x, hidden), (features,))


def test_branch_b_does_not_teach_branch_a(make, batch):
    method, (images, labels) = make(ACoL), batch()
    loss = method.losses(images, labels, {}).terms["cls_b"]
    head = method.network.head
    found = torch.autograd.grad(loss, [*head.a.parameters()], allow_unused=True)
    assert all(gradient is None for gradient in found)  # the mask is detached
    trunk = torch.autograd.grad(method.losses(images, labels, {}).terms["cls_b"], method.network.backbone.conv1.weight)
    assert trunk[0].abs().max() > 0


def test_a_threshold_of_zero_leaves_branch_b_its_biases(make, batch):
    method, (images, labels) = make(ACoL, threshold=0.0), batch()
    with torch.no_grad():
        losses = method.losses(images, labels, {})
        prediction = method.eval().predict(images, labels)
    expected = functional.cross_entropy(torch.zeros(4, 3), labels)  # every bias starts at zero
    torch.testing.assert_close(losses.terms["cls_b"], expected)
    assert losses.diagnostics["erased"] == 1
    a = method.network.class_maps(method.network(images).last, labels)
    assert torch.equal(prediction.maps, min_max(a))  # B's map is constant


def test_the_class_of_both_maps_is_the_label_or_branch_as_top_class(make, batch):
    method, (images, _) = make(ACoL, classes=5).eval(), batch(classes=5)
    with torch.no_grad():
        free = method.predict(images)
        top = method.predict(images, free.logits.argmax(dim=1))
        other = method.predict(images, (free.logits.argmax(dim=1) + 1) % 5)
    assert torch.equal(free.maps, top.maps)
    assert not torch.equal(free.maps, other.maps)
    assert free.maps.min() >= 0
    assert torch.equal(free.maps.amax(dim=(1, 2)), torch.ones(4))


def test_the_networks_head_is_branch_a(make, batch):
    method, (images, labels) = make(ACoL).eval(), batch()
    assert not any(isinstance(module, GapHead) for module in method.modules())  # no unused CAM head
    with torch.no_grad():
        features = method.network(images, keep=("shared", "branch_a"))
        assert torch.equal(features.kept["branch_a"], features.last)
        assert torch.equal(method.predict(images, labels).logits, method.network.logits(features.last))
    assert features.kept["shared"].shape[1] == method.network.points["shared"] == 64


def test_the_keys_and_shapes_that_weights_are_loaded_by(make):
    shapes = {key: tuple(value.shape) for key, value in make(ACoL, classes=7, width=5).state_dict().items()}
    head = {key.removeprefix("network.head."): shape for key, shape in shapes.items() if "backbone" not in key}
    layers = {"conv1": (5, 64, 3, 3), "conv2": (5, 5, 3, 3), "classes": (7, 5, 1, 1)}
    assert head == {
        f"{branch}.{layer}.{part}": shape if part == "weight" else shape[:1]
        for branch in "ab"
        for layer, shape in layers.items()
        for part in ("weight", "bias")
    }


def test_the_branches_on_resnet50_have_the_papers_size():
    count = sum(p.numel() for p in Branches(2048, 200, ACoL.defaults("resnet50")).parameters())
    one = (2048 * 1024 * 9 + 1024) + (1024 * 1024 * 9 + 1024) + (1024 * 200 + 200)
    assert count == 2 * one


@pytest.mark.parametrize("stride", [16, 8])
def test_reference_pooling_on_vgg16(stride):
    torch.manual_seed(0)
    sizes = {}
    for pooling in ("average", "reference"):
        backbone = build_backbone("vgg16", stride)
        method = ACoL(build_network(backbone, 2), ACoLConfig(width=2, pooling=pooling)).eval()
        with torch.no_grad():
            last = backbone(torch.randn(1, 3, 36, 36), keep=("pool1", "conv5_3"))
            shared = method.network(last.last, start="conv5_3", keep=("shared",)).kept["shared"]
        sizes[pooling] = last.kept["pool1"].shape[2], last.last.shape[2]
        maximum = functional.max_pool2d(last.last, 3, 1, 1) if pooling == "reference" else last.last
        assert torch.equal(shared, functional.avg_pool2d(maximum, 3, 1, 1))
    # 36 -> 18, 9, 4, (2) by 2x2 pools; 18, 9, 5, (3) by 3x3 pools of padding 1; stride 8 has no fourth pool
    assert sizes == {"average": (18, 2 if stride == 16 else 4), "reference": (18, 3 if stride == 16 else 5)}


def test_initial_weights():
    torch.manual_seed(0)
    xavier, he = (Branch(64, 10, ACoLConfig(width=128, initial_weights=way)) for way in ("xavier", "he"))
    bound = (6 / (9 * (64 + 128))) ** 0.5
    assert bound * 0.98 < xavier.conv1.weight.abs().max() <= bound
    assert he.conv1.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    for branch in (xavier, he):
        assert not any(layer.bias.any() for layer in (branch.conv1, branch.conv2, branch.classes))


def test_defaults_and_limits():
    assert ACoL.defaults("inception_v3") == ACoLConfig(threshold=0.7, width=1024, pooling="none")
    assert ACoL.defaults("vgg16").pooling == "reference"
    assert ACoL.defaults("resnet50").initial_weights == "he"
    assert ACoL.defaults("resnet-tiny").width == 64
    with pytest.raises(UserError, match="threshold=1.1 is out of range; expected a value from 0 to 1"):
        ACoLConfig(threshold=1.1)
    with pytest.raises(UserError, match="pooling=max is not allowed; expected one of none, average, reference"):
        ACoLConfig(pooling="max")
