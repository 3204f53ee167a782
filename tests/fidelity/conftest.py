"""Parity with the formulas: the method in float64 against a slow, literal transcription of its card.

A transcription may call torch's layers, and the trunk as a whole; it calls none of the method's functions and none of
the head's or network's. Each file names in ``PARITY`` its method and what was found equal on every backbone below.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.heads import Head
from wsolbench.method import Draws, Method
from wsolbench.network import build_network

BACKBONES = ("vgg16", "inception_v3", "resnet50")
TOLERANCE = 1e-5


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> str:
    return request.param


def make_double(
    kind: type[Method[Any]], backbone: str, *, classes: int = 4, stride: int = 16, **settings: Any
) -> Method[Any]:
    """A method in float64 and in training mode, on random weights, with the backbone's defaults."""
    torch.manual_seed(0)
    network = build_network(build_backbone(backbone, stride), classes)
    return kind(network, dataclasses.replace(kind.defaults(backbone), **settings)).double()


def make_batch(n: int = 2, size: tuple[int, int] = (80, 64), classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, *size, generator=generator, dtype=torch.float64)
    return images, torch.randint(classes, (n,), generator=generator)


def cam_head(head: Head, trunk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The CAM head, layer by layer: its last features (N, C, h, w), all class maps (N, K, h, w), logits (N, K)."""

    def drop(x: Tensor) -> Tensor:
        return functional.dropout(x, head.dropout, head.training)

    if hasattr(head, "A4"):  # InceptionV3
        features = drop(functional.relu(head.A3_2b(drop(functional.relu(head.A3_1b(drop(trunk)))))))
        maps = head.A4(features)
        return features, maps, maps.mean(dim=(2, 3))
    features = functional.relu(head.conv6(trunk)) if hasattr(head, "conv6") else trunk
    images = []
    for image in features:  # map k = sum over channels of w_k * features
        images.append(torch.stack([(row[:, None, None] * image).sum(dim=0) for row in head.fc.weight]))
    maps = torch.stack(images)
    return features, maps, maps.mean(dim=(2, 3)) + head.fc.bias


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over images of log(sum over k of exp(logit k)) - logit of the label."""
    images = [row.exp().sum().log() - row[label] for row, label in zip(logits, labels, strict=True)]
    return sum(images) / len(images)


def assert_close(ours: Tensor, theirs: Tensor, name: str) -> None:
    """Equal to 1e-5 of the largest value; and there is something to compare."""
    assert ours.dtype == theirs.dtype == torch.float64, name
    assert ours.shape == theirs.shape, name
    scale = theirs.detach().abs().max()
    assert scale > 0, f"{name} is zero"
    assert (ours - theirs).abs().max() <= TOLERANCE * scale, name


def assert_same_training(
    method: Method[Any], images: Tensor, labels: Tensor, draws: Draws, literal: Callable[[], Mapping[str, Tensor]]
) -> None:
    """Every loss term, and the gradient of their sum in every parameter; torch's own stream (dropout) starts alike."""
    torch.manual_seed(2)
    ours = method(images, labels, draws).terms
    torch.manual_seed(2)
    theirs = literal()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert_close(ours[key], theirs[key], key)
    assert_same_gradients(method, sum(ours.values()), sum(theirs.values()))


def assert_same_gradients(method: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    names, parameters = zip(*method.named_parameters(), strict=True)
    found, expected = (torch.autograd.grad(loss, parameters) for loss in (ours, theirs))
    for name, a, b in zip(names, found, expected, strict=True):
        assert_close(a, b, name)


@pytest.fixture
def double() -> Callable[..., Method[Any]]:
    return make_double


@pytest.fixture
def batch() -> Callable[..., tuple[Tensor, Tensor]]:
    return make_batch


@pytest.fixture
def literal_head() -> Callable[[Head, Tensor], tuple[Tensor, Tensor, Tensor]]:
    return cam_head


@pytest.fixture
def literal_cross_entropy() -> Callable[[Tensor, Tensor], Tensor]:
    return cross_entropy


@pytest.fixture
def same_training() -> Callable[..., None]:
    return assert_same_training


@pytest.fixture
def close() -> Callable[[Tensor, Tensor, str], None]:
    return assert_close
