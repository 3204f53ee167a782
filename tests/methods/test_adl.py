import copy
import math

import pytest
import torch
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.methods.adl import ADL, ADLConfig, drop_mask
from wsolbench.methods.cam import CAM
from wsolbench.network import build_network

POINTS = ("layer3.0", "layer4.0", "layer4.1")
SQUARE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64)
LABEL = torch.tensor([0])


def test_the_drop_mask_is_strict_and_relative_to_each_image():
    attention = torch.cat([SQUARE, 10 * SQUARE, torch.full_like(SQUARE, 2)])
    mask = drop_mask(attention, 0.75)  # thresholds 3, 30, 1.5
    assert mask[:, 0].tolist() == [[[1, 1], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]]
    assert drop_mask(SQUARE, 1.0).flatten().tolist() == [1, 1, 1, 0]
    assert drop_mask(SQUARE, 0.0).flatten().tolist() == [0, 0, 0, 0]


def test_a_tie_at_the_threshold_is_dropped():
    attention = torch.tensor([[[[2.0, 1.0], [0.5, 1 - 2**-40]]]], dtype=torch.float64)
    assert drop_mask(attention, 0.5).flatten().tolist() == [0, 0, 1, 1]  # 1 is not below 0.5 * 2
    assert drop_mask(-attention, 0.5).flatten().tolist() == [1, 1, 1, 1]  # all below 0.5 * -0.5, the maximum too


def test_the_layer_by_hand(probe):
    method = probe(ADL, gamma=0.75)
    method.losses(SQUARE, LABEL, {"drop": torch.tensor([True])})
    assert method.network.features.flatten().tolist() == [1, 2, 0, 0]
    method.losses(SQUARE, LABEL, {"drop": torch.tensor([False])})
    expected = [x / (1 + math.exp(-x)) for x in (1, 2, 3, 4)]
    assert method.network.features.flatten().tolist() == pytest.approx(expected, rel=1e-14)


def test_the_attention_is_the_mean_over_channels(probe):
    method = probe(ADL, gamma=0.75, channels=2)
    images = torch.cat([SQUARE, torch.tensor([[[[7.0, 0], [0, 0]]]])], dim=1)  # means 4, 1, 1.5, 2; threshold 3
    method.losses(images, LABEL, {"drop": torch.tensor([True])})
    assert method.network.features[0].flatten(1).tolist() == [[0, 2, 3, 4], [0, 0, 0, 0]]


@pytest.mark.parametrize("drop", [True, False])
def test_the_sigmoid_passes_gradient_and_the_drop_mask_does_not(probe, drop):
    method = probe(ADL, gamma=0.7, points=2, channels=2)

    def features(images):
        method.losses(images, LABEL, {"drop": torch.tensor([drop, drop])})
        return method.network.features

    images = torch.cat([SQUARE, 0.5 + SQUARE.flip(3)], dim=1).requires_grad_()
    assert torch.autograd.gradcheck(features, (images,))  # a detached sigmoid would differ from the numeric gradient
    if drop:
        passed = features(images)
        (gradient,) = torch.autograd.grad(passed.sum(), images)
        assert torch.equal(gradient, (passed != 0).double())


def literal_adl(network, images, labels, decisions, gamma):
    """ADL on resnet-tiny as the card says it, in float64, image by image."""
    x = images.double()
    trunk = network.backbone
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x))))
    for name in ("layer1.0", "layer2.0", *POINTS):
        x = trunk.get_submodule(name)(x)
        if name not in POINTS:
            continue
        multiplied = []
        for image in x:
            attention = image.sum(dim=0) / image.shape[0]
            if decisions[POINTS.index(name)]:
                factor = (attention.detach() < gamma * attention.detach().max()).double()
            else:
                factor = 1 / (1 + torch.exp(-attention))
            multiplied.append(image * factor)
        x = torch.stack(multiplied)
    logits = x.mean(dim=(2, 3)) @ network.head.fc.weight.T + network.head.fc.bias
    return -functional.log_softmax(logits, dim=1)[range(len(labels)), labels].mean()


@pytest.mark.parametrize("decisions", [(True, False, True), (False, True, False), (False, False, False)])
def test_three_points_equal_a_literal_transcription_with_gradients(make, batch, gradients, decisions):
    method, (images, labels) = make(ADL, gamma=0.8), batch()
    exact = copy.deepcopy(method.network).double()
    expected = literal_adl(exact, images, labels, decisions, 0.8)
    losses = method.losses(images, labels, {"drop": torch.tensor(decisions)})
    torch.testing.assert_close(losses.terms["cls"].double(), expected, rtol=1e-5, atol=1e-6)
    expected.backward()
    wanted = {f"network.{name}": parameter.grad for name, parameter in exact.named_parameters()}
    for name, value in gradients(method, losses).items():
        scale = wanted[name].abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(value.double(), wanted[name], rtol=0, atol=1e-4 * scale + 1e-7, msg=name)


