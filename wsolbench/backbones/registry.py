"""The backbones by name. Imports neither torch nor a backbone until one is built."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from wsolbench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsolbench.backbones.base import Backbone


@dataclass(frozen=True)
class BackboneEntry:
    """One backbone.

    Attributes:
        target: ``module:function`` that builds it from a feature-map stride.
        strides: feature-map strides to choose from, coarse to fine.
        weights: torchvision's weights, ``enum.member`` in ``torchvision.models``; empty if there are none.
        summary: one line for ``wsolbench list backbones``.
    """

    target: str
    strides: tuple[int, ...]
    weights: str
    summary: str


BACKBONES: dict[str, BackboneEntry] = {
    "vgg16": BackboneEntry(
        "wsolbench.backbones.vgg:vgg16",
        (16, 8),
        "VGG16_Weights.IMAGENET1K_V1",
        "VGG16 to conv5_3, stride 16 or 8",
    ),
    "inception_v3": BackboneEntry(
        "wsolbench.backbones.inception:inception_v3",
        (16, 8),
        "Inception_V3_Weights.IMAGENET1K_V1",
        "InceptionV3 to Mixed_6e, stride 16 or 8",
    ),
    "resnet50": BackboneEntry(
        "wsolbench.backbones.resnet:resnet50",
        (16, 8, 4),
        "ResNet50_Weights.IMAGENET1K_V1",
        "ResNet50, stride 16, 8 or 4",
    ),
    "resnet18": BackboneEntry(
        "wsolbench.backbones.resnet:resnet18",
        (16, 8, 4),
        "ResNet18_Weights.IMAGENET1K_V1",
        "ResNet18, for small machines, stride 16, 8 or 4",
    ),
    "resnet-tiny": BackboneEntry(
        "wsolbench.backbones.resnet:resnet_tiny",
        (8, 4),
        "",
        "small ResNet of width 16, for 64-pixel images and tests",
    ),
}


def backbone_entry(name: str) -> BackboneEntry:
    """Return the entry of a backbone.

    Raises:
        UserError: there is no such backbone; the nearest name is suggested.
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name]


def build_backbone(name: str, stride: int) -> "Backbone":
    """Build a backbone with random weights.

    Args:
        name: as in ``wsolbench list backbones``.
        stride: input pixels per feature-map pixel.

    Raises:
        UserError: unknown name, or a stride this backbone does not offer.
    """
    entry = backbone_entry(name)
    if stride not in entry.strides:
        raise UserError(
            f"--feature-map {stride} is not available for {name}; expected one of "
            f"{', '.join(str(s) for s in entry.strides)}"
        )
    module, _, function = entry.target.partition(":")
    backbone: Backbone = getattr(import_module(module), function)(stride)
    return backbone
