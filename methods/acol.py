"""ACoL: adversarial complementary learning.

Zhang, Wei, Feng, Yang, Huang, "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR
2018. Two classifiers read the last features. Where the class map of the first, A, is strong, the features are erased
for the second, B, which has to find other parts of the object. The score map is the maximum of both maps.

Named guesses and deviations:

- A constant map has no strong part: min-max sets it to 0, and nothing is erased unless the threshold is 0.
- The class of A's map at evaluation is the given label, or else A's largest logit, and B's map is of the same class.
- VGG16 has the reference's overlapping pools, where the paper has an average pool only (``pooling``). At stride 8 it
  keeps its identity in place of the fourth pool; the reference has a 3x3 pool of stride 1 there.
- Initial weights are He-normal on ResNet50 and Xavier-uniform elsewhere (``initial_weights``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.backbones.base import Step
from wsolbench.config import Uniform, check, hyper
from wsolbench.heads import Head, conv3x3, he_normal, initialise
from wsolbench.method import Draws, Losses, Method, Prediction
from wsolbench.network import Network


@dataclass(frozen=True, kw_only=True)
class ACoLConfig:
    """Hyperparameters of ACoL; the defaults and the range are the reference's."""

    threshold: float = hyper(
        0.7, "A's normalised map from which on features are erased for B", low=0, high=1, search=Uniform(0, 1)
    )
    width: int = hyper(1024, "channels of the branches' convolutions", low=1)
    pooling: str = hyper(
        "none",
        "before the branches: nothing; a 3x3 average of stride 1; or, as the reference on VGG16, 3x3 pools of stride 2 "
        "in the trunk, a 3x3 maximum of stride 1 and that average",
        choices=("none", "average", "reference"),
    )
    initial_weights: str = hyper("xavier", "of the branches; biases start at 0", choices=("xavier", "he"))

    def __post_init__(self) -> None:
        check(self)


BY_BACKBONE = {
    "vgg16": ACoLConfig(pooling="reference"),
    "resnet50": ACoLConfig(initial_weights="he"),
    "resnet-tiny": ACoLConfig(width=64),  # ours: 1024 channels behind a trunk of 64 are beyond small machines
}


class ACoL(Method[ACoLConfig]):
    """Two classifiers; the second does not see what the first finds."""

    name = "acol"
    paper = "Zhang et al., Adversarial Complementary Learning, CVPR 2018"
    Config = ACoLConfig

    def __init__(self, network: Network, config: ACoLConfig) -> None:
        head = Branches(network.backbone.channels, network.num_classes, config)
        super().__init__(network.with_head(head), config)
        if config.pooling == "reference":
            network.backbone.overlap_pools()

    @classmethod
    def defaults(cls, backbone: str) -> ACoLConfig:
        """Return the reference's configuration for a backbone, or one that a small backbone can carry."""
        return BY_BACKBONE.get(backbone, ACoLConfig())

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropies of both branches, and the share of the map that was erased for B."""
        features = self.network(images, keep=("shared",))
        hidden = strongest(self.network.class_maps(features.last, labels), self.config.threshold)
        logits_a = self.network.logits(features.last)
        logits_b = self._b.logits(self._b(erase(features.kept["shared"], hidden)))
        return Losses(
            terms={
                "cls": functional.cross_entropy(logits_a, labels),
                "cls_b": functional.cross_entropy(logits_b, labels),
            },
            diagnostics={"erased": hidden.float().mean()},
        )

    def predict(self, images: Tensor, labels: Tensor | None = None) -> Prediction:
        """Compute A's logits and the maximum of both branches' min-max normalised maps."""
        logits, map_a, map_b, _ = self._maps(images, labels)
        return Prediction(logits=logits, maps=torch.maximum(min_max(map_a), min_max(map_b)))

    def _maps(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return A's logits, the maps of A and B, and what is erased for B."""
        features = self.network(images, keep=("shared",))
        logits = self.network.logits(features.last)
        wanted = logits.argmax(dim=1) if labels is None else labels
        map_a = self.network.class_maps(features.last, wanted)
        hidden = strongest(map_a, self.config.threshold)
        features_b = self._b(erase(features.kept["shared"], hidden))
        return logits, map_a, self._b.class_maps(features_b, wanted), hidden

    @property
    def _b(self) -> "Branch":
        """Branch B; branch A is the network's own way to logits and maps."""
        assert isinstance(self.network.head, Branches)
        return self.network.head.b

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show both branches' maps, what B does not see, and the score map."""
        _, map_a, map_b, hidden = self._maps(images, labels)
        maps = {"map of A": map_a, "hidden from B": hidden.to(map_a.dtype), "map of B": map_b}
        return {**maps, "score map": torch.maximum(min_max(map_a), min_max(map_b))}