def test_one_decision_a_forward_and_point_for_the_whole_batch(make):
    method = make(ADL, drop_rate=0.75)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([method.draw(64, (32, 32), generator)["drop"] for _ in range(2000)])
    assert drawn.shape == (2000, 3)
    rates = drawn.double().mean(dim=0)
    assert (rates - 0.75).abs().max() < 4.5 * math.sqrt(0.75 * 0.25 / 2000)
    assert (torch.corrcoef(drawn.double().T) - torch.eye(3)).abs().max() < 4.5 / math.sqrt(2000)  # point by point
    assert not make(ADL, drop_rate=0.0).draw(2, (32, 32), generator)["drop"].any()
    assert make(ADL, drop_rate=1.0).draw(2, (32, 32), generator)["drop"].all()


def test_prediction_is_that_of_the_plain_network(make, batch):
    method, (images, labels) = make(ADL).eval(), batch()
    plain = CAM(method.network, CAM.Config()).eval()
    with torch.no_grad():
        ours, theirs = method.predict(images, labels), plain.predict(images, labels)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.maps, theirs.maps)


def test_the_points_are_chosen_by_name_and_act_early_to_late(make, batch):
    assert make(ADL).points == POINTS
    method, (images, labels) = make(ADL, points=("layer4.0", "layer2.0")), batch()
    assert method.points == ("layer2.0", "layer4.0")
    assert method.draw(4, (32, 32), torch.Generator().manual_seed(0))["drop"].shape == (2,)
    method.eval()
    early = {"layer2.0": lambda x: x * drop_mask(x.mean(dim=1, keepdim=True), 0.9)}
    late = {"layer4.0": lambda x: x * x.mean(dim=1, keepdim=True).sigmoid()}
    expected = functional.cross_entropy(method.network.logits(method.network(images, after=early | late).last), labels)
    assert torch.equal(method.losses(images, labels, {"drop": torch.tensor([True, False])}).terms["cls"], expected)
    assert not torch.equal(method.losses(images, labels, {"drop": torch.tensor([False, True])}).terms["cls"], expected)
    with pytest.raises(UserError, match="unknown point 'layer4'; did you mean 'layer4"):
        make(ADL, points=("layer4",))


def test_the_references_points_on_vgg16_and_no_dropout_on_inception():
    with torch.device("meta"):
        vgg16 = build_network(build_backbone("vgg16", 16), 2)
        inception = build_network(build_backbone("inception_v3", 16), 2)
    assert ADL(vgg16, ADL.defaults("vgg16")).points == ("pool3", "conv4_3", "conv5_3")
    assert inception.head.dropout == 0.5
    assert ADL(inception, ADL.defaults("inception_v3")).points == ("Mixed_5d", "Mixed_6e", "A3_2b")
    assert inception.head.dropout == 0


def test_views_show_attention_and_drop_mask_behind_the_earlier_layers(make, batch):
    method, (images, labels) = make(ADL, gamma=0.8).eval(), batch()
    with torch.no_grad():
        dropped = method.views(images, labels, {"drop": torch.tensor([True, True, True])})
        weighted = method.views(images, labels, {"drop": torch.tensor([False, False, False])})
    assert list(dropped) == [f"{kind} {point}" for point in POINTS for kind in ("attention", "drop mask")] + [
        "class map"
    ]
    kept = method.network(images, keep=POINTS).kept
    assert torch.equal(dropped["attention layer3.0"], kept["layer3.0"].mean(dim=1))
    for shown in (dropped, weighted):
        for point in POINTS:
            attention, mask = shown[f"attention {point}"], shown[f"drop mask {point}"]
            assert attention.shape == mask.shape == (4, 8, 8)
            assert torch.equal(mask, (attention < 0.8 * attention.amax(dim=(1, 2), keepdim=True)).float())
    assert torch.equal(dropped["attention layer3.0"], weighted["attention layer3.0"])
    assert not torch.equal(dropped["attention layer4.0"], weighted["attention layer4.0"])


def test_defaults_are_the_references():
    assert ADLConfig() == ADLConfig(drop_rate=0.75, gamma=0.9, points=())
