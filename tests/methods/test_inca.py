"""InCA's forward: what is applied at each point, what each loss reaches, and the whole against a transcription."""

import copy
import math

import pytest
import torch
from torch import nn

from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.heads import DeepConvHead
from wsolbench.methods.adl import ADL, ADLConfig
from wsolbench.methods.cam import CAM
from wsolbench.methods.inca import InCA, InCAConfig
from wsolbench.network import Network, build_network

POINTS = ("layer3.0", "layer4.0", "layer4.1")
OFF = {"attention": "channel-mean", "mask": "drop", "contrastive": "none", "fc": False}
# mean 2, maximum 6; with gamma_bg 1.2 and gamma_fg 0.8 the dropped foreground is 2.4 < A < 4.8
GRID = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 6.0, 3.0], [1.0, 1.0, 4.0]]])
MASKED = [0, 0, 0, 0, 0, 3, 0, 0, 4]
WEIGHTED = [x / (1 + math.exp(-x)) for x in GRID.flatten().tolist()]
HAND = {"attention": "channel-mean", "gamma_fg": 0.8, "gamma_bg": 1.2}


def build(kind, backbone, config):
    torch.manual_seed(0)
    return kind(build_network(build_backbone(backbone, {"resnet-tiny": 4, "vgg16": 8}[backbone]), 3), config)


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
    assert losses.diagnostics["foreground_p0"].item() == pytest.approx(3 / 9)  # A > 2.4: 6, 3 and 4
    with torch.no_grad():
        method.embeddings[0].weight.zero_()  # all embeddings equal: every hinge is at the margin
    losses, _ = run(method, torch.stack([GRID, torch.full_like(GRID, 2.0)]), [True])
    assert losses.diagnostics["active_triplets_p0"].item() == 0.5
    assert losses.terms["ca"].item() == pytest.approx(0.5 * method.config.margin, rel=1e-5)
    assert not any(value.requires_grad for value in losses.diagnostics.values())


def test_an_image_with_an_empty_mask_adds_nothing_to_nt_xent(probe):
    method = probe(InCA, contrastive="nt-xent", temperature=0.5, fc=False, **HAND)
    flat = torch.full_like(GRID, 2.0)
    images = torch.stack([GRID, flat, flat]).requires_grad_()
    with torch.no_grad():
        method.embeddings[0].weight.zero_()[0, 0] = 1  # the averages 3.5, 13 / 3 and 5 / 6, and a second coordinate 1
        method.embeddings[0].bias.zero_()[1] = 1
    losses, _ = run(method, images, [True])
    unit = [(x / math.hypot(x, 1), 1 / math.hypot(x, 1)) for x in (3.5, 13 / 3, 5 / 6)]
    near, far = (sum(a * b for a, b in zip(unit[0], other, strict=True)) for other in unit[1:])
    assert losses.terms["ca"].item() == pytest.approx(math.log1p(math.exp((far - near) / 0.5)) / 3, rel=1e-5)
    assert "active_triplets_p0" not in losses.diagnostics
    (gradient,) = torch.autograd.grad(losses.terms["ca"], images)
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0


def test_nt_xent_of_features_that_are_zero_has_a_finite_gradient(probe):
    method = probe(InCA, contrastive="nt-xent", channels=2)
    for images in (torch.zeros(2, 2, 3, 3), torch.zeros(2, 2, 3, 3).index_fill_(3, torch.tensor([0]), -1.0)):
        with torch.no_grad():
            method.embeddings[0].bias.zero_()
        losses, _ = run(method, images, [True])
        values = torch.autograd.grad(losses.terms["ca"], list(method.embeddings.parameters()))
        assert losses.terms["ca"].isfinite()
        assert all(value.isfinite().all() for value in values)


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
@pytest.mark.parametrize(
    ("backbone", "decisions"),
    [
        ("resnet-tiny", (True, True, True)),
        ("resnet-tiny", (False, True, False)),
        ("resnet-tiny", (False, False, False)),
        ("vgg16", (True, False, True)),
    ],
)
def test_everything_off_equals_adl_bit_for_bit(batch, gradients, backbone, decisions, autocast):
    points = {"resnet-tiny": POINTS, "vgg16": ("pool2", "pool4", "conv5_3")}[backbone]
    inca = build(InCA, backbone, InCAConfig(drop_rate=0.7, gamma_fg=0.8, points=points, **OFF))
    adl = build(ADL, backbone, ADLConfig(drop_rate=0.7, gamma=0.8, points=points))
    assert inca.state_dict().keys() == adl.state_dict().keys()
    images, labels = batch(n=3)
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


