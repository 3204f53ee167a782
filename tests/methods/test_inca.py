"""InCA's forward: what is applied at each point, what each loss reaches, and the whole against a transcription."""

import copy
import math

import pytest
import torch
from torch import nn

from wsolbench.methods.adl import ADL
from wsolbench.methods.cam import CAM
from wsolbench.methods.inca import InCA, InCAConfig

POINTS = ("layer3.0", "layer4.0", "layer4.1")
OFF = {"attention": "channel-mean", "mask": "drop", "contrastive": "none", "fc": False}
# mean 2, maximum 6; with gamma_bg 1.2 and gamma_fg 0.8 the dropped foreground is 2.4 < A < 4.8
GRID = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 6.0, 3.0], [1.0, 1.0, 4.0]]])
MASKED = [0, 0, 0, 0, 0, 3, 0, 0, 4]
WEIGHTED = [x / (1 + math.exp(-x)) for x in GRID.flatten().tolist()]
HAND = {"attention": "channel-mean", "gamma_fg": 0.8, "gamma_bg": 1.2}


def run(method, images, drop):
    labels = torch.zeros(len(images), dtype=torch.int64)
    losses = method.losses(images, labels, {"drop": torch.tensor(drop)})
    return losses, method.network.features


def test_the_applied_mask_by_hand(probe):
    method = probe(InCA, **HAND)
    _, features = run(method, GRID[None], [True])
    assert features.flatten().tolist() == MASKED
    _, features = run(method, GRID[None], [False])
    assert features.flatten().tolist() == pytest.approx(WEIGHTED, rel=1e-6)


def test_an_empty_mask_falls_back_to_the_importance_map_for_that_image_only(probe):
    method = probe(InCA, **HAND)
    flat = torch.full_like(GRID, 2.0)  # nowhere above 1.2 times its mean
    peaked = torch.zeros_like(GRID)
    peaked[0, 1, 1] = 9  # foreground, but nowhere below 0.8 times its maximum
    losses, features = run(method, torch.stack([GRID, flat, 10 * GRID, peaked]), [True])
    assert features[0].flatten().tolist() == MASKED
    assert features[2].flatten().tolist() == [10 * x for x in MASKED]
    assert features[1].flatten().tolist() == pytest.approx([2 / (1 + math.exp(-2))] * 9, rel=1e-6)
    assert features[3, 0, 1, 1].item() == pytest.approx(9 / (1 + math.exp(-9)), rel=1e-6)
    assert losses.diagnostics["empty_masks_p0"].item() == 0.5


def test_the_drop_mask_of_the_ablation_has_no_fallback(probe):
    method = probe(InCA, **(HAND | {"mask": "drop"}))
    _, features = run(method, torch.stack([GRID, torch.full_like(GRID, 2.0)]), [True])
    assert features[0].flatten().tolist() == [1, 0, 2, 0, 0, 3, 1, 1, 4]  # A < 4.8
    assert features[1].flatten().tolist() == [0] * 9  # 2 is nowhere below 0.8 * 2


def test_diagnostics_by_hand(probe):
    method = probe(InCA, **HAND)
    losses, _ = run(method, torch.stack([GRID, 3 * GRID]), [True])
    assert losses.diagnostics["peak_p0"].item() == pytest.approx(3)  # 6 / 2 and 18 / 6
    assert losses.diagnostics["empty_masks_p0"].item() == 0
    with torch.no_grad():
        method.embeddings[0].weight.zero_()  # all embeddings equal: every hinge is at the margin
    losses, _ = run(method, torch.stack([GRID, torch.full_like(GRID, 2.0)]), [True])
    assert losses.diagnostics["active_triplets"].item() == 0.5
    assert losses.terms["ca"].item() == pytest.approx(0.5 * method.config.margin, rel=1e-5)
    assert not any(value.requires_grad for value in losses.diagnostics.values())


def test_masks_pass_no_gradient_and_the_importance_map_does(probe):
    method = probe(InCA, channels=8, gamma_fg=0.99, gamma_bg=1.0, fc=False)
    images = torch.rand(2, 8, 6, 6, generator=torch.Generator().manual_seed(2))
    attention = list(method.attentions.parameters())
    losses, features = run(method, images, [True])
    assert losses.diagnostics["empty_masks_p0"].item() == 0
    assert losses.terms["ca"].item() > 0
    for term in losses.terms.values():
        values = torch.autograd.grad(term, attention, allow_unused=True, retain_graph=True)
        assert all(value is None or value.abs().max() == 0 for value in values)
    losses, _ = run(method, images, [False])
    (value,) = torch.autograd.grad(losses.terms["cls"], [method.attentions[0].out.weight], retain_graph=True)
    assert value.abs().max() > 0
    assert torch.autograd.grad(losses.terms["ca"], attention, allow_unused=True) == (None,) * len(attention)


