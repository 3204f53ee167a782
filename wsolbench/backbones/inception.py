"""InceptionV3 to Mixed_6e (Szegedy et al., CVPR 2016), from torchvision's blocks, with torchvision's keys.

torchvision's own strides and padding give 25x25 and 12x12 maps at 224 pixels. Here the stem is padded, and the step
to stride 16 is a pool before Mixed_6a instead of Mixed_6a itself: 28x28 and 14x14 (METHODS: Backbones).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionB, InceptionC

from wsolbench.backbones.base import Backbone, Step
from wsolbench.heads import DeepConvHead


class DenseInceptionB(InceptionB):  # type: ignore[misc]
    """torchvision's reduction block with stride 1 and padding 1 in all three branches: it keeps the map's size.

    Args:
        channels: channels of the input; the output has 480 more.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for branch in (self.branch3x3, self.branch3x3dbl_3):
            branch.conv.stride, branch.conv.padding = (1, 1), (1, 1)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)  # torchvision's is a function with a fixed stride of 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the three branches' channels, (N, channels + 480, h, w), of x (N, channels, h, w)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, self.pool(x)], dim=1)


class InceptionV3(Backbone):
    """InceptionV3 without its last three blocks. Every Mixed block is a point, and so is the pool before Mixed_6a.

    Args:
        stride: 16, or 8: the pool before Mixed_6a is an identity then.
    """

    dropped_prefixes: ClassVar[tuple[str, ...]] = ("AuxLogits.", "Mixed_7", "fc.")

    def __init__(self, stride: int) -> None:
        super().__init__()
        # The order in which the layers are made is the order in which they run: see steps().
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2, padding=1)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.pool6a = nn.MaxPool2d(3, stride=2, ceil_mode=True) if stride == 16 else nn.Identity()
        self.Mixed_6a = DenseInceptionB(288)
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        self.points = {"Mixed_5b": 256, "Mixed_5c": 288, "Mixed_5d": 288, "pool6a": 288}
        self.points |= {f"Mixed_6{letter}": 768 for letter in "abcde"}
        self.roles = {"insertion": ("Mixed_5d", "Mixed_6e", "A3_2b"), "guidance": ("pool6a", "Mixed_6e")}
        self.channels = 768
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # as torchvision initialises it
                nn.init.trunc_normal_(layer.weight, std=0.1, a=-2, b=2)

    def steps(self) -> list[Step]:
        """Return one step per layer of the stem, per block and per pool."""
        return [(name if name in self.points else None, layer) for name, layer in self.named_children()]

    def make_head(self, num_classes: int) -> DeepConvHead:
        """Build the head with two 3x3 convolutions; its second point, ``A3_2b``, is an insertion point."""
        return DeepConvHead(self.channels, num_classes)

    def reference_is_fast(self, name: str) -> bool:
        """Whether a parameter lies outside the stem and the Mixed blocks."""
        return not name.startswith("backbone.")


def inception_v3(stride: int) -> InceptionV3:
    """Build InceptionV3 with a feature-map stride of 16 or 8 pixels."""
    return InceptionV3(stride)