def literal_contrast(z, config):
    """Eq. 3, or the supplement's Eq. 1, of one image's three embeddings."""
    if config.contrastive == "triplet":
        near, far = ((((z[0] - other) ** 2).sum() + 1e-12) ** 0.5 for other in z[1:])
        return torch.relu(near - far + config.margin)
    near, far = ((z[0] @ other / z[0].norm() / other.norm() / config.temperature).exp() for other in z[1:])
    return -torch.log(near / (near + far))


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
                if config.embedding == "l2" or config.contrastive == "nt-xent":
                    z = [v + method.embeddings[index].bias for v in z]
                if config.embedding == "l2":
                    z = [v / v.norm() for v in z]
                contrastive = contrastive + literal_contrast(z, config) / n
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
    {"contrastive": "nt-xent", "temperature": 0.2},
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("settings", VARIANTS)
def test_the_whole_equals_a_literal_transcription_with_gradients(
    make, batch, gradients, literal_attention, settings, first
):
    method = make(InCA, **({"gamma_fg": 0.9, "gamma_bg": 1.02} | settings)).double()
    images, labels = batch()
    images = images.double()
    decisions = (first, True, not first)
    for block in getattr(method, "attentions", []):  # leave the start at zero, where less is tested
        if block.out is not None:
            nn.init.normal_(block.out.weight, std=0.05)
    exact = copy.deepcopy(method)
    expected = literal_inca(exact, images, labels, decisions, literal_attention)
    losses = method.losses(images, labels, {"drop": torch.tensor(decisions)})
    assert list(losses.terms) == list(expected)
    assert losses.terms["ca"] > 0
    for name, term in losses.terms.items():
        torch.testing.assert_close(term, expected[name], rtol=1e-9, atol=0, msg=name)
    torch.stack(list(expected.values())).sum().backward()
    wanted = {name: parameter.grad for name, parameter in exact.named_parameters()}
    for name, value in gradients(method, losses).items():
        target = torch.zeros_like(value) if wanted[name] is None else wanted[name]
        atol = 1e-8 * target.abs().max().item() + 1e-12
        torch.testing.assert_close(value, target, rtol=0, atol=atol, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("attention", ["residual", "literal", "channel-mean"])
@pytest.mark.parametrize("loss", [{"embedding": "raw"}, {"embedding": "l2"}, {"contrastive": "nt-xent"}])
def test_with_an_open_hinge_every_parameter_gets_a_gradient_within_20_steps(make, batch, attention, loss):
    # literal attention is nearly constant: thresholds close to its mean, or no mask is filled
    method = make(InCA, attention=attention, margin=50.0, gamma_fg=0.99, gamma_bg=1.0001, **loss)
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
        ({"contrastive": "nt-xent"}, {"cls", "ca", "fc"}, {"network", "attentions", "embeddings"}),
        ({"contrastive": "none"}, {"cls", "fc"}, {"network", "attentions"}),
        ({"attention": "channel-mean"}, {"cls", "ca", "fc"}, {"network", "embeddings"}),
        ({"fc": False}, {"cls", "ca"}, {"network", "attentions", "embeddings"}),
    ):
        method = make(InCA, **settings)
        assert {name.partition(".")[0] for name in method.state_dict()} == modules
        assert set(method.losses(images, labels, draws).terms) == terms
    assert "embeddings.0.bias" not in make(InCA, embedding="raw").state_dict()  # it cancels: no gradient but rounding
    assert "embeddings.0.bias" in make(InCA, embedding="l2").state_dict()
    assert "embeddings.0.bias" in make(InCA, contrastive="nt-xent").state_dict()


