"""ADL: attention-based dropout layer.

Choe, Shim, "Attention-based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019. At each insertion
point the channel mean of the features is an attention. The features are multiplied either by a drop mask, which hides
where the attention is strongest, or by an importance map, its sigmoid. Identity at evaluation.

Named guess: the sigmoid stays attached to the graph, the drop mask is a constant. As in the reference, a head's own
dropout is off.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsolbench.config import Uniform, check, hyper
from wsolbench.method import Draws, Losses, Method
from wsolbench.network import Network


@dataclass(frozen=True, kw_only=True)
class ADLConfig:
    """Hyperparameters of ADL; the defaults and ranges are the reference's."""

    drop_rate: float = hyper(0.75, "probability of the drop mask", low=0, high=1, search=Uniform(0, 1))
    gamma: float = hyper(0.9, "drop threshold, as a share of the maximum", low=0, high=1, search=Uniform(0, 1))
    points: tuple[str, ...] = hyper((), "points where the layer acts; empty: the backbone's insertion points")

    def __post_init__(self) -> None:
        check(self)


DEFAULTS = {"vgg16": ADLConfig(points=("pool3", "conv4_3", "conv5_3"))}


class ADL(Method[ADLConfig]):
    """Hide the most attended features, or weight all by their importance."""

    name = "adl"
    paper = "Choe and Shim, Attention-based Dropout Layer, CVPR 2019"
    Config = ADLConfig

    def __init__(self, network: Network, config: ADLConfig) -> None:
        super().__init__(network, config)
        self.points = network.choose(config.points, "insertion")
        network.head.dropout = 0.0

    @classmethod
    def defaults(cls, backbone: str) -> ADLConfig:
        """Return the reference's points on VGG16, the backbone's insertion points elsewhere."""
        return DEFAULTS.get(backbone, ADLConfig())

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw ``drop``, bool (points,): one decision per forward and point, for the whole batch."""
        uniform = torch.rand(len(self.points), generator=generator, device=generator.device)
        return {"drop": uniform < self.config.drop_rate}

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy with the layer active at every point."""
        logits = self.network.logits(self.network(images, after=self._layers(draws)).last)
        return Losses(terms={"cls": functional.cross_entropy(logits, labels)})

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show each point's attention and drop mask, and the class maps."""
        kept = self.network(images, after=self._layers(draws), keep=self.points).kept
        shown: dict[str, Tensor] = {}
        for point in self.points:
            attention = kept[point].mean(dim=1, keepdim=True)
            shown[f"attention {point}"] = attention[:, 0]
            shown[f"drop mask {point}"] = drop_mask(attention, self.config.gamma)[:, 0]
        return {**shown, **super().views(images, labels, draws)}

    def _layers(self, draws: Draws) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return the dropout layer of every point, its decision made."""
        return {point: self._layer(draws["drop"][index]) for index, point in enumerate(self.points)}

    def _layer(self, drop: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the dropout layer of one point, with its decision made (bool, scalar)."""

        def layer(features: Tensor) -> Tensor:
            attention = features.mean(dim=1, keepdim=True)
            return features * torch.where(drop, drop_mask(attention, self.config.gamma), attention.sigmoid())

        return layer


def drop_mask(attention: Tensor, gamma: float) -> Tensor:
    """Return 1 where the attention is below ``gamma`` times its maximum, 0 elsewhere.

    Args:
        attention: (N, 1, h, w).
        gamma: share of each image's maximum, in [0, 1].

    Returns:
        (N, 1, h, w), detached, of the attention's type.
    """
    maximum = attention.detach().amax(dim=(2, 3), keepdim=True)
    return (attention.detach() < gamma * maximum).to(attention.dtype)
