"""CCAM: combinational class activation maps.

Yang, Kim, Kim, Kim, "Combinational Class Activation Maps for Weakly Supervised Object Localization", WACV 2020. The
score map is a weighted sum of the maps of all classes, ranked by their logits: those of likely classes are added,
those of unlikely ones, which show the background, are subtracted. So it does not depend on a label. Residual non-local
blocks in the trunk (Wang et al., CVPR 2018) let distant positions speak to each other.

No public code. Named guesses: the blocks are embedded-Gaussian ones with half the channels inside, N(0, 0.01) weights
and no subsampling; outside VGG16 they stand at the backbone's insertion points (ours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.attention import ResidualNonLocal
from wsolbench.backbones.base import Step
from wsolbench.config import check, hyper
from wsolbench.method import Draws, Losses, Method, Prediction
from wsolbench.network import Network


@dataclass(frozen=True, kw_only=True)
class CCAMConfig:
    """Hyperparameters of CCAM."""

    weights_by_rank: str = hyper(
        "quadratic", "how a class's weight falls with its rank, from 1 to -1", choices=("quadratic", "linear")
    )
    points: tuple[str, ...] = hyper((), "points before the non-local blocks; empty: the backbone's insertion points")

    def __post_init__(self) -> None:
        check(self)


DEFAULTS = {"vgg16": CCAMConfig(points=("pool2", "pool3", "pool4", "conv5_3"))}


class CCAM(Method[CCAMConfig]):
    """Combine the maps of all classes by rank, on a trunk with non-local blocks."""

    name = "ccam"
    paper = "Yang et al., Combinational Class Activation Maps for WSOL, WACV 2020"
    Config = CCAMConfig

    def __init__(self, network: Network, config: CCAMConfig) -> None:
        super().__init__(NonLocalNetwork(network, network.choose(config.points, "insertion")), config)

    @classmethod
    def defaults(cls, backbone: str) -> CCAMConfig:
        """Return the paper's points on VGG16, the backbone's insertion points elsewhere."""
        return DEFAULTS.get(backbone, CCAMConfig())

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy of the plain images."""
        logits = self.network.logits(self.network(images).last)
        return Losses(terms={"cls": functional.cross_entropy(logits, labels)})

    def predict(self, images: Tensor, labels: Tensor | None = None) -> Prediction:
        """Compute logits and combined maps in one forward; the labels play no part."""
        features = self.network(images).last
        logits = self.network.logits(features)
        mix = weights_of_classes(logits, rank_weights(logits.shape[1], self.config.weights_by_rank, logits))
        return Prediction(logits=logits, maps=self.network.mixed_maps(features, mix))

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show the combined maps and the plain maps of the labels' classes."""
        plain = self.network.class_maps(self.network(images).last, labels)
        return {"combined map": self.predict(images).maps, "class map": plain}


class NonLocalNetwork(Network):
    """A network with a residual non-local block after some of its points; trunk and head are shared, not copied.

    Args:
        network: trunk and head.
        points: where the blocks stand; the value at a point is that before its block.
    """

    def __init__(self, network: Network, points: Sequence[str]) -> None:
        super().__init__(network.backbone, network.head, network.num_classes)
        self.pretrained = network.pretrained
        self.block_points = tuple(points)
        self.blocks = nn.ModuleList(ResidualNonLocal(network.points[point]) for point in points)

    def steps(self) -> list[Step]:
        """Return the steps of trunk, blocks and head."""
        blocks = dict(zip(self.block_points, self.blocks, strict=True))
        steps: list[Step] = []
        for point, step in super().steps():
            steps.append((point, step))
            if point in blocks:
                steps.append((None, blocks[point]))
        return steps


def rank_weights(count: int, kind: str, like: Tensor) -> Tensor:
    """Return the weight of each rank, the largest logit first.

    ``linear`` falls evenly from 1 to -1. ``quadratic`` is the square of a line from 1 to 0 for the first count // 2
    ranks, and minus the square of a line from 0 to -1 for the rest; of two classes the second has weight 0.

    Args:
        count: number of classes K.
        kind: ``quadratic`` or ``linear``.
        like: a tensor of the wanted type and device.

    Returns:
        (K,).

    >>> rank_weights(6, "quadratic", torch.empty(0)).tolist()
    [1.0, 0.25, 0.0, -0.0, -0.25, -1.0]
    >>> rank_weights(5, "linear", torch.empty(0)).tolist()
    [1.0, 0.5, 0.0, -0.5, -1.0]
    """
    if kind == "linear":
        return torch.linspace(1, -1, count, dtype=like.dtype, device=like.device)
    first = count // 2
    added = torch.linspace(1, 0, first, dtype=like.dtype, device=like.device)
    taken = torch.linspace(0, -1, count - first, dtype=like.dtype, device=like.device)
    return torch.cat([added.square(), -taken.square()])


def weights_of_classes(logits: Tensor, by_rank: Tensor) -> Tensor:
    """Give each class the weight of its rank.

    Args:
        logits: (N, K); of equal ones the lower class comes first.
        by_rank: (K,), the largest logit's weight first.

    Returns:
        (N, K).

    >>> weights_of_classes(torch.tensor([[0.1, 0.7, 0.2]]), torch.tensor([1.0, 0.0, -1.0]))
    tensor([[-1.,  1.,  0.]])
    """
    order = logits.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(logits).scatter(1, order, by_rank.expand_as(logits))