def test_points_are_taken_by_name_early_to_late(make, batch):
    method, (images, labels) = make(InCA, points=("layer4.1", "layer2.0"), fc_reduction="sum"), batch()
    assert method.points == ("layer2.0", "layer4.1")
    draws = {"drop": torch.zeros(2, dtype=torch.bool)}
    assert method.draw(4, (32, 32), torch.Generator())["drop"].shape == (2,)
    losses = method.losses(images, labels, draws)
    views = method.views(images, labels, draws)
    difference = views["attention layer2.0"] - views["attention layer4.1"]  # both 8x8
    assert losses.terms["fc"].item() == pytest.approx(difference.square().sum(dim=(1, 2)).mean().item(), rel=1e-5)
    reached = torch.autograd.grad(
        losses.terms["fc"], [block.out.weight for block in method.attentions], allow_unused=True
    )
    assert [value is None for value in reached] == [False, True]  # the last point is the reference
    with pytest.raises(UserError, match="unknown point 'layer3'; did you mean 'layer3.0'"):
        make(InCA, points=("layer3",))


def test_a_single_point_has_no_consistency_loss(make, batch):
    method, (images, labels) = make(InCA, points=("layer4.1",), margin=10.0), batch()
    assert method.config.fc
    losses = method.losses(images, labels, {"drop": torch.ones(1, dtype=torch.bool)})
    assert set(losses.terms) == {"cls", "ca"}


def test_the_heads_dropout_is_off(probe):
    network = Network(probe(InCA, channels=8).network.backbone, DeepConvHead(8, 3, width=4), 3)
    assert network.head.dropout == 0.5
    method = InCA(network, InCAConfig())
    images, labels = torch.rand(2, 8, 6, 6), torch.tensor([0, 1])
    first, second = (method.losses(images, labels, {"drop": torch.tensor([True])}).terms["cls"] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("settings", [{"contrastive": "nt-xent", "attention": "literal"}, OFF])
def test_other_variants_compile_without_a_graph_break(make, batch, settings):
    method, (images, labels) = make(InCA, **settings), batch()
    draws = {"drop": torch.tensor([True, False, True])}
    plain = method(images, labels, draws)
    compiled = torch.compile(method, backend="eager", fullgraph=True)(images, labels, draws)
    torch.compiler.reset()
    assert all(torch.equal(compiled.terms[key], plain.terms[key]) for key in plain.terms)


def test_views_show_what_a_step_does(probe):
    method = probe(InCA, **HAND)
    peaked = torch.zeros_like(GRID)
    peaked[0, 1, 1] = 9
    images = torch.stack([GRID, peaked])
    views = method.views(images, torch.zeros(2, dtype=torch.int64), {"drop": torch.tensor([True])})
    assert list(views) == ["attention p0", "dropped foreground p0", "foreground p0", "factor p0", "class map"]
    assert all(view.shape == (2, 3, 3) for view in views.values())
    assert torch.equal(views["attention p0"], images[:, 0])
    assert views["dropped foreground p0"].flatten(1).tolist() == [[0, 0, 0, 0, 0, 1, 0, 0, 1], [0] * 9]
    assert views["foreground p0"].flatten(1).tolist() == [[0, 0, 0, 0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0, 0, 0]]
    assert torch.equal(views["factor p0"][0], views["dropped foreground p0"][0])
    assert torch.equal(views["factor p0"][1], peaked[0].sigmoid())  # its mask is empty


def test_prediction_is_that_of_the_plain_network(make, batch):
    method, (images, labels) = make(InCA).eval(), batch()
    plain = CAM(method.network, CAM.Config()).eval()
    with torch.no_grad():
        ours, theirs = method.predict(images, labels), plain.predict(images, labels)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.maps, theirs.maps)
