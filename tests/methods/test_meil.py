import math

import pytest
import torch
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.methods.meil import MEIL, MEILConfig, most_attended
from wsolbench.network import build_network


def test_what_is_erased_by_hand():
    features = torch.tensor([[[[1.0, 5.0], [7.0, 9.0]], [[1.0, 5.0], [7.0, 11.0]]]], dtype=torch.float64)
    # the channel mean is 1, 5, 7, 10
    assert most_attended(features, 0.6).tolist() == [[[[False, False], [True, True]]]]
    assert most_attended(features, 0.7).tolist() == [[[[False, False], [False, True]]]]  # exactly 7 does not exceed
    assert most_attended(features, 0.0).all()
    assert not most_attended(features, 1.0).any()


def test_each_image_has_its_own_threshold_and_nothing_is_erased_where_nothing_is_attended():
    features = torch.tensor([1.0, 2.0, 100.0, 200.0, 0.0, 0.0]).view(3, 1, 1, 2)
    assert most_attended(features, 0.7).flatten(1).tolist() == [[False, True], [False, True], [False, False]]


def test_the_loss_by_hand(probe):
    method = probe(MEIL, alpha=0.5).double()
    with torch.no_grad():
        method.network.head.fc.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        method.network.head.fc.bias.zero_()
    picture = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64)
    losses = method.losses(picture, torch.tensor([0]), {})
    # Logits are plus and minus the mean: 10 / 4 and, without 3 and 4 (above 0.7 * 4), 3 / 4.
    assert losses.terms["cls"].item() == pytest.approx(math.log1p(math.exp(-5)), rel=1e-12)
    assert losses.terms["cls_erased"].item() == pytest.approx(0.5 * math.log1p(math.exp(-1.5)), rel=1e-12)
    assert losses.diagnostics["erased"].item() == 0.5


def test_a_later_point_erases_what_the_first_one_left(probe):
    method = MEIL(probe(MEIL, points=3).network, MEILConfig(points=("p2", "p0")))
    picture = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    views = method.views(picture, torch.tensor([0]), {})
    assert method.points == ("p0", "p2")
    assert views["erased at p0"].tolist() == [[[0, 0], [1, 1]]]
    assert views["erased at p2"].tolist() == [[[0, 1], [0, 0]]]  # of 1, 2, 0, 0: what exceeds 1.4
    weight = method.network.head.fc.weight[0, 0].item()
    torch.testing.assert_close(views["class map, erased"], torch.tensor([[[weight, 0.0], [0.0, 0.0]]]))


def test_only_the_layers_after_the_point_run_twice(make, batch):
    method, (images, labels) = make(MEIL), batch()
    assert method.points == ("layer4.0",)  # the second-to-last insertion point
    calls = {}
    for name, layer in method.network.backbone.named_modules():
        if name in ("conv1", "layer3.0", "layer4.0", "layer4.1"):
            layer.register_forward_hook(lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1}))
    method.losses(images, labels, {})
    assert calls == {"conv1": 1, "layer3.0": 1, "layer4.0": 1, "layer4.1": 2}


def test_the_erased_pass_is_the_rest_of_the_network_on_erased_features(make, batch):
    method, (images, labels) = make(MEIL, alpha=2.0), batch()
    losses = method.losses(images, labels, {})
    trunk = method.network.backbone
    kept = trunk(images, keep=("layer4.0",)).kept["layer4.0"]
    erased = kept.clone()
    for n in range(4):
        attention = kept[n].mean(dim=0)
        for i in range(8):
            for j in range(8):
                if attention[i, j] > 0.7 * attention.max():
                    erased[n, :, i, j] = 0
    assert 0 < losses.diagnostics["erased"].item() < 1
    logits = method.network.head.fc(trunk.layer4[1](erased).mean(dim=(2, 3)))
    torch.testing.assert_close(losses.terms["cls_erased"], 2 * functional.cross_entropy(logits, labels))


def test_with_nothing_erased_both_terms_are_the_same(make, batch):
    method, (images, labels) = make(MEIL, gamma=1.0), batch()
    losses = method.losses(images, labels, {})
    assert torch.equal(losses.terms["cls"], losses.terms["cls_erased"])
    assert losses.diagnostics["erased"] == 0


def test_the_erased_features_teach_the_layers_before_the_point(make, batch):
    method, (images, labels) = make(MEIL), batch()
    term = method.losses(images, labels, {}).terms["cls_erased"]
    (gradient,) = torch.autograd.grad(term, method.network.backbone.conv1.weight)
    assert gradient.abs().max() > 0


def test_points_are_chosen_by_name(make, batch):
    method, (images, labels) = make(MEIL, points=("layer4.1", "layer2.0")), batch()
    assert method.points == ("layer2.0", "layer4.1")  # early to late
    assert set(method.views(images, labels, {})) >= {"erased at layer2.0", "erased at layer4.1"}
    with pytest.raises(UserError, match="layer2.7"):
        make(MEIL, points=("layer2.7",))


@pytest.mark.parametrize("preset", sorted(MEIL.presets))
def test_the_multi_scale_presets_erase_at_the_last_two_insertion_points(preset):
    chosen = MEIL.presets[preset]
    with torch.device("meta"):
        network = build_network(build_backbone(chosen.backbone, 16), 2)
    assert MEIL(network, chosen.config).points == network.roles["insertion"][-2:]


def test_it_is_shown_as_unverified():
    assert "unverified" in MEIL.paper
    assert MEILConfig() == MEILConfig(gamma=0.7, alpha=1.0, points=())
    with pytest.raises(UserError, match="gamma=-0.1 is out of range; expected a value from 0 to 1"):
        MEILConfig(gamma=-0.1)