def test_consistency_reaches_the_earlier_blocks_and_the_trunk_below_them(make, batch):
    method, (images, labels) = make(InCA), batch()
    losses = method.losses(images, labels, {"drop": torch.ones(3, dtype=torch.bool)})
    named = dict(method.named_parameters())
    values = torch.autograd.grad(losses.terms["fc"], list(named.values()), allow_unused=True)
    reached = {name for name, value in zip(named, values, strict=True) if value is not None and value.abs().max() > 0}
    assert {"attentions.0.out.weight", "attentions.1.out.weight", "network.backbone.conv1.weight"} <= reached
    assert not any(name.startswith(("attentions.2.", "network.backbone.layer4.1.", "network.head")) for name in reached)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("decisions", [(True, True, True), (False, True, False), (False, False, False)])
def test_everything_off_equals_adl_bit_for_bit(make, batch, gradients, decisions, autocast):
    inca = make(InCA, drop_rate=0.7, gamma_fg=0.8, **OFF)
    adl = make(ADL, drop_rate=0.7, gamma=0.8)
    assert inca.state_dict().keys() == adl.state_dict().keys()
    images, labels = batch()
    draws = {"drop": torch.tensor(decisions)}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours, theirs = inca.losses(images, labels, draws), adl.losses(images, labels, draws)
    assert ours.terms.keys() == theirs.terms.keys()
    assert torch.equal(ours.terms["cls"], theirs.terms["cls"])
    reference = gradients(adl, theirs)
    for name, value in gradients(inca, ours).items():
        assert torch.equal(value, reference[name]), name
    drawn = [method.draw(4, (32, 32), torch.Generator().manual_seed(7))["drop"] for method in (inca, adl)]
    assert torch.equal(*drawn)


def literal_inca(method, images, labels, decisions, attention_of):
    """Eq. 1 to 6 on resnet-tiny with the method's parameters (float64), image by image."""
    trunk, config, n = method.network.backbone, method.config, len(images)
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images))))
    maps, contrastive = [], torch.zeros((), dtype=torch.float64)
    for name in ("layer1.0", "layer2.0", *POINTS):
        x = trunk.get_submodule(name)(x)
        if name not in POINTS:
            continue
        index = POINTS.index(name)
        attention = x.mean(1, keepdim=True) if "mean" in config.attention else attention_of(method.attentions[index], x)
        maps.append(attention)
        passed = []
        for image, a in zip(x, attention[:, 0], strict=True):
            fixed = a.detach()
            high, low = config.gamma_fg * fixed.max(), config.gamma_bg * fixed.mean()
            masks = [(fixed > low) & (fixed < high), fixed > low, fixed < low]
            if all(mask.any() for mask in masks):
                z = [image[:, mask].mean(dim=1) @ method.embeddings[index].weight.T for mask in masks]
                if config.embedding == "l2":
                    z = [v + method.embeddings[index].bias for v in z]
                    z = [v / v.norm() for v in z]
                hinge = (z[0] - z[1]).norm() - (z[0] - z[2]).norm() + config.margin
                contrastive = contrastive + torch.relu(hinge) / n
            factor = 1 / (1 + torch.exp(-a))
            if decisions[index] and config.mask == "drop":
                factor = (fixed < high).double()
            elif decisions[index] and masks[0].any():
                factor = masks[0].double()
            passed.append(image * factor)
        x = torch.stack(passed)
    logits = x.mean(dim=(2, 3)) @ method.network.head.fc.weight.T + method.network.head.fc.bias
    differences = [((a - maps[-1].detach()) ** 2).flatten(1) for a in maps[:-1]]
    reduced = [d.sum(1) if config.fc_reduction == "sum" else d.mean(1) for d in differences]
    return {
        "cls": -torch.log_softmax(logits, dim=1)[range(n), labels].mean(),
        "ca": config.weight_ca * contrastive,
        "fc": config.weight_fc * sum(r.mean() for r in reduced),
    }


