"""Trunk and head as one ordered list of points: logits and class activation maps (Zhou et al., CVPR 2016)."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from wsolbench.backbones.base import Backbone, Effect, Features, Step, run_steps


class GapHead(nn.Module):
    """Global average pooling and a linear classifier, the head of every ResNet.

    Args:
        channels: channels C of the last feature map.
        num_classes: number of classes K.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, num_classes)

    def steps(self) -> list[Step]:
        """Return the steps before the classification: none here."""
        return []

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (N, K) of a feature map (N, C, h, w), in float32."""
        return _linear(features.mean(dim=(2, 3)), self.fc)

    def class_maps(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return each image's map of one class: the sum over channels of w_k * features.

        Args:
            features: (N, C, h, w).
            labels: int64 (N,), the class of each image's map.

        Returns:
            float32 (N, h, w); any sign, any range.
        """
        weight = self.fc.weight[labels].float()
        return (weight[:, :, None, None] * features.float()).sum(dim=1)


def _linear(pooled: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer in float32, also where autocast is on: logits and losses are full precision."""
    with torch.autocast(pooled.device.type, enabled=False):
        logits: Tensor = layer(pooled.float())
    return logits


class Network(nn.Module):
    """A backbone and its head.

    Attributes:
        points: point name -> channels, early to late, the head's points last.
        roles: named groups of points, such as ``insertion``.
        num_classes: number of classes K.
        pretrained: names of the trunk parameters that came from a weight file; see :mod:`wsolbench.backbones.weights`.
    """

    def __init__(self, backbone: Backbone, head: GapHead, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.num_classes = num_classes
        self.points: Mapping[str, int] = backbone.points
        self.roles: Mapping[str, tuple[str, ...]] = backbone.roles
        self.pretrained: frozenset[str] = frozenset()

    def forward(
        self,
        images: Tensor,
        *,
        after: Mapping[str, Effect] | None = None,
        keep: Collection[str] = (),
        start: str | None = None,
    ) -> Features:
        """Run trunk and head up to the last feature map; see :func:`wsolbench.backbones.base.run_steps`.

        Args:
            images: float (N, 3, H, W), normalised; with ``start`` the value at that point.
            after: effects by point.
            keep: points whose value before the effect is returned.
            start: run only what follows this point.

        Returns:
            The last feature map (N, C, h, w) and the kept values.
        """
        steps = self.backbone.steps() + self.head.steps()
        return run_steps(steps, images, after=after or {}, keep=keep, start=start)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits, float32 (N, K), of the last feature map (N, C, h, w)."""
        return self.head.logits(features)

    def class_maps(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return each image's class activation map, float32 (N, h, w), for int64 labels (N,)."""
        return self.head.class_maps(features, labels)


def build_network(backbone: Backbone, num_classes: int) -> Network:
    """Put the CAM head on a backbone."""
    return Network(backbone, GapHead(backbone.channels, num_classes), num_classes)
