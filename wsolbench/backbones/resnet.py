"""ResNets with a fine feature map (He et al., CVPR 2016), from torchvision's blocks, with torchvision's keys.

The last stages run at stride 1 until the asked-for feature-map stride is reached; they are not dilated, and their
downsampling convolutions lose their stride too (METHODS: Backbones).
"""

from typing import ClassVar

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from wsolbench.backbones.base import Backbone, Step
from wsolbench.heads import GapHead, he_normal

Block = type[BasicBlock] | type[Bottleneck]
Four = tuple[int, int, int, int]


class ResNet(Backbone):
    """A ResNet trunk. Every residual block is a point: ``layer3.0`` is the first block of the third stage.

    Args:
        block: torchvision's residual block.
        depths: number of blocks of the four stages.
        widths: channels of the four stages (before a bottleneck's expansion).
        strides: strides of the four stages.
        small_stem: a 3x3 convolution of stride 1 and no pool instead of 7x7, stride 2 and a pool.
    """

    dropped_prefixes: ClassVar[tuple[str, ...]] = ("fc.",)

    def __init__(self, block: Block, *, depths: Four, widths: Four, strides: Four, small_stem: bool = False) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = nn.Conv2d(3, widths[0], kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_stem else nn.MaxPool2d(3, stride=2, padding=1)
        channels = widths[0]
        points: dict[str, int] = {}
        for number, (depth, width, stage_stride) in enumerate(zip(depths, widths, strides, strict=True), start=1):
            self.add_module(f"layer{number}", _stage(block, channels, width, depth, stage_stride))
            channels = width * block.expansion
            points |= {f"layer{number}.{index}": channels for index in range(depth)}
        self.points = points
        self.roles = {
            "insertion": ("layer3.0", "layer4.0", f"layer4.{depths[3] - 1}"),
            "guidance": ("layer3.0", f"layer3.{depths[2] - 1}"),
        }
        self.channels = channels
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                he_normal(layer)

    def steps(self) -> list[Step]:
        """Return the stem and then one step per residual block."""
        steps: list[Step] = [(None, layer) for layer in (self.conv1, self.bn1, self.relu, self.maxpool)]
        return steps + [(point, self.get_submodule(point)) for point in self.points]

    def make_head(self, num_classes: int) -> GapHead:
        """Build the linear classifier."""
        return GapHead(self.channels, num_classes)

    def reference_is_fast(self, name: str) -> bool:
        """Whether a parameter belongs to ``layer4`` or ``fc``: heads of other names are slow there."""
        return name.startswith(("backbone.layer4.", "head.fc."))


def _late_strides(stride: int) -> Four:
    """Return the stages' strides (1, 2, 2, 2 behind a stem of 4), the last ones set to 1 until the total is reached."""
    return {4: (1, 1, 1, 1), 8: (1, 2, 1, 1), 16: (1, 2, 2, 1), 32: (1, 2, 2, 2)}[stride]


def _stage(block: Block, channels: int, planes: int, depth: int, stride: int) -> nn.Sequential:
    """Build one stage; the first block changes stride and channels."""
    wide = planes * block.expansion
    downsample = None
    if stride != 1 or channels != wide:
        downsample = nn.Sequential(nn.Conv2d(channels, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide))
    first = block(channels, planes, stride, downsample)
    return nn.Sequential(first, *(block(wide, planes) for _ in range(depth - 1)))


def resnet50(stride: int) -> ResNet:
    """Build ResNet50 with a feature-map stride of 4, 8, 16 or 32 pixels."""
    return ResNet(Bottleneck, depths=(3, 4, 6, 3), widths=(64, 128, 256, 512), strides=_late_strides(stride))


def resnet18(stride: int) -> ResNet:
    """Build ResNet18 with a feature-map stride of 4, 8, 16 or 32 pixels."""
    return ResNet(BasicBlock, depths=(2, 2, 2, 2), widths=(64, 128, 256, 512), strides=_late_strides(stride))


def resnet_tiny(stride: int) -> ResNet:
    """Build the ResNet of the tests, the demo and 64-pixel images, with a feature-map stride of 4 or 8 pixels.

    It shrinks early and keeps 64 channels at the end: at the same map size that is a third of the arithmetic of a
    ResNet18 of width 16, which is what lets two cores train four methods in minutes.
    """
    strides = {4: (2, 2, 1, 1), 8: (2, 2, 2, 1)}[stride]
    return ResNet(BasicBlock, depths=(1, 1, 1, 2), widths=(16, 32, 64, 64), strides=strides, small_stem=True)