class Branch(Head):
    """Two 3x3 convolutions with ReLU and a 1x1 convolution to the classes, whose channels are the class maps.

    Args:
        channels: channels of the features it reads.
        num_classes: number of classes K.
        config: width and initial weights.
    """

    def __init__(self, channels: int, num_classes: int, config: ACoLConfig) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, config.width)
        self.conv2 = conv3x3(config.width, config.width)
        self.classes = nn.Conv2d(config.width, num_classes, 1)
        for layer in (self.conv1, self.conv2, self.classes):
            (he_normal if config.initial_weights == "he" else initialise)(layer)

    def forward(self, features: Tensor) -> Tensor:
        """Return the last features (N, width, h, w) of features (N, channels, h, w)."""
        return functional.relu(self.conv2(functional.relu(self.conv1(features))))

    def steps(self) -> list[Step]:
        """Return both convolutions as one step."""
        return [(None, self)]

    def classifier(self) -> tuple[Tensor, Tensor, bool]:
        """Return the 1x1 convolution's weight (K, width) and bias (K,), which belongs to the maps."""
        assert self.classes.bias is not None
        return self.classes.weight.flatten(1), self.classes.bias, True


class Branches(Head):
    """Both branches; as a network's head it is branch A's. The point ``shared`` is what both read.

    Args:
        channels: channels of the trunk's last feature map.
        num_classes: number of classes K.
        config: what the branches look like, and the pooling before them.
    """

    def __init__(self, channels: int, num_classes: int, config: ACoLConfig) -> None:
        super().__init__(points={"shared": channels, "branch_a": config.width})
        self.a = Branch(channels, num_classes, config)
        self.b = Branch(channels, num_classes, config)
        maximum = nn.MaxPool2d(3, stride=1, padding=1) if config.pooling == "reference" else nn.Identity()
        average = nn.AvgPool2d(3, stride=1, padding=1) if config.pooling != "none" else nn.Identity()
        self.pool = nn.Sequential(maximum, average)

    def steps(self) -> list[Step]:
        """Return the pooling and branch A."""
        return [("shared", self.pool), ("branch_a", self.a)]

    def classifier(self) -> tuple[Tensor, Tensor, bool]:
        """Return branch A's."""
        return self.a.classifier()


def min_max(maps: Tensor) -> Tensor:
    """Scale each map (N, h, w) to [0, 1]; a constant map becomes 0.

    >>> min_max(torch.tensor([[[-1.0, 0.0], [1.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]])).tolist()
    [[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def strongest(maps: Tensor, threshold: float) -> Tensor:
    """Return where a map, min-max normalised, is at least the threshold: bool (N, h, w), without gradient.

    Args:
        maps: float (N, h, w); any sign, any range.
        threshold: in [0, 1]; at 1 the maximum alone, at 0 everything.
    """
    return min_max(maps.detach()) >= threshold


def erase(features: Tensor, hidden: Tensor) -> Tensor:
    """Return the features (N, C, h, w) with 0 where ``hidden``, bool (N, h, w), is true."""
    return features.masked_fill(hidden[:, None], 0)
