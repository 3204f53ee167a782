"""SPG: self-produced guidance.

Zhang, Wei, Kang, Yang, Huang, "Self-produced Guidance for Weakly-supervised Object Localization", ECCV 2018. Three
branches learn to tell object from background, each from a target that the network makes itself: the class map guides
B2 on late features, B2 guides B1 on earlier ones, and both together guide C on the last. A target marks sure
foreground and sure background; the pixels between are ignored. Inference uses the class map only.

Deviations and guesses, switchable where they are settings:

- ``low_1`` is 0.05; the reference's default is 0.01.
- On VGG16 the classifier is SPG's own (``own_head``) and the fourth pool is 3x3 (``overlap_pool4``), as in the
  reference.
- The layers that B1 and B2 share are one 3x3 and one 1x1 convolution.
- Maps are upsampled with half-pixel centres. A cross entropy is the mean over the sure pixels of the whole batch.
- On InceptionV3, C and the class map read the last features behind the head's dropout, as the classifier does.
- A low threshold may equal its high one, since the published range can draw that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.arithmetic import at_least_float32
from wsolbench.config import Uniform, check, hyper
from wsolbench.errors import UserError
from wsolbench.heads import DeepConvHead, conv3x3, initialise
from wsolbench.method import Draws, Losses, Method
from wsolbench.methods.acol import min_max
from wsolbench.network import Network

FEWEST = 30  # foreground pixels; with fewer, the foreground is found relative to the maximum
SHARE_OF_MAXIMUM = 0.7
IGNORED = 0.5  # in a target, between background 0 and foreground 1


@dataclass(frozen=True, kw_only=True)
class SPGConfig:
    """Hyperparameters of SPG; thresholds are values of a map in [0, 1]: below low background, above high foreground."""

    low_1: float = hyper(0.05, "low threshold of the class map, for B2", low=0, high=1, search=Uniform(0, 1))
    high_1: float = hyper(0.7, "high threshold of the class map, for B2", low=0, high=1, search=Uniform("low_1", 1))
    low_2: float = hyper(0.05, "low threshold of B2, for B1", low=0, high=1, search=Uniform(0, 1))
    high_2: float = hyper(0.5, "high threshold of B2, for B1", low=0, high=1, search=Uniform("low_2", 1))
    low_3: float = hyper(0.1, "low threshold of B1 and B2, for C", low=0, high=1, search=Uniform(0, 1))
    high_3: float = hyper(0.7, "high threshold of B1 and B2, for C", low=0, high=1, search=Uniform("low_3", 1))
    width_b: int = hyper(512, "channels of branches B1 and B2", low=1)
    width_c: int = hyper(512, "channels of branch C", low=1)
    own_head: bool = hyper(False, "classify by two 3x3-512 convolutions and a 1x1 instead of the backbone's CAM head")
    overlap_pool4: bool = hyper(False, "make VGG16's 2x2 pool4 a 3x3 one of the same stride")

    def __post_init__(self) -> None:
        check(self)
        for low, high in (("low_1", "high_1"), ("low_2", "high_2"), ("low_3", "high_3")):
            if getattr(self, low) > getattr(self, high):
                raise UserError(
                    f"{low}={getattr(self, low)} is above {high}={getattr(self, high)}; expected the low threshold to "
                    "be at most the high one"
                )


DEFAULTS = {
    "vgg16": SPGConfig(own_head=True, overlap_pool4=True),
    "resnet50": SPGConfig(width_b=1024),
    "resnet-tiny": SPGConfig(width_b=64, width_c=64),  # ours, for small machines
}


class SPG(Method[SPGConfig]):
    """Guide branches by the class map and by each other."""

    name = "spg"
    paper = "Zhang et al., Self-produced Guidance for Weakly-supervised Object Localization, ECCV 2018"
    Config = SPGConfig

    def __init__(self, network: Network, config: SPGConfig) -> None:
        if config.own_head:
            network = network.with_head(DeepConvHead(network.backbone.channels, network.num_classes, 512, dropout=0))
        if config.overlap_pool4:
            network.backbone.overlap_pools(("pool4",))
        super().__init__(network, config)
        self.taps = network.roles["guidance"]
        first, second = (network.points[tap] for tap in self.taps)
        self.b1 = _conv_relu(first, config.width_b)
        self.b2 = _conv_relu(second, config.width_b)
        self.b_shared = _to_logit(config.width_b, config.width_b)
        self.c = _to_logit(network.head.classifier()[0].shape[1], config.width_c)

    @classmethod
    def defaults(cls, backbone: str) -> SPGConfig:
        """Return the reference's widths and, on VGG16, its head and pool."""
        return DEFAULTS.get(backbone, SPGConfig())

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy and what B2, B1 and C miss of their targets."""
        logits, _, branches = self._guide(images, labels)
        terms = {"cls": functional.cross_entropy(logits, labels)}
        return Losses(terms=terms | {name: guided_loss(*branch) for name, branch in branches.items()})

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show the class map, and each branch's target (grey: ignored) and answer, at the images' size."""
        _, class_map, branches = self._guide(images, labels)
        shown = {"class map": class_map}
        for name, branch in branches.items():
            shown |= {f"target of {name.upper()}": branch.target, name.upper(): branch.logits.sigmoid()}
        return shown

    def _guide(self, images: Tensor, labels: Tensor) -> "tuple[Tensor, Tensor, dict[str, Branch]]":
        """Return logits (N, K), the normalised class map (N, H, W) and the branches b2, b1, c with their targets."""
        config, size = self.config, (images.shape[2], images.shape[3])
        features = self.network(images, keep=self.taps)
        early, late = (features.kept[tap] for tap in self.taps)
        outputs = (self.b_shared(self.b2(late)), self.b_shared(self.b1(early)), self.c(features.last))
        b2, b1, c = (upsample(output[:, 0], size) for output in outputs)
        with torch.no_grad():  # the targets are constants
            class_map = min_max(upsample(self.network.class_maps(features.last, labels), size))
            sure_1 = guidance(class_map, config.low_1, config.high_1)
            sure_2 = guidance(b2.sigmoid(), config.low_2, config.high_2)
            sure_3 = guidance((b1.sigmoid() + b2.sigmoid()) / 2, config.low_3, config.high_3)
        branches = {"b2": Branch(b2, sure_1), "b1": Branch(b1, sure_2), "c": Branch(c, sure_3)}
        return self.network.logits(features.last), class_map, branches


