"""InCA's presets: every row of the ablation tables, what it changes, and that it trains."""

from dataclasses import replace

import pytest
import torch

from wsolbench.backbones.registry import BACKBONES, build_backbone
from wsolbench.methods.adl import ADL
from wsolbench.methods.inca import InCA
from wsolbench.network import build_network

ADL_AS_INCA = {
    "drop_rate": 0.75,
    "gamma_fg": 0.9,
    "attention": "channel-mean",
    "mask": "drop",
    "contrastive": "none",
    "fc": False,
}
# Against the backbone's defaults with Eq. 4 as a sum.
CHANGES = {
    "table2/baseline": ADL_AS_INCA,
    "table2/baseline-with-m-dfg": ADL_AS_INCA | {"mask": "dropped-foreground"},
    "table2/without-contrastive": {"contrastive": "none"},
    "table2/without-fc": {"fc": False},
    "table2/without-non-local": {"attention": "channel-mean"},
    "table2/without-m-dfg": {"mask": "drop"},
    "table2/full": {},
    "table3/conv5_3": {"points": ("conv5_3",)},
    "table3/pool4": {"points": ("pool4", "conv5_3")},
    "table3/pool3": {"points": ("pool3", "pool4", "conv5_3")},
    "table3/pool2": {"points": ("pool2", "pool3", "pool4", "conv5_3")},
    "table3/pool1": {"points": ("pool1", "pool2", "pool3", "pool4", "conv5_3")},
    "supplement1/baseline": ADL_AS_INCA,
    "supplement1/nt-xent": {"contrastive": "nt-xent"},
    "supplement1/triplet": {},
}


def test_there_is_one_for_every_row():
    assert list(InCA.presets) == list(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_row_changes(name):
    preset = InCA.presets[name]
    assert preset.backbone == ("vgg16" if name.startswith("table3/") else "resnet50")
    assert preset.config == replace(InCA.defaults(preset.backbone), fc_reduction="sum", **CHANGES[name])
    assert preset.recipe == {"lr": 0.001, "batch_size": 32, "weight_decay": 1e-4}
    assert preset.source.startswith("Ki et al. 2020, ")
    where = {"table2": ("Table 2", "Section 4.2"), "table3": ("Table 3",), "supplement1": ("supplement, Table 1",)}
    assert any(place in preset.source for place in where[name.partition("/")[0]])
    assert BACKBONES[preset.backbone].strides[0] == 16  # the stride at 224 pixels, which no preset sets


def test_the_nt_xent_row_has_the_supplements_temperature():
    assert InCA.presets["supplement1/nt-xent"].config.temperature == 0.07


def step(method, points, size=32):
    """Return the losses of one step whose masks alternate, with their gradients."""
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    losses = method(images, torch.tensor([0, 2]), {"drop": torch.arange(points) % 2 == 0})
    torch.stack(list(losses.terms.values())).sum().backward()
    return losses


@pytest.mark.parametrize("name", [name for name in CHANGES if not name.startswith("table3/")])
def test_a_row_on_resnet_trains(name):
    torch.manual_seed(0)
    config = InCA.presets[name].config
    losses = step(InCA(build_network(build_backbone("resnet-tiny", 4), 3), config), 3)
    expected = {"cls"} | ({"ca"} if config.contrastive != "none" else set()) | ({"fc"} if config.fc else set())
    assert set(losses.terms) == expected
    assert all(term.isfinite() for term in losses.terms.values())


def test_the_baseline_is_adl_as_it_is_by_default():
    methods = []
    for kind, config in ((InCA, InCA.presets["table2/baseline"].config), (ADL, ADL.defaults("resnet50"))):
        torch.manual_seed(0)
        methods.append(kind(build_network(build_backbone("resnet-tiny", 4), 3), config))
    ours, theirs = (step(method, 3) for method in methods)
    assert torch.equal(ours.terms["cls"], theirs.terms["cls"])
    drawn = [method.draw(2, (32, 32), torch.Generator().manual_seed(5))["drop"] for method in methods]
    assert torch.equal(*drawn)


@pytest.fixture(scope="module")
def vgg16():
    torch.manual_seed(0)
    return build_network(build_backbone("vgg16", 8), 3)


@pytest.mark.parametrize("name", [name for name in CHANGES if name.startswith("table3/")])
def test_a_row_on_vgg16_trains(vgg16, name):
    torch.manual_seed(0)
    method = InCA(vgg16, InCA.presets[name].config)
    points = CHANGES[name]["points"]
    assert method.points == points
    vgg16.zero_grad(set_to_none=True)
    losses = step(method, len(points))
    assert set(losses.terms) == ({"cls", "ca"} if len(points) == 1 else {"cls", "ca", "fc"})
    assert all(term.isfinite() for term in losses.terms.values())
    assert {key for key in losses.diagnostics if key.startswith("peak_")} == {f"peak_{point}" for point in points}
    assert all(parameter.grad is not None for parameter in method.parameters())
    for block in method.attentions[: len(points) - 1]:  # the reference draws the earlier blocks
        assert block.out.weight.grad.abs().max() > 0