VARIANTS = [
    {"margin": 10.0},
    {"attention": "literal", "embedding": "l2", "margin": 0.5},
    {"attention": "channel-mean", "fc_reduction": "sum", "weight_fc": 0.1, "weight_ca": 3.0, "margin": 10.0},
    {"mask": "drop", "embedding": "l2"},
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("settings", VARIANTS)
def test_the_whole_equals_a_literal_transcription_with_gradients(
    make, batch, gradients, literal_attention, settings, first
):
    method = make(InCA, **({"gamma_fg": 0.9, "gamma_bg": 1.02} | settings))
    images, labels = batch()
    decisions = (first, True, not first)
    for block in getattr(method, "attentions", []):  # leave the start at zero, where less is tested
        if block.out is not None:
            nn.init.normal_(block.out.weight, std=0.05)
    exact = copy.deepcopy(method).double()
    expected = literal_inca(exact, images.double(), labels, decisions, literal_attention)
    losses = method.losses(images, labels, {"drop": torch.tensor(decisions)})
    assert list(losses.terms) == list(expected)
    assert losses.terms["ca"] > 0
    for name, term in losses.terms.items():
        torch.testing.assert_close(term.double(), expected[name], rtol=1e-4, atol=1e-6, msg=name)
    torch.stack(list(expected.values())).sum().backward()
    wanted = {name: parameter.grad for name, parameter in exact.named_parameters()}
    for name, value in gradients(method, losses).items():
        target = torch.zeros_like(value, dtype=torch.float64) if wanted[name] is None else wanted[name]
        atol = 1e-3 * target.abs().max().item() + 1e-6
        torch.testing.assert_close(value.double(), target, rtol=0, atol=atol, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("attention", ["residual", "literal", "channel-mean"])
@pytest.mark.parametrize("embedding", ["raw", "l2"])
def test_with_an_open_hinge_every_parameter_gets_a_gradient_within_20_steps(make, batch, attention, embedding):
    # literal attention is nearly constant: thresholds close to its mean, or no mask is filled
    method = make(InCA, attention=attention, embedding=embedding, margin=50.0, gamma_fg=0.99, gamma_bg=1.0001)
    images, labels = batch(n=8)
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    silent = dict(method.named_parameters())
    for _ in range(20):
        losses = method.losses(images, labels, method.draw(8, (32, 32), generator))
        optimizer.zero_grad()
        torch.stack(list(losses.terms.values())).sum().backward()
        silent = {name: parameter for name, parameter in silent.items() if parameter.grad.abs().max() == 0}
        optimizer.step()
    assert set(silent) == set()


def test_table_1_gives_the_defaults_of_each_backbone():
    rows = {name: InCA.defaults(name) for name in ("vgg16", "inception_v3", "resnet50")}
    table = {name: (row.drop_rate, row.gamma_fg, row.gamma_bg) for name, row in rows.items()}
    assert table == {
        "vgg16": (0.33, 0.72, 1.2),
        "inception_v3": (0.69, 0.86, 1.2),
        "resnet50": (0.85, 0.95, 1.2),
    }
    assert InCA.defaults("resnet18") == InCA.defaults("resnet-tiny") == InCA.defaults("resnet50") == InCAConfig()


def test_one_decision_a_forward_and_point(make):
    method, generator = make(InCA, drop_rate=0.85), torch.Generator().manual_seed(0)
    drawn = torch.stack([method.draw(64, (32, 32), generator)["drop"] for _ in range(2000)])
    assert drawn.shape == (2000, 3)
    assert (drawn.double().mean(dim=0) - 0.85).abs().max() < 4.5 * math.sqrt(0.85 * 0.15 / 2000)


def test_switched_off_parts_have_no_parameters_and_no_terms(make, batch):
    images, labels = batch()
    draws = {"drop": torch.zeros(3, dtype=torch.bool)}
    for settings, terms, modules in (
        ({}, {"cls", "ca", "fc"}, {"network", "attentions", "embeddings"}),
        ({"contrastive": "none"}, {"cls", "fc"}, {"network", "attentions"}),
        ({"attention": "channel-mean"}, {"cls", "ca", "fc"}, {"network", "embeddings"}),
        ({"fc": False}, {"cls", "ca"}, {"network", "attentions", "embeddings"}),
    ):
        method = make(InCA, **settings)
        assert {name.partition(".")[0] for name in method.state_dict()} == modules
        assert set(method.losses(images, labels, draws).terms) == terms
    assert "embeddings.0.bias" not in make(InCA, embedding="raw").state_dict()  # it cancels: no gradient but rounding
    assert "embeddings.0.bias" in make(InCA, embedding="l2").state_dict()


def test_prediction_is_that_of_the_plain_network(make, batch):
    method, (images, labels) = make(InCA).eval(), batch()
    plain = CAM(method.network, CAM.Config()).eval()
    with torch.no_grad():
        ours, theirs = method.predict(images, labels), plain.predict(images, labels)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.maps, theirs.maps)
