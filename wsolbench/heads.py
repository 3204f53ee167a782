"""The classifiers behind a trunk: from its last feature map to logits and class activation maps.

Every head ends in global average pooling and one linear map, so the map of class k is the sum over channels of
w_k * features (Zhou et al., CVPR 2016, Eq. 2), plus w_k's bias where the head is a 1x1 convolution.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.backbones.base import Step


class Head(nn.Module, ABC):
    """What follows a trunk.

    Attributes:
        points: the head's own named points -> channels, early to late; they follow the trunk's.
        dropout: probability of the head's dropout layers; a method whose reference has none sets it to 0.
    """

    points: Mapping[str, int]
    dropout: float

    def __init__(self, points: Mapping[str, int] | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.points = points or {}
        self.dropout = dropout

    @abstractmethod
    def steps(self) -> list[Step]:
        """Return the steps between the trunk and the classification."""

    @abstractmethod
    def classifier(self) -> tuple[Tensor, Tensor, bool]:
        """Return weight (K, C) and bias (K,) of the last linear map, and whether the bias belongs to the maps."""

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (N, K) of the last feature map (N, C, h, w), float32 (the weights') under autocast too."""
        weight, bias, _ = self.classifier()
        with torch.autocast(features.device.type, enabled=False):
            return functional.linear(features.mean(dim=(2, 3)).to(weight.dtype), weight, bias)

    def class_maps(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return each image's map of one class.

        Args:
            features: (N, C, h, w).
            labels: int64 (N,), the class of each image's map.

        Returns:
            float32 (N, h, w); any sign, any range.
        """
        weight, bias, in_maps = self.classifier()
        maps = weighted_sum(features, weight[labels])
        return maps + bias[labels][:, None, None] if in_maps else maps

    def mixed_maps(self, features: Tensor, mix: Tensor) -> Tensor:
        """Return a weighted sum over all classes' maps, without building one map a class.

        Args:
            features: (N, C, h, w).
            mix: (N, K), the weight of each class's map.

        Returns:
            float32 (N, h, w); any sign, any range.
        """
        weight, bias, in_maps = self.classifier()
        with torch.autocast(features.device.type, enabled=False):
            maps = weighted_sum(features, mix.to(weight.dtype) @ weight)
            return maps + (mix.to(weight.dtype) @ bias)[:, None, None] if in_maps else maps


def weighted_sum(features: Tensor, weight: Tensor) -> Tensor:
    """Return the sum over channels of features (N, C, h, w) times weight (N, C), (N, h, w) of the weight's type."""
    return (weight[:, :, None, None] * features.to(weight.dtype)).sum(dim=1)


class GapHead(Head):
    """Global average pooling and a linear classifier, the head of every ResNet.

    The initial weights are torch's own, where the reference's are N(0, 0.01).

    Args:
        channels: channels C of the last feature map.
        num_classes: number of classes K.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, num_classes)

    def steps(self) -> list[Step]:
        """Return no step."""
        return []

    def classifier(self) -> tuple[Tensor, Tensor, bool]:
        """Return the linear layer's weight and bias; the maps leave the bias out, as the reference's."""
        return self.fc.weight, self.fc.bias, False


class ConvGapHead(Head):
    """A 3x3 convolution, ReLU, global average pooling and a linear classifier: the head on VGG16.

    The initial weights are the reference's: He-normal for the convolution, N(0, 0.01) for the classifier, zero biases.

    Args:
        channels: channels of the trunk's last feature map.
        num_classes: number of classes K.
        width: channels of the convolution, which is the point ``conv6``.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 1024) -> None:
        super().__init__(points={"conv6": width})
        self.conv6 = nn.Conv2d(channels, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)
        he_normal(self.conv6)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def steps(self) -> list[Step]:
        """Return the convolution with its ReLU."""
        return [("conv6", lambda x: functional.relu(self.conv6(x)))]

    def classifier(self) -> tuple[Tensor, Tensor, bool]:
        """Return the linear layer's weight and bias; the maps leave the bias out, as the reference's."""
        return self.fc.weight, self.fc.bias, False


class DeepConvHead(Head):
    """Two 3x3 convolutions with dropout around them and a 1x1 convolution to the classes: the head on InceptionV3.

    Args:
        channels: channels of the trunk's last feature map.
        num_classes: number of classes K.
        width: channels of the convolutions, which are the points ``A3_1b`` and ``A3_2b``.
        dropout: probability, before each convolution; drawn from torch's own stream, which the engine seeds.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 1024, dropout: float = 0.5) -> None:
        super().__init__(points={"A3_1b": width, "A3_2b": width}, dropout=dropout)
        self.A3_1b = conv3x3(channels, width)
        self.A3_2b = conv3x3(width, width)
        self.A4 = nn.Conv2d(width, num_classes, 1)
        initialise(self.A4)

    def steps(self) -> list[Step]:
        """Return both convolutions, each with its ReLU, and the dropout layers before, between and after them."""
        return [
            (None, self._drop),
            ("A3_1b", lambda x: functional.relu(self.A3_1b(x))),
            (None, self._drop),
            ("A3_2b", lambda x: functional.relu(self.A3_2b(x))),
            (None, self._drop),
        ]

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x

    def classifier(self) -> tuple[Tensor, Tensor, bool]:
        """Return the 1x1 convolution's weight and bias; a class's map is its channel, bias included."""
        assert self.A4.bias is not None
        return self.A4.weight.flatten(1), self.A4.bias, True


def conv3x3(channels: int, width: int) -> nn.Conv2d:
    """Build a 3x3 convolution of padding 1, initialised as the reference initialises its heads'."""
    layer = nn.Conv2d(channels, width, 3, padding=1)
    initialise(layer)
    return layer


def initialise(layer: nn.Conv2d) -> None:
    """Set Xavier-uniform weights and a zero bias."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def he_normal(layer: nn.Conv2d) -> None:
    """Set He-normal weights by fan-out and a zero bias, as torchvision initialises VGG and ResNet."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
