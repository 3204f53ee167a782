"""VGG16 to its last convolution (Simonyan and Zisserman, ICLR 2015), with torchvision's keys.

The fifth pool and the fully connected layers are left out, so the feature map has stride 16; without the fourth pool
it has stride 8 (METHODS: Backbones).
"""

from collections.abc import Collection
from typing import ClassVar

from torch import nn

from wsolbench.backbones.base import Backbone, Step
from wsolbench.heads import ConvGapHead, he_normal

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and their channels; a pool between two blocks
# A point named after a convolution lies after its ReLU, which works in place: what is kept is never overwritten.
POINTS = {4: "pool1", 9: "pool2", 16: "pool3", 22: "conv4_3", 23: "pool4", 29: "conv5_3"}


class VGG16(Backbone):
    """The convolutions of VGG16.

    Args:
        stride: 16, or 8: the fourth pool is an identity then, so that every key keeps its number.
    """

    dropped_prefixes: ClassVar[tuple[str, ...]] = ("classifier.",)

    def __init__(self, stride: int) -> None:
        super().__init__()
        pools = (*(nn.MaxPool2d(2) for _ in range(3)), nn.MaxPool2d(2) if stride == 16 else nn.Identity())
        layers: list[nn.Module] = []
        channels = 3
        for (depth, width), pool in zip(BLOCKS, (*pools, None), strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers += [] if pool is None else [pool]
        self.features = nn.Sequential(*layers)
        self.points = dict(zip(POINTS.values(), (64, 128, 256, 512, 512, 512), strict=True))
        self.roles = {"insertion": ("pool3", "pool4", "conv5_3"), "guidance": ("pool4", "conv5_3")}
        self.channels = channels
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                he_normal(layer)

    def steps(self) -> list[Step]:
        """Return one step per layer."""
        return [(POINTS.get(index), layer) for index, layer in enumerate(self.features)]

    def make_head(self, num_classes: int) -> ConvGapHead:
        """Build the head with a 3x3 convolution, ``conv6``, before the linear classifier."""
        return ConvGapHead(self.channels, num_classes)

    def reference_is_fast(self, name: str) -> bool:
        """Whether a parameter lies outside torchvision's ``features``."""
        return not name.startswith("backbone.features.")

    def overlap_pools(self, points: Collection[str] | None = None) -> None:
        """Make the 2x2 pools at these points 3x3 ones of stride 2 and padding 1; the identity of stride 8 stays.

        Args:
            points: which pools; None: all.
        """
        for index, point in POINTS.items():
            pool = self.features[index]
            if isinstance(pool, nn.MaxPool2d) and (points is None or point in points):
                pool.kernel_size, pool.padding = 3, 1


def vgg16(stride: int) -> VGG16:
    """Build VGG16 with a feature-map stride of 16 or 8 pixels."""
    return VGG16(stride)