class Branch(NamedTuple):
    """What a branch says and what it should say, both (N, H, W).

    Attributes:
        logits: its output at the images' size.
        target: 1, 0 or ``IGNORED``; see :func:`guidance`.
    """

    logits: Tensor
    target: Tensor


def guidance(attention: Tensor, low: float, high: float) -> Tensor:
    """Mark the sure pixels of each attention.

    Foreground is what exceeds ``high`` or, in an image where fewer than 30 pixels do, what exceeds 0.7 times the
    image's maximum. Background is what is below ``low``, even if it was foreground by that second rule.

    Args:
        attention: (N, H, W).
        low: threshold of the background.
        high: threshold of the foreground.

    Returns:
        (N, H, W), detached, of the attention's type: 1 foreground, 0 background, 0.5 neither.

    >>> guidance(torch.tensor([[[0.0, 0.4, 0.6, 0.9]]]), low=0.1, high=0.8)  # few pixels: foreground is above 0.63
    tensor([[[0.0000, 0.5000, 0.5000, 1.0000]]])
    """
    fixed = attention.detach()
    above = fixed > high
    few = above.sum(dim=(1, 2), keepdim=True) < FEWEST
    relative = fixed > SHARE_OF_MAXIMUM * fixed.amax(dim=(1, 2), keepdim=True)
    foreground = torch.where(few, relative, above).to(fixed.dtype)
    return (IGNORED + (1 - IGNORED) * foreground).masked_fill(fixed < low, 0)


def guided_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross entropy, the mean over the batch's sure pixels; 0 if there are none.

    Args:
        logits: (N, H, W).
        target: (N, H, W); 0, 1 or ``IGNORED``.
    """
    sure = target != IGNORED
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return torch.where(sure, loss, 0).sum() / sure.sum().clamp_min(1)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (N, h, w) bilinearly to (N, H, W), in float32 at least."""
    wide = at_least_float32(maps)
    return functional.interpolate(wide[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _conv_relu(channels: int, width: int) -> nn.Sequential:
    """Build a 3x3 convolution with its ReLU."""
    return nn.Sequential(conv3x3(channels, width), nn.ReLU(inplace=True))


def _to_logit(channels: int, width: int) -> nn.Sequential:
    """Build a 3x3 convolution with its ReLU and a 1x1 convolution to one channel."""
    last = nn.Conv2d(width, 1, 1)
    initialise(last)
    return nn.Sequential(*_conv_relu(channels, width), last)
