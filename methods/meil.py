"""MEIL: erasing integrated learning. An unverified reimplementation: there is no public code.

Mai, Yang, Luo, "Erasing Integrated Learning: A Simple Yet Effective Approach for Weakly Supervised Object
Localization", CVPR 2020. Each step classifies twice with the same weights: the plain features, and features whose most
attended part is erased. Loss = CE(plain) + alpha * CE(erased).

Guesses, where the card (METHODS) or we had to choose:

- gamma is 0.7, and features are erased where their channel mean exceeds gamma times its maximum in the image.
- The point is the second-to-last insertion point; the multi-scale version erases at the last two, in one pass, each by
  the attention of what reaches it.
- The erased pass reruns only the layers after the (first) point. Its BatchNorm layers use their own batch's statistics
  and move the running ones once more; its head's dropout, on InceptionV3, draws a mask of its own.
- The range of gamma for tuning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from wsolbench.config import Uniform, check, hyper
from wsolbench.method import Draws, Losses, Method, Preset
from wsolbench.network import Network


@dataclass(frozen=True, kw_only=True)
class MEILConfig:
    """Hyperparameters of MEIL; alpha is the paper's, the others are guesses."""

    gamma: float = hyper(0.7, "erasing threshold, as a share of the maximum", low=0, high=1, search=Uniform(0, 1))
    alpha: float = hyper(1.0, "weight of the erased pass's cross entropy", low=0)
    points: tuple[str, ...] = hyper((), "where features are erased; none: the second-to-last insertion point")

    def __post_init__(self) -> None:
        check(self)


LAST_TWO = {
    "vgg16": ("pool4", "conv5_3"),
    "inception_v3": ("Mixed_6e", "A3_2b"),
    "resnet50": ("layer4.0", "layer4.2"),
}


class MEIL(Method[MEILConfig]):
    """Classify plain and erased features with the same weights."""

    name = "meil"
    paper = "Mai et al., Erasing Integrated Learning, CVPR 2020 (unverified reimplementation)"
    Config = MEILConfig
    presets = {
        f"multi-scale/{backbone}": Preset(
            backbone=backbone, config=MEILConfig(points=points), source="multi-scale MEIL; the points are a guess"
        )
        for backbone, points in LAST_TWO.items()
    }

    def __init__(self, network: Network, config: MEILConfig) -> None:
        super().__init__(network, config)
        chosen = network.choose(config.points, "insertion")
        self.points = chosen if config.points else chosen[-2:][:1]

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return both passes' cross entropies, and the share that is erased at the first point."""
        plain, hidden, masks = self._passes(images)
        loss, loss_erased = (functional.cross_entropy(self.network.logits(last), labels) for last in (plain, hidden))
        return Losses(
            terms={"cls": loss, "cls_erased": self.config.alpha * loss_erased},
            diagnostics={"erased": masks[0].float().mean()},
        )

    def _passes(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the last features of the plain and of the erased pass, and what is erased at each point."""
        masks: list[Tensor] = []

        def erase(features: Tensor) -> Tensor:
            masks.append(most_attended(features, self.config.gamma))
            return features.masked_fill(masks[-1], 0)

        first, *later = self.points
        plain = self.network(images, keep=(first,))
        hidden = self.network(erase(plain.kept[first]), after=dict.fromkeys(later, erase), start=first)
        return plain.last, hidden.last, masks

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show what is erased at each point, and the class maps of the plain and of the erased pass."""
        plain, hidden, masks = self._passes(images)
        erased = {f"erased at {point}": mask[:, 0].float() for point, mask in zip(self.points, masks, strict=True)}
        maps = (self.network.class_maps(last, labels) for last in (plain, hidden))
        return {**erased, **dict(zip(("class map", "class map, erased"), maps, strict=True))}


def most_attended(features: Tensor, gamma: float) -> Tensor:
    """Return where the channel mean exceeds ``gamma`` times its maximum in the image.

    Args:
        features: (N, C, h, w).
        gamma: in [0, 1]; at 1 nothing exceeds.

    Returns:
        bool (N, 1, h, w); false everywhere in an image of which no channel mean is positive.
    """
    attention = features.detach().mean(dim=1, keepdim=True)
    return attention > gamma * attention.amax(dim=(2, 3), keepdim=True)
