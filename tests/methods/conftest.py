"""Methods on resnet-tiny, and on a probe whose features are the images themselves, for cases worked by hand."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsolbench.backbones.base import Backbone, Step
from wsolbench.backbones.registry import build_backbone
from wsolbench.heads import GapHead
from wsolbench.method import Losses, Method
from wsolbench.network import Network, build_network


class Transparent(Backbone):
    """Points that pass their input on: what a method does to the features is all that happens."""

    dropped_prefixes = ()

    def __init__(self, points: int, channels: int) -> None:
        super().__init__()
        self.points = {f"p{index}": channels for index in range(points)}
        self.roles = {"insertion": tuple(self.points)}
        self.channels = channels

    def steps(self) -> list[Step]:
        return [(point, nn.Identity()) for point in self.points]

    def make_head(self, num_classes):
        return GapHead(self.channels, num_classes)

    def reference_is_fast(self, name):
        return False


class Probe(Network):
    """A network that remembers the feature map it classified."""

    features: Tensor

    def logits(self, features: Tensor) -> Tensor:
        self.features = features
        return super().logits(features)


def make_method(kind: type[Method[Any]], *, classes: int = 3, seed: int = 0, **settings: Any) -> Method[Any]:
    torch.manual_seed(seed)
    network = build_network(build_backbone("resnet-tiny", 4), classes)
    return kind(network, dataclasses.replace(kind.defaults("resnet-tiny"), **settings))


def make_probe(kind: type[Method[Any]], *, points: int = 1, channels: int = 1, **settings: Any) -> Method[Any]:
    torch.manual_seed(0)
    network = Probe(Transparent(points, channels), GapHead(channels, 2), 2)
    return kind(network, dataclasses.replace(kind.defaults("resnet-tiny"), **settings))


def make_batch(n: int = 4, size: int = 32, classes: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, size, size, generator=generator)
    return images, torch.randint(classes, (n,), generator=generator)


def loss_gradients(method: nn.Module, losses: Losses) -> dict[str, Tensor | None]:
    """Gradient of the summed terms by parameter name."""
    named = list(method.named_parameters())
    total = torch.stack(list(losses.terms.values())).sum()
    values = torch.autograd.grad(total, [parameter for _, parameter in named], allow_unused=True)
    return {name: value for (name, _), value in zip(named, values, strict=True)}


def attention_as_written(block: nn.Module, x: Tensor) -> Tensor:
    """Eq. 5 of InCA, image by image: the whole P @ z, C x HW, then the mean over channels."""
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    images = []
    for f, g, z in zip(query, key, value, strict=True):
        scores = (f.T @ g).exp()  # a row for each position, a column for each key; not divided by sqrt(d)
        images.append((scores / scores.sum(dim=1, keepdim=True) @ z.T).T)
    attended = torch.stack(images).view_as(x)
    if block.out is not None:
        attended = block.out(attended) + x
    return attended.mean(dim=1, keepdim=True)


@pytest.fixture
def literal_attention() -> Callable[[nn.Module, Tensor], Tensor]:
    return attention_as_written


@pytest.fixture
def make() -> Callable[..., Method[Any]]:
    return make_method


@pytest.fixture
def probe() -> Callable[..., Method[Any]]:
    return make_probe


@pytest.fixture
def batch() -> Callable[..., tuple[Tensor, Tensor]]:
    return make_batch


@pytest.fixture
def gradients() -> Callable[..., dict[str, Tensor | None]]:
    return loss_gradients
